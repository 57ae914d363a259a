"""Reads the raw tables of a data section: synthetic or of files, held as a whole or by columns."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from pandas.api import types

from jamba_ray.config.command_line import setting
from jamba_ray.config.data import COMMON, DataSection, SyntheticSection, TableSection
from jamba_ray.config.names import nearest
from jamba_ray.data.cells import to_names
from jamba_ray.data.header import UNNAMED, may_be_index
from jamba_ray.data.labels import LabelRule, asked_rule, labels, labels_and_rule, rule_note
from jamba_ray.data.parts import Source
from jamba_ray.data.raw_table import RawTable
from jamba_ray.data.row_location import Place, free_bytes, where_rows_live
from jamba_ray.data.source import table_files
from jamba_ray.data.synthetic import BAYES, GROUP, TARGET, generate
from jamba_ray.data.table import (
    Extent,
    column_names,
    file_columns,
    read_columns,
    read_table,
    table_extent,
)
from jamba_ray.data.times import Times, read_column
from jamba_ray.errors import DataError

NO_GROUP = "(none)"
"""Group of the rows whose group cell is empty."""
_GROUP_SHARE = 0.4
"""What of the free memory the columns that are read at once may take."""

Extents = Mapping[str, Extent]


def place_of(section: DataSection) -> tuple[Place, Extents]:
    """Decides where the rows of a section lie, and returns how large its tables are, by path.

    Raises DataError for more than ``max_cells``, or for column names that do not exist.
    """
    if not isinstance(section, TableSection):
        # Made in memory: only what is prepared of them can lie on disk.
        asked = "host" if section.rows_in == "auto" else section.rows_in
        return where_rows_live(0, 0, asked), {}
    _check_names(section)
    extents = {
        path: extent_of(section, path) for path in (section.path, *_test_paths(section).values())
    }
    needed = sum(extent.reading_bytes for extent in extents.values())
    return where_rows_live(needed, free_bytes(), section.rows_in), extents


def synthetic(section: SyntheticSection) -> Source:
    """Returns the rows of the generator."""
    frame = generate(section)
    return Source(
        "the synthetic data",
        RawTable.of(frame),
        np.arange(len(frame)),
        labels(frame, TARGET, source="the synthetic data"),
        group=frame[GROUP].to_numpy(dtype=str),
        time=np.arange(len(frame), dtype=np.int64),
        bayes=frame[BAYES].to_numpy(),
    )


def extent_of(section: TableSection, path: str, keep: Collection[str] = ()) -> Extent:
    """Measures how large a table is; ``keep`` as for ``table``.

    Raises:
        DataError: It is larger than ``max_cells``.
    """
    drop, notes = _left_out(section, path, keep)
    extent = table_extent(path, max_cells=section.max_cells, drop=drop, names=_given(section))
    return replace(extent, notes=(*extent.notes, *notes))


def tests(
    section: TableSection, place: Place, extents: Extents, train: Source
) -> dict[str, Source]:
    """Reads the test sets of files, by name; labels and times are read as those of ``train``
    were."""
    order = train.times.order if train.times else ""
    return {
        name: table(section, path, place, extents, is_test=True, rule=train.rule, order=order)
        for name, path in _test_paths(section).items()
    }


def table(
    section: TableSection,
    path: str,
    place: Place,
    extents: Extents,
    *,
    is_test: bool = False,
    rule: LabelRule | None = None,
    order: str = "",
    keep: Collection[str] = (),
) -> Source:
    """Reads the rows of files; where they lie on disk, only the special columns are read yet.

    ``rule`` says how the training labels were read and ``order`` is that of day, month and year in
    its times, where they are known; ``keep`` names columns that are read although they look like
    an index.
    """
    given = _given(section)
    drop, _ = _left_out(section, path, keep)
    left_out = {
        name: "named in data.drop" if name in section.drop else "not in all files"
        for name in sorted(drop)
    }
    notes = list(extents[path].notes)
    if place.kind == "disk":
        names = [name for name in column_names(path, given) if name not in drop]
        special = {section.target, section.timestamp, section.group}
        wanted = [n for n in names if n in special or may_be_index(n)]
        frame = read_columns(path, wanted, extents[path], given)
    else:
        frame = read_table(path, max_cells=section.max_cells, drop=drop, names=given)
        names = list(frame.columns)
    for name in [n for n in frame.columns if may_be_index(n) and n not in _named(section, keep)]:
        if is_pandas_index(frame[name], n_files=len(table_files(path))):
            names.remove(name)
            left_out[name] = "the index that pandas wrote"
            kept = setting("data.keep", [*section.keep, name])
            notes.append(
                f"Column {name!r} is the index that pandas wrote; it is no feature "
                f"({kept} makes it one)."
            )
    if place.kind == "disk":
        raw = by_columns(path, names, extents[path], given)
    else:
        frame = frame[names]
        raw = RawTable.of(frame)
    known = rule or asked_rule(section.positive, section.negative)
    y, used = labels_and_rule(frame, section.target, known, source=path, is_test=is_test)
    if used != rule:
        notes.append(rule_note(used, section.target))
    group = times = None
    # A test file may lack the group and the time: they are told, not learnt from.
    if section.group is not None and section.group in frame.columns:
        codes, group_names = to_names(frame[section.group])
        group = np.array([*group_names, NO_GROUP])[codes]
    if section.timestamp is not None and section.timestamp in frame.columns:
        # Of a random split they only tell whether newer rows differ.
        may_fail = is_test or section.split.kind not in ("time", "auto")
        times = _times(frame, section, path, order, may_fail=may_fail)
    return Source(
        path,
        raw,
        np.arange(len(frame)),
        y,
        group=group,
        time=None if times is None else times.values,
        times=times,
        rule=used,
        notes=tuple(note for note in notes if note),
        left_out=left_out,
    )


def _times(
    frame: pd.DataFrame, section: TableSection, path: str, order: str, *, may_fail: bool
) -> Times | None:
    """Returns the times of a table; None where none are understood and nothing needs them."""
    name = section.timestamp
    try:
        return read_column(frame[name], path, section.timestamp_format, order)
    except DataError:
        if may_fail:
            return None
        raise


def is_pandas_index(column: pd.Series[Any], n_files: int) -> bool:
    """Says whether a column with the name of an index is one.

    It is by a name that only pandas gives, or by whole numbers from 0 on of which none comes twice
    in a file, in any order.
    """
    if column.name != UNNAMED:
        return True
    if not types.is_integer_dtype(column.dtype) or column.isna().any() or column.min() < 0:
        return False
    return int(column.value_counts().max()) <= n_files


def by_columns(
    path: str, names: Sequence[str], extent: Extent, given: Sequence[str] = ()
) -> RawTable:
    """Opens a table of files that holds as many columns as fit the memory that is free now."""
    column_bytes = extent.reading_bytes // max(len(names), 1)
    at_once = max(int(_GROUP_SHARE * free_bytes()) // max(column_bytes, 1), 1)

    def read(columns: Sequence[str]) -> pd.DataFrame:
        return read_columns(path, columns, extent, given)

    return RawTable(tuple(names), read, at_once)


def _given(section: TableSection) -> tuple[str, ...]:
    """Returns the names for files without a header."""
    return () if section.columns == (COMMON,) else section.columns


def _named(section: TableSection, keep: Collection[str]) -> set[str]:
    """Returns the columns that a setting names, whatever they look like."""
    special = (section.target, section.timestamp, section.group)
    named = {name for name in special if name is not None}
    return {*named, *section.numeric, *section.categorical, *section.keep, *keep}


def _left_out(
    section: TableSection, path: str, keep: Collection[str] = ()
) -> tuple[set[str], tuple[str, ...]]:
    """Returns the columns of a table that are not read, and sentences on those that no setting
    names."""
    drop, notes = set(section.drop), list[str]()
    files = file_columns(path, _given(section)) if section.columns == (COMMON,) else ()
    present = [set(names) - drop for _, names in files]
    missing = {name for names in present for name in names if any(name not in p for p in present)}
    if missing:
        notes.append(
            f"{len(missing)} columns that not all {len(files)} files of {path} have are left out: "
            f"{_listed(sorted(missing))}."
        )
    return drop | missing, tuple(notes)


def no_features(section: TableSection) -> set[str]:
    """Returns the columns that have another purpose."""
    special = (section.target, section.timestamp, section.group, *section.drop)
    return {name for name in special if name is not None}


def _test_paths(section: TableSection) -> dict[str, str]:
    taken = sorted({"train", "val", "test"} & section.extra_tests.keys())
    if taken:
        raise DataError(
            f"data.extra_tests must use names of its own, but {taken[0]!r} is taken; rename it."
        )
    paths = {"test": section.test} if section.test is not None else {}
    return {**paths, **section.extra_tests}


def _check_names(section: TableSection) -> None:
    """Refuses misspelt column names before the rows are read: a misspelt ``drop`` would leak."""
    files = file_columns(section.path, _given(section))
    present = list(dict.fromkeys(name for _, names in files for name in names))
    named = {
        "data.target": (section.target,),
        "data.timestamp": (section.timestamp,) if section.timestamp else (),
        "data.group": (section.group,) if section.group else (),
        "data.drop": section.drop,
        "data.keep": section.keep,
        "data.numeric": section.numeric,
        "data.categorical": section.categorical,
    }
    for option, names in named.items():
        for name in names:
            if name not in present:
                listed = f"; its columns are {_listed(present)}. Set {option}=<column>."
                raise DataError(
                    f"{option} must name a column of {section.path}, but it has no {name!r}"
                    f"{nearest(name, present) or listed}"
                )


def _listed(names: Sequence[str], at_most: int = 8) -> str:
    more = f" and {len(names) - at_most} more" if len(names) > at_most else ""
    return ", ".join(names[:at_most]) + more
