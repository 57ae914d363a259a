"""Holds a sweep's study, the source of truth: its trials, its sampler and its rungs; has no Ray."""
