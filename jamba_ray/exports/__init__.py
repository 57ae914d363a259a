"""Writes models as files for other runtimes, and proves that these give the same answers."""
