"""Keeps models as numbered versions that never change, and names that point at them."""
