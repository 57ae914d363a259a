"""Distributed hyperparameter sweeps for threat-detection models on tabular telemetry."""

__version__ = "0.1.0"
