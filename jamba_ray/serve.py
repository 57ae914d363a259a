"""Serves a model over HTTP: ``jamba-ray serve``."""

from __future__ import annotations

import sys

from jamba_ray.cli.commands import SERVE as COMMAND

if __name__ == "__main__":
    sys.exit(COMMAND.main())

import importlib.util
import os

from rich.console import Console

from jamba_ray.config.serve import ServeConfig
from jamba_ray.errors import ConfigError, ExitCode

_PACKAGES = ("fastapi", "uvicorn", "onnxruntime")


def run(config: ServeConfig, console: Console) -> ExitCode:
    """Replaces this process by the server."""
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            [
                f"`serve` needs the package {missing[0]}, which is not installed. Run "
                "`pip install 'jamba-ray[serve]'`."
            ]
        )
    console.file.flush()
    settings = config.model_dump_json()
    os.execv(sys.executable, [sys.executable, "-m", "jamba_ray.serving.process", settings])
