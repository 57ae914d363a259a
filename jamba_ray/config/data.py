"""Defines ``data``: where the rows come from, what columns mean, and how rows are split and
scaled."""

from __future__ import annotations

import os
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from jamba_ray.config.mutable import Mutable
from jamba_ray.config.names import run_name
from jamba_ray.config.section import NOT_IN_FINGERPRINT, Section, as_if_absent

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
RowsIn = Literal["auto", "device", "host", "disk"]
Share = Annotated[float, Field(gt=0.0, lt=1.0)]
Column = Annotated[str, AfterValidator(str.strip)]
"""The name of a column; outer spaces do not count, here as in the table."""


def label_name(value: Any) -> str:
    """Names a value of a label column.

    ``1``, ``1.0`` and ``"1"`` are ``"1"``, ``True`` is ``"true"``; outer spaces do not count.
    """
    text = value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)
    text = text.strip()
    if re.fullmatch(r"[-+]?\d{1,18}(\.0*)?", text):
        return str(int(text.partition(".")[0]))
    return text.lower() if text.lower() in {"true", "false"} else text


def _label_names(value: Any) -> Any:
    if value is None:
        return ()
    values = value if isinstance(value, list | tuple) else [value]
    if any(isinstance(item, dict | list | tuple) for item in values):
        raise ValueError(
            f"must be a value of the target or a list of such, but is {value!r}. "
            "Give for example [BENIGN, Normal]"
        )
    return tuple(label_name(item) for item in values)


Labels = Annotated[tuple[str, ...], BeforeValidator(_label_names)]
"""Values of a label column, one or several."""


CALIBRATION = "calibration"
"""The part of ``data.split.calibration``."""
COMMON = "common"
"""What ``data.columns`` is where the columns that all files have are read."""


def _columns(value: Any) -> Any:
    if value is None:
        return ()
    if value in ("common", ["common"]):
        return (COMMON,)
    if isinstance(value, str):
        raise ValueError(
            f"must be `common` or the list of all names, but is {value!r}. "
            "Give for example [dst_port, proto, label]"
        )
    return value


class SplitSection(Section):
    """Divides rows into train, validation and test."""

    kind: Literal["random", "time", "group", "auto"] = "random"
    """``random``: stratified by label. ``time``: the newest rows test (needs a timestamp).
    ``group``: whole groups (hosts, attack classes) are held out. ``auto``: ``time`` or ``group``
    where there is one, else ``random``."""
    val: Share = 0.15
    """Share of the rows of ``path`` that validate."""
    test: Fraction = 0.15
    """Share of all rows held out as test; ignored when ``data.test`` names a file."""
    calibration: Fraction = Field(default=0.0, json_schema_extra=as_if_absent(0.0))
    """Share of the rows of ``path`` that neither train nor choose a model: ``threshold`` rests its
    guarantee on them (0.1 is usual). Split by ``time``: the newest rows before the test."""
    holdout: tuple[str, ...] = ()
    """``group`` only: these groups validate; empty: chosen by seed to match ``val``."""
    seed: int = 0
    """Seed of the split alone, so that trials and re-runs see the same rows."""
    repeats: Literal["together", "leave_out", "anywhere"] = Field(
        default="together", json_schema_extra=as_if_absent("anywhere")
    )
    """Rows with the same features. ``together``: a random split puts them on one side (times and
    groups stay as they are). ``leave_out``: rows of validation and test that repeat a training row
    are left out, whatever the split. ``anywhere``: they are not looked for, as in 0.1."""

    @model_validator(mode="after")
    def _leaves_rows_to_train_on(self) -> SplitSection:
        names = "`val` + `test`" + (" + `calibration`" if self.calibration else "")
        if (held := self.val + self.test + self.calibration) >= 1.0:
            raise ValueError(
                f"{names} must be below 1, but is {held:g}. Lower one of them; 0.15 each is usual"
            )
        if self.holdout and self.kind != "group":
            raise ValueError(
                f"`holdout` needs `kind` to be 'group', but it is {self.kind!r}. "
                "Set `data.split.kind=group` or drop `holdout`"
            )
        return self


