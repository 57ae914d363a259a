"""Holds the study, the only truth of a sweep: its trials, its sampler and its rungs; no Ray."""
