"""Runs commands of jamba_ray in processes that have imported everything already.

An import of torch takes longer than many a model on a busy machine; processes that a server forks
need none. The server has run nothing, so that no thread is lost by the fork.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from pathlib import Path

_IMPORTED = [
    "torch",
    "lightgbm",
    "xgboost",
    "catboost",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "ray",
    "optuna",
    "jamba_ray.sweep",
    "jamba_ray.train",
    "jamba_ray.threshold",
    "jamba_ray.predict",
]
_LOG = "commands.txt"


def call(folder: Path, *words: str) -> None:
    """Runs ``jamba-ray words`` in ``folder``; raises RuntimeError with its last words if it
    fails."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    process = context.Process(target=_run, args=(folder, list(words)))
    process.start()
    process.join()
    if process.exitcode:
        said = (folder / _LOG).read_text(errors="replace")[-300:]
        raise RuntimeError(f"{words[0]} ended with {process.exitcode}: {said}")


def _run(folder: Path, words: list[str]) -> None:
    os.chdir(folder)
    log = os.open(_LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(log, stream)
    sys.argv = ["jamba-ray", *words]
    from jamba_ray.__main__ import main

    raise SystemExit(main(words))