class PreprocessingSection(Section):
    """Turns columns into numbers; every statistic is fitted on the training rows alone."""

    scaling: Literal["standard", "robust", "quantile"] = "quantile"
    """``quantile`` maps to a normal distribution, ``robust`` uses median and IQR."""
    n_bins: Annotated[int, Field(ge=2, le=256)] = 48
    """Quantile bin edges kept per numeric feature, for piecewise-linear embeddings."""
    rare_below: Annotated[int, Field(ge=0)] = 10
    """Categories seen less often in training become one category, 'rare'."""
    max_categories: Annotated[int, Field(ge=2, le=65536)] = 512
    """At most this many categories are kept per column, the most frequent first."""


class DataSection(Section):
    """Defines what both kinds of data share."""

    name: str
    split: SplitSection = SplitSection()
    preprocessing: PreprocessingSection = PreprocessingSection()
    rows_in: RowsIn = Field(default="auto", json_schema_extra=NOT_IN_FINGERPRINT)
    """Where prepared rows lie while training: ``device`` (a GPU's memory), ``host`` (this machine's
    memory) or ``disk`` (files of ``cache``); ``auto``: the first of these that they fit."""
    cache: str | None = Field(default=None, json_schema_extra=NOT_IN_FINGERPRINT)
    """Folder for rows that lie on disk; runners on other machines must find it by the same name.
    None: ``jamba_ray`` in ``XDG_CACHE_HOME``, else in ~/.cache."""

    mutable: Mutable = Field(default_factory=dict, json_schema_extra=as_if_absent({}))
    """Numeric columns that an attacker controls, such as [bytes_out, duration], for ``robustness``.
    With limits: {bytes_out: {direction: up, integer: true, budget: 2, low: 0, high: 65535}}."""
    check_shift: bool = Field(default=True, json_schema_extra=NOT_IN_FINGERPRINT)
    """Look, on at most 12,000 rows, whether test or newest rows differ from those that train, and
    for columns that give the label, the time or the row away; takes some seconds."""

    @property
    def cache_folder(self) -> str:
        """Returns the folder for rows that lie on disk."""
        home = os.environ.get("XDG_CACHE_HOME", "")
        # A relative one is to be ignored, says the specification.
        return self.cache or f"{home if home.startswith('/') else '~/.cache'}/jamba_ray"


class SyntheticSection(DataSection):
    """Generates telemetry from a seed, whose Bayes-optimal score is known."""

    name: Literal["synthetic"] = "synthetic"
    n_samples: Annotated[int, Field(ge=200, le=50_000_000)] = 35_000
    """Rows to make, before they are split."""
    n_features: Annotated[int, Field(ge=6, le=512)] = 20
    """Feature columns to make."""
    threat_ratio: Share = 0.5
    """Share of threats among all rows."""
    random_state: int = 42
    """Seed of the generator: the same seed makes the same rows."""
    label_noise: Annotated[float, Field(ge=0.0, lt=0.5)] = 0.02
    """Share of the rarer class whose labels are flipped, and as many of the other class."""
    noise: Annotated[float, Field(ge=0.0)] = 0.5
    """Standard deviation of the measurement noise, in units of a feature's own spread."""
    smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.7
    """Coefficient of the exponential moving average that correlates rows in time; 0: none."""
    n_families: Annotated[int, Field(ge=1, le=16)] = 6
    """Attack families, each with its own interaction of features."""
    n_late_families: Annotated[int, Field(ge=0)] = 1
    """How many of the families appear only in the last fifth of the time span."""

    @model_validator(mode="after")
    def _some_family_is_early(self) -> SyntheticSection:
        if self.n_late_families >= self.n_families:
            raise ValueError(
                f"`n_late_families` must be below `n_families` ({self.n_families}), but is "
                f"{self.n_late_families}. Keep at least one family that training can see"
            )
        return self


