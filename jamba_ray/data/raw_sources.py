"""From a data section to its raw tables: synthetic or of files, held as a whole or by columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from jamba_ray.config.data import DataSection, SyntheticSection, TableSection
from jamba_ray.config.names import nearest
from jamba_ray.data.cells import to_names
from jamba_ray.data.labels import labels
from jamba_ray.data.parts import Source
from jamba_ray.data.raw_table import RawTable
from jamba_ray.data.row_location import Place, free_bytes, where_rows_live
from jamba_ray.data.synthetic import BAYES, GROUP, TARGET, generate
from jamba_ray.data.table import Extent, column_names, read_columns, read_table, table_extent
from jamba_ray.data.times import Times, read_column
from jamba_ray.errors import DataError

NO_GROUP = "(none)"
"""Group of the rows whose group cell is empty."""
_GROUP_SHARE = 0.4
"""What of the free memory the columns that are read at once may take."""

Extents = Mapping[str, Extent]


def place_of(section: DataSection) -> tuple[Place, Extents]:
    """Where the rows of a section shall lie, and how large its tables are, by path.

    Raises DataError for more than ``max_cells``, or for column names that do not exist.
    """
    if not isinstance(section, TableSection):
        # Made in memory: only what is prepared of them can lie on disk.
        asked = "host" if section.rows_in == "auto" else section.rows_in
        return where_rows_live(0, 0, asked), {}
    _check_names(section)
    extents = {
        path: table_extent(path, max_cells=section.max_cells, drop=section.drop)
        for path in (section.path, *_test_paths(section).values())
    }
    needed = sum(extent.reading_bytes for extent in extents.values())
    return where_rows_live(needed, free_bytes(), section.rows_in), extents


def synthetic(section: SyntheticSection) -> Source:
    """The rows of the generator."""
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


def tests(section: TableSection, place: Place, extents: Extents, order: str) -> dict[str, Source]:
    """The test sets of files, by name; ``order`` is that of day, month and year in ``path``."""
    return {
        name: table(section, path, place, extents, is_test=True, order=order)
        for name, path in _test_paths(section).items()
    }


def table(
    section: TableSection,
    path: str,
    place: Place,
    extents: Extents,
    *,
    is_test: bool = False,
    order: str = "",
) -> Source:
    """The rows of files; where they shall lie on disk, only the special columns are read yet."""
    if place.kind == "disk":
        names = tuple(name for name in column_names(path) if name not in section.drop)
        special = {section.target, section.timestamp, section.group}
        frame = read_columns(path, [n for n in names if n in special], extents[path])
        raw = by_columns(path, names, extents[path])
    else:
        frame = read_table(path, max_cells=section.max_cells, drop=section.drop)
        raw = RawTable.of(frame)
    y = labels(frame, section.target, source=path)
    group = times = None
    # A test file may lack the group and the time: they are told, not learnt from.
    if section.group is not None and section.group in frame.columns:
        codes, group_names = to_names(frame[section.group])
        group = np.array([*group_names, NO_GROUP])[codes]
    if section.split.kind == "time" and section.timestamp is not None:
        times = _times(frame, section, path, order, is_test=is_test)
    time = None if times is None else times.values
    return Source(path, raw, np.arange(len(frame)), y, group, time, times=times)


def _times(
    frame: pd.DataFrame, section: TableSection, path: str, order: str, *, is_test: bool
) -> Times | None:
    """The times of a table; None where a test file has none that are understood."""
    name = section.timestamp
    try:
        return read_column(frame[name], path, section.timestamp_format, order)
    except (DataError, KeyError):
        if is_test:
            return None
        raise


def by_columns(path: str, names: Sequence[str], extent: Extent) -> RawTable:
    """A table of files of which as many columns are held as fit the memory that is free now."""
    column_bytes = extent.reading_bytes // max(len(names), 1)
    at_once = max(int(_GROUP_SHARE * free_bytes()) // max(column_bytes, 1), 1)

    def read(columns: Sequence[str]) -> pd.DataFrame:
        return read_columns(path, columns, extent)

    return RawTable(tuple(names), read, at_once)


def no_features(section: TableSection) -> set[str]:
    """Columns with another purpose."""
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
    """Refuse misspelt column names before the rows are read: a misspelt ``drop`` would leak."""
    present = column_names(section.path)
    named = {
        "data.target": (section.target,),
        "data.timestamp": (section.timestamp,) if section.timestamp else (),
        "data.group": (section.group,) if section.group else (),
        "data.drop": section.drop,
        "data.numeric": section.numeric,
        "data.categorical": section.categorical,
    }
    for option, names in named.items():
        for name in names:
            if name not in present:
                raise DataError(
                    f"{option} must name a column of {section.path}, but it has no {name!r}"
                    f"{nearest(name, present) or '; its columns are ' + _listed(present) + '.'}"
                )


def _listed(names: Sequence[str], at_most: int = 8) -> str:
    more = f" and {len(names) - at_most} more" if len(names) > at_most else ""
    return ", ".join(names[:at_most]) + more
