"""Scores a file of unlabelled rows into another file, some rows at a time."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa  # type: ignore[import-untyped]

from jamba_ray.data.cells import Counted
from jamba_ray.data.row_batches import RowBatch, RowFile, renamed
from jamba_ray.errors import DataError
from jamba_ray.inference.model_rows import (
    STANDARD,
    STANDARD_INPUT,
    Matrices,
    model_files,
    model_frames,
    row_batches,
    standard_input,
)
from jamba_ray.inference.output_file import refuse_input, refuse_used, standard_output, whole_file
from jamba_ray.inference.reasons import reason_columns, reasons_of
from jamba_ray.inference.scored_file import ADDED, PREFIX, Kind, added_columns, kind_of, writer_to
from jamba_ray.inference.scorer import Probabilities
from jamba_ray.inference.stage import stage

if TYPE_CHECKING:
    from jamba_ray.inference.predictor import Predictor

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scored:
    """Holds the result of scoring a file."""

    output: str
    rows: int
    alerts: int
    threshold: float
    threshold_is: str
    """The origin of the threshold, in words."""
    notes: tuple[str, ...]
    """One sentence for each assumption and each unusual finding."""


def predict_file(
    predictor: Predictor,
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    threshold: str | float | None = None,
    columns: Sequence[str] = (),
    explain: int = 0,
    probability: bool = False,
    prior: float | None = None,
    overwrite: bool = False,
    tell: Callable[[str], None] = _LOG.info,
    progress: Callable[[int], object] = lambda rows: None,
) -> Scored:
    """Writes the rows of ``path`` with ``score``, ``alert`` and ``threshold`` to ``output``.

    Where the rows have a column of one of these names, ``threat_score`` and so on are added.

    ``path`` is a file, folder or glob of CSV, JSON lines or Parquet, of which a few megabytes are
    in memory at a time. ``output`` is Parquet if it ends in ``.parquet`` or ``.pq``, JSON lines if
    in ``.jsonl`` or ``.ndjson``, else CSV. It is written under a temporary name and renamed when it
    is complete. ``-`` means standard input, which is first copied to a temporary file, or standard
    output, which gets JSON lines where the rows are such.

    Args:
        predictor: The model.
        path: The rows; columns are matched by name, and columns that the model lacks are kept.
        output: The file to write.
        threshold: A saved name or a number; None: the saved ``default``, else the best F1.
        columns: Names for the columns of CSV files without a header line.
        explain: How many columns ``reason_1`` .. to add: what pushes the score of each alert most.
        probability: Add the column ``probability``: the score by the saved calibration.
        prior: Share of threats among the rows, to which ``probability`` is moved; adds it too.
        overwrite: Replace the output.
        tell: Is called with each note as soon as it is known.
        progress: Is called with how many rows have been written, after each batch.

    Raises:
        ConfigError: There is no threshold of this name, no calibration, or the output's format is
            none of these.
        DataError: A file is no table, or a column is missing or holds something else.
        RunExistsError: The output exists, or is one of the files of rows.
        StorageError: The output cannot be written.
    """
    if os.fspath(path) == STANDARD:
        with standard_input() as copy:
            return predict_file(
                predictor,
                copy,
                output,
                threshold=threshold,
                columns=columns,
                explain=explain,
                probability=probability,
                prior=prior,
                overwrite=overwrite,
                tell=lambda text: tell(text.replace(copy, STANDARD_INPUT)),
                progress=progress,
            )
    cut, what = predictor.threshold_of(None if threshold is None else str(threshold))
    probability = probability or prior is not None
    if probability:
        predictor.probabilities([], prior)  # says early where there is no calibration
    target = Path(output).expanduser()
    to_pipe = os.fspath(output) == STANDARD
    kind: Kind = kind_of(target)
    sources = model_files(os.fspath(path), columns, predictor.preprocessing)
    if not to_pipe:
        refuse_input(target, [source.path for source in sources], os.fspath(path))
        refuse_used(target, overwrite=overwrite)
    notes: list[str] = []

    def note(text: str) -> None:
        notes.append(text)
        tell(text)

    added = added_columns(explain, probability=probability, names=sources[0].names)
    for text in _about_columns(predictor, sources, added):
        note(text)
    formats = predictor.preprocessing.formats.values()
    if kind == "csv" and any(form.decimal == "," for form in formats):
        note("Scores are written with a decimal point; numbers of the rows may have a comma.")
    progress(0)
    scoring = _Scoring(predictor, cut, explain)
    rows = alerts = 0
    first = sources[0]
    if to_pipe and first.is_json:
        kind = "json"
    with (
        standard_output() if to_pipe else whole_file(target, overwrite=overwrite) as stream,
        writer_to(stream, first, cut, kind=kind, added=added) as write,
        stage(_batches(predictor, sources)) as batches,
        stage(scoring.prepared(batches)) as prepared,
        stage(scoring.scored(prepared)) as scored,
    ):
        for batch, p, reasons in scored:
            if probability:
                reasons = [pa.array(predictor.probabilities(p, prior)), *reasons]
            write(batch, p, reasons)
            rows, alerts = rows + len(p), alerts + int(np.count_nonzero(p >= cut))
            progress(rows)
        for text in scoring.odd_cells():
            note(text)
    if (promise := predictor.promise_of(None if threshold is None else str(threshold))) is not None:
        note(promise["sentence"])
    return Scored(str(target), rows, alerts, cut, what, tuple(notes))


def _about_columns(
    predictor: Predictor, sources: Sequence[RowFile], added: Sequence[str]
) -> Iterator[str]:
    """Checks before the first row is read that the files can be scored into one; yields a sentence
    on extra columns."""
    wanted, first = predictor.preprocessing.columns, sources[0]
    for source in sources:
        if set(source.names) != set(first.names):
            other = sorted(set(source.names) ^ set(first.names))[0]
            raise DataError(
                f"files that are scored into one must have the same columns, but only one of "
                f"{first.path} and {source.path} has {other!r}; score them one by one."
            )
        if source.schema != first.schema:
            raise DataError(
                f"files that are scored into one must have the same types, but {source.path} "
                f"differs from {first.path}; score them one by one."
            )
    if taken := sorted(set(added) & set(first.names)):
        raise DataError(
            f"{first.path} must not have a column {taken[0]!r}, which is the name of one that is "
            "added; rename it, or score the file that this one was made from."
        )
    usual = [name.removeprefix(PREFIX) for name in added]
    is_scored = set(ADDED) <= set(first.names) and not set(ADDED) & set(wanted)
    if is_scored:
        raise DataError(
            f"{first.path} must not have been scored before, but has the columns "
            f"{', '.join(ADDED)}; score the file that this one was made from."
        )
    if taken := [name for name in usual if name in first.names]:
        yield (
            f"The rows have a column {taken[0]!r}, so the added columns are called "
            f"{', '.join(added)}."
        )
    for source in sources:
        yield from source.notes
    extra = [name for name in first.names if name not in wanted]
    if extra:
        listed = ", ".join(map(repr, extra[:5])) + (", ..." if len(extra) > 5 else "")
        how = "column is" if len(extra) == 1 else "columns are"
        yield f"{len(extra)} {how} kept that the model does not use: {listed}."


def _batches(
    predictor: Predictor, sources: Sequence[RowFile]
) -> Generator[tuple[RowFile, RowBatch]]:
    first = sources[0]
    for source, batch in row_batches(sources, predictor.preprocessing):
        is_same = source.names == first.names and source.delimiter == first.delimiter
        yield source, batch if is_same else renamed(batch, first.names)


class _Scoring:
    """Prepares and scores batches; counts cells that are not numbers."""

    def __init__(self, predictor: Predictor, cut: float, explain: int) -> None:
        self._predictor, self._cut, self._explain = predictor, cut, explain
        self._odd: dict[str, Counted] = {}

    def prepared(
        self, batches: Iterator[tuple[RowFile, RowBatch]]
    ) -> Generator[tuple[RowBatch, pd.DataFrame, Matrices]]:
        """Yields each batch with the columns and the matrices of the model."""
        preprocessing = self._predictor.preprocessing
        for batch, frame in model_frames(batches, preprocessing):
            self._count(frame)
            yield batch, frame, preprocessing.transform(frame)

    def scored(
        self, prepared: Iterator[tuple[RowBatch, pd.DataFrame, Matrices]]
    ) -> Generator[tuple[RowBatch, Probabilities, list[pa.Array]]]:
        """Yields each batch with its scores and columns of reasons."""
        for batch, frame, matrices in prepared:
            p = self._predictor.score_matrices(*matrices)
            yield batch, p, self._reasons(frame, matrices, p) if self._explain else []

    def _reasons(self, frame: pd.DataFrame, matrices: Matrices, p: Probabilities) -> list[pa.Array]:
        at = np.flatnonzero(p >= self._cut)
        alerts = matrices[0][at], matrices[1][at]
        found = self._predictor.contributions_of(*alerts)
        reasons = reasons_of(frame.iloc[at], found, self._explain)
        return reason_columns(reasons, at, len(p), self._explain)

    def _count(self, frame: pd.DataFrame) -> None:
        for name, odd in self._predictor.preprocessing.unreadable(frame).items():
            before = self._odd.get(name)
            self._odd[name] = (
                odd if before is None else replace(before, cells=before.cells + odd.cells)
            )

    def odd_cells(self) -> Iterator[str]:
        """Yields a sentence for each numeric column that has cells that are not numbers."""
        for name, odd in self._odd.items():
            one = odd.cells == 1
            yield (
                f"{odd.cells:,} cell{'' if one else 's'} of {name!r} {'is' if one else 'are'} no "
                f"number, such as {odd.shown!r}, and count{'s' if one else ''} as missing."
            )
