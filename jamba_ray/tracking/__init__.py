"""Sends what a run writes to its folder to tracking services: W&B and TensorBoard."""
