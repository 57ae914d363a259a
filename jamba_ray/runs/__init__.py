"""Stores a run: its folder, its rows and its replica in a bucket."""
