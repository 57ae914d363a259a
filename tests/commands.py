"""Commands run in this process, where the process itself is not the point."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import subprocess
import warnings
from pathlib import Path
from unittest import mock

import torch


def run_here(
    name: str, *arguments: str, cwd: Path, columns: int = 120
) -> subprocess.CompletedProcess[str]:
    """Runs ``python -m jamba_ray.<name>`` by the entry that it has. Saves the 3 to 5 s of importing
    torch and Ray again."""
    threads = torch.get_num_threads()
    module = importlib.import_module(f"jamba_ray.{name}")
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(cwd),
        mock.patch.dict(os.environ, {"COLUMNS": str(columns)}),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        warnings.catch_warnings(),
    ):
        _warn_as_python_does()
        code = module.COMMAND.main(list(arguments))
    torch.set_num_threads(threads)  # a plan takes as many as a runner would
    return subprocess.CompletedProcess([name, *arguments], code, out.getvalue(), err.getvalue())


def _warn_as_python_does() -> None:
    """Sets the filters that a process begins with, not pytest's: what others warn of is theirs."""
    warnings.simplefilter("default")
    for category in (
        DeprecationWarning,
        PendingDeprecationWarning,
        ImportWarning,
        ResourceWarning,
    ):
        warnings.simplefilter("ignore", category)
