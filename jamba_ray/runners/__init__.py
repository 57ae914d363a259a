"""Trains trials: one stack at a time in a process of its own, or one trial on a group of ranks."""
