"""Reads a window: new rows as the model sees them, with what their columns held before."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa  # type: ignore[import-untyped]

from jamba_ray.data import Preprocessor
from jamba_ray.data.cells import to_names, to_numbers
from jamba_ray.data.labels import labels_and_rule
from jamba_ray.data.number_format import PLAIN
from jamba_ray.data.row_batches import RowBatch, RowFile, row_file
from jamba_ray.data.source import table_files
from jamba_ray.data.table import to_pandas
from jamba_ray.data.times import TimeValues, read_column
from jamba_ray.errors import DataError
from jamba_ray.inference import Predictor
from jamba_ray.inference.model_columns import kinds_of, model_frame

ASK = ("ask_stratum", "ask_rows", "ask_chance", "ask_least")
"""Columns of rows that were asked for: stratum, its rows, the chance of being drawn, the least."""
_SHOWN = 5


@dataclass
class ColumnSeen:
    """Counts what a column of the window holds besides values like those of training."""

    missing: npt.NDArray[np.bool_]
    """[N]."""
    beyond: int = 0
    """Numbers below the lowest or above the highest of training."""
    unknown: int = 0
    """Names that have no code of their own."""
    new: dict[str, int] = field(default_factory=dict)
    """The most frequent of these names, with their number."""
    unreadable: int = 0
    """Cells that are set but are no number."""
    size: float | None = None
    """The median size of the numbers, without their sign."""


@dataclass(frozen=True)
class Window:
    """Holds the N rows of a window."""

    x_num: npt.NDArray[np.float32]
    x_cat: npt.NDArray[np.int64]
    score: npt.NDArray[np.float64]
    seen: dict[str, ColumnSeen]
    lacking: tuple[str, ...]
    """Columns of the model that the files do not have."""
    label: npt.NDArray[np.float32] | None
    """[N], NaN where a row has none; None: no column of labels was named."""
    time: TimeValues | None
    time_fault: str | None
    """Why the times cannot be read."""
    group: npt.NDArray[np.str_] | None
    asked: dict[str, npt.NDArray[np.float64]] | None
    """The columns of ``ASK``, where the rows were asked for."""
    identity: str
    """A digest of what the model saw; the same rows have the same one."""

    def __len__(self) -> int:
        return len(self.score)


def read_window(
    predictor: Predictor,
    path: str,
    names: Sequence[str] = (),
    *,
    labels: str | None = None,
    timestamp: str | None = None,
    timestamp_format: str | None = None,
    group: str | None = None,
) -> Window:
    """Reads all rows of a file, folder or glob and scores them.

    A column that is not there counts as missing in every row, so that the window is still told
    about. Raises DataError where a file is no table, or a column named here is not in it.
    """
    files = [row_file(file, names) for file in table_files(path)]
    present = set(files[0].names).intersection(*(file.names for file in files))
    preprocessing = predictor.preprocessing
    lacking = tuple(name for name in preprocessing.columns if name not in present)
    if len(lacking) == len(preprocessing.columns):
        raise DataError(
            f"{path} must have columns that training had, such as "
            f"{preprocessing.columns[0]!r}, but has none of them; give rows like those that the "
            "model scores."
        )
    wanted = {name: name for name in (labels, timestamp, group) if name is not None}
    for name in wanted:
        if name not in present:
            raise DataError(
                f"{path} must have the column {name!r} that was named, but has no such column; it "
                f"has {', '.join(map(repr, sorted(present)[:_SHOWN]))} and others."
            )
    is_asked = set(ASK) <= present
    extra = [*wanted, *(ASK if is_asked else ())]
    parts = _Parts(predictor, lacking)
    for file in files:
        for batch in _batches(file, preprocessing):
            parts.take(batch, extra)
    return parts.window(path, labels, (timestamp, timestamp_format), group, is_asked=is_asked)


def _batches(file: RowFile, preprocessing: Preprocessor) -> Any:
    numbers, texts = kinds_of(preprocessing)
    there = set(file.names)
    return file.batches(numbers & there, texts & there)


class _Parts:
    """Gathers the batches of a window."""

    def __init__(self, predictor: Predictor, lacking: tuple[str, ...]) -> None:
        self._predictor, self._lacking = predictor, lacking
        self._x_num: list[npt.NDArray[np.float32]] = []
        self._x_cat: list[npt.NDArray[np.int64]] = []
        self._score: list[npt.NDArray[np.float64]] = []
        self._seen: dict[str, list[ColumnSeen]] = {}
        self._extra: list[pd.DataFrame] = []

    def take(self, batch: RowBatch, extra: Sequence[str]) -> None:
        """Transforms and scores the rows of a batch."""
        preprocessing = self._predictor.preprocessing
        n = batch.columns.num_rows
        columns = batch.columns
        for name in self._lacking:
            columns = columns.append_column(name, pa.nulls(n, pa.float64()))
        frame = model_frame(columns, preprocessing)
        if not len(frame):
            return
        matrices = preprocessing.transform(frame)
        self._x_num.append(matrices[0])
        self._x_cat.append(matrices[1])
        self._score.append(self._predictor.score_matrices(*matrices))
        for name, one in seen_in(frame, preprocessing).items():
            self._seen.setdefault(name, []).append(one)
        if extra:
            table = batch.table()
            tidy = {str(name).strip(): name for name in table.column_names}
            self._extra.append(pd.DataFrame({name: to_pandas(table[tidy[name]]) for name in extra}))

    def window(
        self,
        path: str,
        labels: str | None,
        timestamp: tuple[str | None, str | None],
        group: str | None,
        *,
        is_asked: bool,
    ) -> Window:
        """Joins the batches; raises DataError where there is no row, or a label is none."""
        if not self._score:
            raise DataError(f"{path} must hold rows, but holds none; give the rows to watch.")
        extra = pd.concat(self._extra, ignore_index=True) if self._extra else pd.DataFrame()
        score = np.concatenate(self._score)
        x_num, x_cat = np.concatenate(self._x_num), np.concatenate(self._x_cat)
        time, fault = _times(extra, *timestamp, path)
        digest = hashlib.sha256(score.tobytes())
        digest.update(np.ascontiguousarray(x_num).tobytes())
        digest.update(np.ascontiguousarray(x_cat).tobytes())
        if labels is not None:
            digest.update("\x1f".join(extra[labels].astype(str)).encode())
        return Window(
            x_num,
            x_cat,
            score,
            {name: _joined(some) for name, some in self._seen.items()},
            self._lacking,
            None if labels is None else _labels(extra, labels, self._predictor, path),
            time,
            fault,
            None if group is None else extra[group].astype(str).to_numpy().astype(np.str_),
            {name: to_numbers(extra[name]) for name in ASK} if is_asked else None,
            digest.hexdigest()[:16],
        )


def seen_in(frame: pd.DataFrame, preprocessing: Preprocessor) -> dict[str, ColumnSeen]:
    """Counts by column what the rows hold besides values like those of training."""
    found: dict[str, ColumnSeen] = {}
    odd = preprocessing.unreadable(frame)
    for column in preprocessing.numeric:
        cells = to_numbers(frame[column.name], preprocessing.formats.get(column.name, PLAIN))
        one = ColumnSeen(np.isnan(cells))
        one.beyond = int(((cells < column.low) | (cells > column.high)).sum())
        finite = np.abs(cells[np.isfinite(cells)])
        one.size = float(np.median(finite)) if len(finite) else None
        found[column.name] = one
    for name in {c.name for c in preprocessing.categorical if c.tells_missing} - found.keys():
        form = preprocessing.formats.get(name, PLAIN)
        found[name] = ColumnSeen(np.isnan(to_numbers(frame[name], form)))
    for known in preprocessing.categorical:
        if known.tells_missing:
            continue
        codes, names = to_names(frame[known.name])
        one = ColumnSeen(codes < 0)
        counts = np.bincount(codes[codes >= 0], minlength=len(names))
        new = {
            name: int(count)
            for name, count in zip(names, counts, strict=True)
            if name not in known.categories
        }
        one.unknown, one.new = sum(new.values()), new
        found[known.name] = one
    for name, counted in odd.items():
        found[name].unreadable = counted.cells
    return found


def _joined(some: Sequence[ColumnSeen]) -> ColumnSeen:
    new: dict[str, int] = {}
    for one in some:
        for name, count in one.new.items():
            new[name] = new.get(name, 0) + count
    most = sorted(new.items(), key=lambda item: (-item[1], item[0]))[:_SHOWN]
    return ColumnSeen(
        np.concatenate([one.missing for one in some]),
        sum(one.beyond for one in some),
        sum(one.unknown for one in some),
        dict(most),
        sum(one.unreadable for one in some),
        # Of batches of like size the median of the medians is near enough to know a unit by.
        float(np.median(sizes))
        if (sizes := [o.size for o in some if o.size is not None])
        else None,
    )


def _labels(
    extra: pd.DataFrame, name: str, predictor: Predictor, path: str
) -> npt.NDArray[np.float32]:
    cells = extra[name]
    has = cells.notna() & (cells.astype(str).str.strip() != "")
    found = np.full(len(cells), np.nan, dtype=np.float32)
    if has.any():
        some = extra.loc[has.to_numpy(), [name]].reset_index(drop=True)
        found[has.to_numpy()] = labels_and_rule(
            some, name, predictor.label_rule, source=path, is_test=True
        )[0]
    return found


def _times(
    extra: pd.DataFrame, name: str | None, form: str | None, path: str
) -> tuple[TimeValues | None, str | None]:
    if name is None:
        return None, None
    try:
        return read_column(extra[name], path, form).values, None
    except DataError as error:
        return None, error.message
