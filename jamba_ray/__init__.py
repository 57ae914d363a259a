"""Runs distributed hyperparameter sweeps for threat-detection models on tabular telemetry.

import jamba_ray
predictor = jamba_ray.load("runs/<run>")
probabilities = predictor.predict_proba(frame)
"""

from __future__ import annotations

import importlib
import logging
from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "load", "open_run"]

_PLACES = {
    "load": "jamba_ray.inference",
    "open_run": "jamba_ray.reports.run",
    "analyze_parameter_impact": "jamba_ray.reports.compare",
    "get_best_runs": "jamba_ray.reports.compare",
    "log_run": "jamba_ray.reports.logged_run",
    "plot_learning_curves": "jamba_ray.reports.compare",
    "plot_run_comparison": "jamba_ray.reports.compare",
}

# A program that calls jamba_ray chooses what becomes of its log: nothing unless it asks.
logging.getLogger(__name__).addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    # By name, so that `import jamba_ray` stays light (no torch) and no package depends on another
    # through this one.
    if name in _PLACES:
        return getattr(importlib.import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
