"""Validates configuration into frozen objects; no Hydra, no Ray."""
