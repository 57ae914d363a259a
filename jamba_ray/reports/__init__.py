"""What a run looks like: its trials as tables, its figures, its report."""
