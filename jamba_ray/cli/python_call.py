"""Turns a call from Python into a command: arguments become settings, and errors are raised."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import pandas as pd
from rich.console import Console

from jamba_ray.cli.composition import compose_section
from jamba_ray.config.command_line import override
from jamba_ray.config.run import ExperimentConfig
from jamba_ray.config.settings import GROUPS
from jamba_ray.errors import ConfigError, DataError, ExitCode, TrialError
from jamba_ray.reports.run import Run
from jamba_ray.runs.frame_file import write_frame
from jamba_ray.runs.run_folder import RunFolder

Table: TypeAlias = pd.DataFrame | str | PathLike[str]
"""Labelled rows: a DataFrame, or a file, folder or glob."""
C = TypeVar("C", bound=ExperimentConfig)
FRAMES = ".frames"
"""Folder, beside the runs, of the DataFrames that were trained on."""
_WHOLE = ("search_space",)
"""Settings that are mappings themselves."""


def configured(
    section: type[C],
    rows: Table | None,
    target: str | None,
    settings: Mapping[str, Any],
    sweep: str | None = None,
) -> C:
    """Returns the configuration that a command would compose of the same settings.

    Args:
        section: What the command is given.
        rows: Labelled rows; None: those of ``settings``, else synthetic ones.
        target: Column of labels.
        settings: By name; those of a section as a mapping (``model={"n_heads": 8}``) or by their
            full name (``**{"model.n_heads": 8}``).
        sweep: Name of a file of ``sweeps/``.

    Raises:
        ConfigError: With every mistake in them.
        DataError: A DataFrame that cannot be rows.
        StorageError: The store does not take a DataFrame's copy.
    """
    words = [] if sweep is None else [override("+sweep", sweep)]
    if isinstance(rows, pd.DataFrame):
        # Checked first, so that nothing is written for a mistake.
        words += ["data=table", override("data.path", "(a DataFrame)")]
    elif isinstance(rows, str | PathLike):
        words += ["data=table", override("data.path", fspath(rows))]
    elif rows is not None:
        raise DataError(
            "labelled rows must be a pandas DataFrame or the path of a file, folder or glob, but "
            f"are of the type {type(rows).__name__}; give pandas.DataFrame(rows)."
        )
    if target is not None:
        words.append(override("data.target", target))
    words += _words(settings, "")
    config = compose_section(section, "config", words)
    if config.dry_run:
        raise ConfigError(
            ["`dry_run` must be false in Python, but is true. Use the command for a plan."]
        )
    if isinstance(rows, pd.DataFrame):
        store = RunFolder.of(config.store, "run", config.store_endpoint).path.parent
        path = str(write_frame(rows, store / FRAMES).resolve())
        config = config.model_copy(update={"data": config.data.model_copy(update={"path": path})})
    return config


def console(*, quiet: bool) -> Console:
    """Returns where a command called from Python prints."""
    return Console(quiet=quiet)


def finished(code: ExitCode, folder: Path) -> Run:
    """Returns the run that a command has ended.

    Raises:
        TrialError: No trial succeeded.
    """
    run = Run(folder)
    if code == ExitCode.NONE_SUCCEEDED:
        reasons = [str(failure["reason"]) for failure in run.summary.get("failures", [])]
        raise TrialError(
            f"a trial must succeed, but none did ({'; '.join(reasons) or 'none has ended'}). "
            f"The run is in {folder}, its logs in {folder / 'logs'}."
        )
    return run


def _words(settings: Mapping[str, Any], prefix: str) -> Iterator[str]:
    """Yields the settings as words of a command line, the name of a section's option first."""
    for name, value in settings.items():
        path = f"{prefix}{name}"
        if not isinstance(value, Mapping) or path in _WHOLE:
            yield override(path, _plain(value))
            continue
        inside = dict(value)
        if path in GROUPS and "name" in inside:
            yield override(path, _plain(inside.pop("name")))
        yield from _words(inside, f"{path}.")


def _plain(value: Any) -> Any:
    """Returns ``value`` as YAML could hold it: paths as text, NumPy's numbers as Python's."""
    if isinstance(value, PathLike):
        return fspath(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    return value.item() if hasattr(value, "item") else value
