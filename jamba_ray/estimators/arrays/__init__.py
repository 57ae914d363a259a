"""Keeps models as plain arrays; apart from the families, which import NumPy only to train."""
