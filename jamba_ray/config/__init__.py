"""Validated, frozen configuration; no Hydra, no Ray."""
