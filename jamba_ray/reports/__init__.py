"""Shows runs: their trials as tables, their figures, their report."""
