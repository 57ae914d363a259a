"""Defines the settings of ``predict``, ``explain``, ``threshold`` and ``evaluate``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from jamba_ray.config.data import Column
from jamba_ray.config.names import DEFAULT_REGISTRY, LocalPath, Plugins, number_as_text
from jamba_ray.config.run import AnyData, RunName
from jamba_ray.config.section import Section

Share = Annotated[float, Field(gt=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
DEFAULT = "default"
"""The name of the threshold that is used where none is asked for."""


class InputSection(Section):
    """Names the rows to score."""

    path: LocalPath
    """File, folder or glob of CSV, JSON lines or Parquet; ``-``: standard input."""
    columns: tuple[Column, ...] = ()
    """The names of all columns, for CSV files without a header line."""


class PredictConfig(Section):
    """Configures ``predict``."""

    run: LocalPath
    """A run folder, its ``best/``, any checkpoint folder, one of these in a bucket, or a version of
    a registry (``threats@champion``, ``threats@3``)."""
    data: InputSection
    output: LocalPath
    """The file to write: the columns as they were, and ``score``, ``alert`` and ``threshold``;
    see ``probability`` and ``explain`` for more.
    ``.parquet`` gives Parquet, ``.jsonl`` JSON lines, all else CSV; ``-``: standard output, as JSON
    lines where the rows are such, else as CSV."""
    threshold: Annotated[str | None, BeforeValidator(number_as_text)] = None
    """The name of a threshold that ``threshold`` saved, or a number from 0 to 1; None: the saved
    one named ``default``, else that with the best F1 on validation rows."""
    explain: Annotated[int, Field(ge=0, le=50)] = 0
    """Columns ``reason_1`` .. to add: the columns that push the score of each alert most, with
    their values and what they add to its log-odds; 3 is a good number."""
    probability: bool = False
    """Add the column ``probability``: the score by the calibration that ``threshold`` saved. Alerts
    and thresholds are of the score, which stays as it is."""
    prior: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    """Share of threats among these rows, where it is not that of training (0.001: one in 1,000);
    moves ``probability``, and adds it."""
    overwrite: bool = False
    """Replace the output file."""
    registry: LocalPath = DEFAULT_REGISTRY
    """Folder or bucket of the registry that a version is in."""
    plugins: Plugins = ()
    """Modules that the model needs: [mypkg.threats]."""
    verbose: bool = False
    """Let the libraries print what they like."""


class ExplainedSection(Section):
    """Names the rows of which one is explained."""

    path: LocalPath | None = None
    """File, folder or glob of CSV, JSON lines or Parquet; ``-``: standard input; null: the model is
    explained, not a row."""
    columns: tuple[Column, ...] = ()
    """The names of all columns, for CSV files without a header line."""


INPUT_SECTIONS = (InputSection, ExplainedSection)
"""Sections named ``data`` that name files and are no choice between kinds of data."""


class ExplainConfig(Section):
    """Configures ``explain``."""

    run: LocalPath
    """A run folder, its ``best/``, any checkpoint folder, one of these in a bucket, or a version of
    a registry (``threats@champion``)."""
    data: ExplainedSection = ExplainedSection()
    row: Annotated[int, Field(ge=1)] | None = None
    """The row to explain, counted from 1 without the header; null: the one with the highest
    score."""
    threshold: Annotated[str | None, BeforeValidator(number_as_text)] = None
    """The name of a threshold that ``threshold`` saved, or a number from 0 to 1; null: as in
    ``predict``."""
    registry: LocalPath = DEFAULT_REGISTRY
    """Folder or bucket of the registry that a version is in."""
    plugins: Plugins = ()
    """Modules that the model needs: [mypkg.threats]."""
    verbose: bool = False
    """Let the libraries print what they like."""

    @model_validator(mode="after")
    def _has_rows(self) -> ExplainConfig:
        if self.row is not None and self.data.path is None:
            raise ValueError(
                f"`row={self.row}` needs the file that the row is in. Write "
                f"`jamba-ray explain {self.run} new.csv row={self.row}`"
            )
        return self


_GOALS = ("max_fpr", "min_recall", "min_precision", "alerts_per_day", "cost_missed")


class ThresholdConfig(Section):
    """Configures ``threshold``."""

    run: LocalPath
    """The run folder whose model gets the threshold."""
    name: RunName = DEFAULT
    """What the threshold is called; one of this name is replaced. Evaluate and predict use
    ``default`` unless they are given another."""
    max_fpr: Share | None = None
    """Flag as many rows as this share of benign rows allows (0.01: 1 %)."""
    min_recall: Share | None = None
    """Flag as few rows as it takes to find this share of the threats."""
    min_precision: Share | None = None
    """Flag as many rows as leave this share of the alerts threats."""
    alerts_per_day: Positive | None = None
    """Flag as many rows as give so many alerts a day; needs ``rows_per_day``."""
    rows_per_day: Positive | None = None
    """Rows that are scored in a day."""
    cost_false_positive: Positive | None = None
    """What a false alert costs, in the unit of ``cost_missed``: the threshold has least cost."""
    cost_missed: Positive | None = None
    """What a missed threat costs."""
    threat_ratio: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    """Share of threats among the rows that will be scored; None: as among validation rows."""
    guarantee: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.95
    """Confidence with which ``max_fpr`` or ``min_recall`` is to hold for rows to come that are like
    those it is chosen on; 0: it need not hold for others."""
    guarantee_by: Literal["group", "time"] | None = None
    """Keep it in each group (``data.group``), or in each of up to 8 periods (split by time)."""
    shift: Annotated[float, Field(ge=0.5, le=1.0)] | None = None
    """AUC of a classifier that tells newer rows from these; from 0.6 on nothing is promised."""
    calibration: Literal["auto", "none", "temperature", "platt", "beta", "isotonic"] = "auto"
    """Map from scores to probabilities (``predict probability=true``), fitted besides; ``auto``:
    the one with the least log loss on rows that it was not fitted on."""
    plugins: Plugins = ()
    """Modules that the model needs: [mypkg.threats]."""
    verbose: bool = False
    """Let the libraries print what they like."""

    @property
    def confidence(self) -> float | None:
        """Returns the confidence of the promise; None where none is wanted or possible."""
        return self.guarantee if self.guarantee > 0.0 and self._is_provable else None

    @property
    def _is_provable(self) -> bool:
        return self.max_fpr is not None or self.min_recall is not None

    @model_validator(mode="after")
    def _promises_what_it_can(self) -> ThresholdConfig:
        for name in ("guarantee", "guarantee_by"):
            if name in self.model_fields_set and not self._is_provable:
                raise ValueError(
                    f"`{name}` needs a goal that can be proven, `max_fpr` or `min_recall`, but "
                    f"neither is given. Give one, or drop `{name}`"
                )
        return self

    @model_validator(mode="after")
    def _has_one_goal(self) -> ThresholdConfig:
        given = [name for name in _GOALS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"exactly one of {', '.join(f'`{name}`' for name in _GOALS)} must be given, but "
                f"{' and '.join(given) or 'none'} is. Write for example `max_fpr=0.01`"
            )
        if (self.alerts_per_day is not None) and self.rows_per_day is None:
            raise ValueError(
                "`alerts_per_day` needs the rows that are scored in a day. "
                "Add `rows_per_day=1000000`"
            )
        if (self.cost_missed is None) != (self.cost_false_positive is None):
            raise ValueError(
                "`cost_missed` and `cost_false_positive` must be given together. "
                "Add the one that is missing"
            )
        return self


class EvaluateConfig(Section):
    """Configures ``evaluate``."""

    checkpoint: LocalPath
    """A run folder, its ``best/``, any checkpoint folder, or a version of a registry
    (``threats@champion``)."""
    data: AnyData
    """Labelled rows: of a table, its ``test`` if there is one, else ``path``; of ``synthetic``, the
    test share."""
    threshold: Annotated[str | None, BeforeValidator(number_as_text)] = None
    """The name of a threshold that ``threshold`` saved, or a number from 0 to 1; None: the saved
    one named ``default``, else that with the best F1 on validation rows."""
    store: LocalPath = "runs"
    """Folder that holds the run folders."""
    run: RunName | None = None
    """Name of the folder for the result; None: made from the time."""
    overwrite: bool = False
    """Replace the run of this name."""
    registry: LocalPath = DEFAULT_REGISTRY
    """Folder or bucket of the registry that a version is in."""
    plugins: Plugins = ()
    """Modules that the model needs: [mypkg.threats]."""
    verbose: bool = False
    """Let Ray and the libraries print what they like."""
