"""Runs distributed hyperparameter sweeps for threat-detection models on tabular telemetry.

import jamba_ray
run = jamba_ray.search(frame, target="is_threat", sweep="rivals", n_trials=20)
probabilities = run.load().predict_proba(new_rows)
"""

from __future__ import annotations

import builtins
import importlib
import logging
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jamba_ray.classifier import JambaClassifier
    from jamba_ray.errors import ConfigError, DataError, JambaError
    from jamba_ray.inference import Predictor
    from jamba_ray.reports.compare import (
        analyze_parameter_impact,
        get_best_runs,
        plot_learning_curves,
        plot_run_comparison,
    )
    from jamba_ray.reports.logged_run import log_run
    from jamba_ray.reports.run import Run, open_run
    from jamba_ray.sweep import search
    from jamba_ray.train import train
    from jamba_ray.versions.loading import load

__version__ = "0.1.0"
__all__ = [
    "ConfigError",
    "DataError",
    "JambaClassifier",
    "JambaError",
    "Predictor",
    "Run",
    "__version__",
    "analyze_parameter_impact",
    "get_best_runs",
    "load",
    "log_run",
    "open_run",
    "plot_learning_curves",
    "plot_run_comparison",
    "search",
    "train",
]

_PLACES = {
    "ConfigError": "jamba_ray.errors",
    "DataError": "jamba_ray.errors",
    "JambaClassifier": "jamba_ray.classifier",
    "JambaError": "jamba_ray.errors",
    "Predictor": "jamba_ray.inference",
    "Run": "jamba_ray.reports.run",
    "analyze_parameter_impact": "jamba_ray.reports.compare",
    "get_best_runs": "jamba_ray.reports.compare",
    "load": "jamba_ray.versions.loading",
    "log_run": "jamba_ray.reports.logged_run",
    "open_run": "jamba_ray.reports.run",
    "plot_learning_curves": "jamba_ray.reports.compare",
    "plot_run_comparison": "jamba_ray.reports.compare",
    "search": "jamba_ray.sweep",
}

# A program that calls jamba_ray chooses what becomes of its log: nothing unless it asks.
logging.getLogger(__name__).addHandler(logging.NullHandler())

if not TYPE_CHECKING:
    # By name, so that `import jamba_ray` stays light (no torch) and no room depends on another
    # through the package itself. A type checker reads the imports above instead: a function that
    # does not exist is a mistake to it.
    def __getattr__(name):  # noqa: ANN001, ANN202
        if name == "train":  # a module that can be called: importing it would replace a function
            return _imported("jamba_ray.train")
        if name in _PLACES:
            return getattr(_imported(_PLACES[name]), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def _imported(module):  # noqa: ANN001, ANN202
        """Imports a module; a notebook shows that, because PyTorch and Ray take seconds."""
        if module not in sys.modules and hasattr(builtins, "get_ipython"):
            console = importlib.import_module("rich.console").Console()
            if console.is_jupyter:
                with importlib.import_module("jamba_ray.cli.phases").Phases(console) as phases:
                    phases.begin("loading jamba_ray")
                    return importlib.import_module(module)
        return importlib.import_module(module)

    def __dir__():  # noqa: ANN202
        return sorted({*globals(), *__all__})
