"""Defines the settings of ``watch``."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from jamba_ray.config.data import Column
from jamba_ray.config.names import DEFAULT_REGISTRY, LocalPath, Plugins, number_as_text
from jamba_ray.config.section import Section

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d)")
_SECONDS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def seconds_of(text: str) -> float:
    """Returns the seconds of a duration such as ``90s``, ``15m``, ``1h`` or ``7d``.

    Raises:
        ValueError: It is none.
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None or float(found[1]) <= 0.0:
        raise ValueError(f"must be a duration above 0, but is {text!r}. Write 90s, 15m, 1h or 7d")
    return float(found[1]) * _SECONDS[found[2]]


def _duration(text: str) -> str:
    seconds_of(text)
    return text.strip()


Duration = Annotated[str, BeforeValidator(number_as_text), AfterValidator(_duration)]
"""A time such as ``90s``, ``15m``, ``1h`` or ``7d``."""


class WatchedSection(Section):
    """Names the rows to watch."""

    path: LocalPath
    """File, folder or glob of CSV, JSON lines or Parquet: the window."""
    columns: tuple[Column, ...] = ()
    """The names of all columns, for CSV files without a header line."""
    timestamp: Column | None = None
    """Column of times, for freshness, clock faults, alerts a day and figures over time."""
    timestamp_format: str | None = None
    """How ``timestamp`` is written, as a format of strptime (``%d/%m/%Y %H:%M``); null: decided
    from all of its cells."""
    group: Column | None = None
    """Column of hosts, users or sites: what changed is also told per group."""


class WatchConfig(Section):
    """Configures ``watch``."""

    model: LocalPath
    """A run folder, its ``best/``, a checkpoint folder with the run's ``reference.parquet`` beside
    it, or a version of the registry (``threats@champion``)."""
    data: WatchedSection
    labels: Column | None = None
    """Column of labels, empty where a row has none; null: there are none."""
    threshold: Annotated[str | None, BeforeValidator(number_as_text)] = None
    """The name of a threshold that ``threshold`` saved, or a number from 0 to 1; null: as in
    ``predict``."""
    alpha: Annotated[float, Field(gt=0.0, le=0.5)] = 0.05
    """The chance that anything is found of a window in which nothing has changed."""
    min_effect: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.02
    """Changes that are surely there but move less than this share of a column's rows are no
    finding."""
    ask: Annotated[int, Field(ge=0, le=100_000)] = 200
    """Write about so many rows to label, those whose labels say most; 0: none."""
    max_age: Duration | None = None
    """How old the newest row may be (``1d``); needs ``data.timestamp``."""
    every: Duration | None = None
    """Watch again after this time (``1h``), until SIGTERM or Ctrl-C; null: once."""
    rules: LocalPath | None = None
    """YAML file that says which findings are sent where; null: nothing is sent."""
    output: LocalPath | None = None
    """Folder of ``watch.json``, ``watch.html``, ``watch.prom``, the history and the rows to label;
    null: ``watch/<run>``."""
    registry: LocalPath = DEFAULT_REGISTRY
    """The registry that a model such as ``threats@champion`` is in."""
    plugins: Plugins = ()
    """Modules that the model needs: [mypkg.threats]."""
    verbose: bool = False
    """Let the libraries print what they like."""
