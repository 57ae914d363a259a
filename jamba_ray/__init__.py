"""Distributed hyperparameter sweeps for threat-detection models on tabular telemetry.

import jamba_ray
predictor = jamba_ray.load("runs/<run>")
probabilities = predictor.predict_proba(frame)
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    # By name, so that `import jamba_ray` stays light (no torch) and no room depends on another
    # through the package itself.
    if name == "load":
        return importlib.import_module("jamba_ray.inference").load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