class TableSection(DataSection):
    """Reads labelled rows in CSV, JSON lines or Parquet: a file, a folder or a glob."""

    name: Literal["table"] = "table"
    path: str
    """File, folder or glob of the training rows."""
    test: str | None = None
    """File, folder or glob of the test rows; None: a share of ``path`` (``split.test``)."""
    extra_tests: dict[str, str] = Field(default_factory=dict)
    """Further test sets by name, scored once for the winner."""
    columns: Annotated[tuple[Column, ...], BeforeValidator(_columns)] = ()
    """A list: the names of all columns, for CSV files without a header line. ``common``: of files
    with different columns, those that all have are read."""
    target: Column = "is_threat"
    """Column of labels: 0 and 1, or values of which it is plain which are threats (benign and
    malicious, no and yes, BENIGN and names of attacks)."""
    positive: Labels = ()
    """Values of ``target`` that are threats, one or a list; all others are benign unless
    ``negative`` is given too."""
    negative: Labels = ()
    """Values of ``target`` that are benign, one or a list (such as [BENIGN, Normal]); all others
    are threats unless ``positive`` is given too."""
    timestamp: Column | None = None
    """Column that orders rows in time; never a feature."""
    timestamp_format: str | None = None
    """How ``timestamp`` is written, as a format of strptime (``%d/%m/%Y %H:%M``); None: decided
    from all of its cells."""
    group: Column | None = None
    """Column of hosts, users or attack classes: never a feature; errors are also told per group."""
    drop: tuple[Column, ...] = ()
    """Columns that are never features."""
    keep: tuple[Column, ...] = Field(default=(), json_schema_extra=as_if_absent([]))
    """Columns that are features although they look like row numbers or an index."""
    numeric: tuple[Column, ...] = ()
    """Columns to treat as numeric whatever they look like."""
    categorical: tuple[Column, ...] = ()
    """Columns to treat as categorical whatever they look like."""
    max_cells: Annotated[int, Field(gt=0)] = Field(
        default=2_000_000_000, json_schema_extra=NOT_IN_FINGERPRINT
    )
    """Refuse to read more rows x columns than this."""

    @model_validator(mode="after")
    def _columns_have_one_role(self) -> TableSection:
        for name in self.extra_tests:
            run_name(name)
        if self.split.calibration and CALIBRATION in self.extra_tests:
            raise ValueError(
                f"`extra_tests` must not name a test {CALIBRATION!r} beside "
                "`split.calibration`. Call it something else"
            )
        both = sorted(set(self.numeric) & set(self.categorical))
        if both:
            raise ValueError(
                f"`numeric` and `categorical` must not share columns, but both name {both}"
            )
        shared = sorted(set(self.positive) & set(self.negative))
        if shared:
            raise ValueError(
                f"`positive` and `negative` must not share values, but both name {shared}"
            )
        unwanted = sorted(set(self.keep) & set(self.drop))
        if unwanted:
            raise ValueError(f"`keep` and `drop` must not share columns, but both name {unwanted}")
        twice = sorted({n for n in self.columns if self.columns.count(n) > 1})
        if twice:
            raise ValueError(f"`columns` must not name a column twice, but {twice[0]!r} is")
        if self.split.kind == "time" and self.timestamp is None:
            raise ValueError("`split.kind` 'time' needs `timestamp`. Set `data.timestamp=<column>`")
        if self.timestamp_format is not None and self.timestamp is None:
            raise ValueError(
                "`timestamp_format` needs `timestamp`. Set `data.timestamp=<column>` or drop it"
            )
        if self.split.kind == "group" and self.group is None:
            raise ValueError("`split.kind` 'group' needs `group`. Set `data.group=<column>`")
        return self
