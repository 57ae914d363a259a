"""A table of which only some columns fit memory at a time is prepared like one that is held."""

from __future__ import annotations

import dataclasses
import errno
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from jamba_ray.config.data import DataSection, SplitSection, SyntheticSection, TableSection
from jamba_ray.data import PreparedData, prepare, raw_sources, row_cache
from jamba_ray.data.duplicates import RowHashes
from jamba_ray.data.mapped_rows import MappedRows
from jamba_ray.data.preprocessing import Preprocessor
from jamba_ray.data.row_location import free_bytes, where_rows_live
from jamba_ray.errors import DataError
from tests.data.bad_tables import good_frame


@pytest.fixture(autouse=True)
def locks():
    """What this process holds; let go at the end, as if it had ended."""
    yield
    while row_cache._held:
        os.close(row_cache._held.pop())


@pytest.fixture
def one_column_at_a_time(monkeypatch):
    monkeypatch.setattr(raw_sources, "_GROUP_SHARE", 0.0)


def odd_frame(n: int = 600) -> pd.DataFrame:
    """Gaps, infinities, a leak, repeats, an identifier, text among numbers, numbers
    that Python does not read."""
    rng = np.random.default_rng(0)
    frame = good_frame(n)
    frame["leak"] = frame["is_threat"] * 2.0 + rng.random(n)
    frame["gaps"] = np.where(rng.random(n) < 0.1, np.nan, rng.standard_normal(n))
    frame["infinite"] = np.where(rng.random(n) < 0.02, np.inf, rng.standard_normal(n))
    days = pd.Series(pd.date_range("2018-02-14", periods=n, freq="h"))
    frame["day"] = days.dt.strftime("%d/%m/%Y %H:%M")
    frame["constant"], frame["id"] = 1, np.arange(n)
    frame["mixed"] = ["x" if i % 40 == 0 else str(i % 7) for i in range(n)]
    frame["counts"] = pd.array([None if i % 9 == 0 else i % 13 for i in range(n)], dtype="Int64")
    amounts = rng.lognormal(8, 2, n)
    frame["amount"] = [f"{x:,.2f}".translate(str.maketrans(",.", ".,")) for x in amounts]
    frame["port_text"] = [
        "0x000b" if i % 7 == 0 else "-" if i % 5 == 0 else str(i) for i in range(n)
    ]
    return pd.concat([frame, frame.iloc[:60]], ignore_index=True)


def sections(folder: Path) -> dict[str, DataSection]:
    frame = odd_frame()
    frame.to_parquet(folder / "t.parquet")
    frame.to_csv(folder / "t.csv.gz", index=False)
    frame.iloc[::-1].drop(columns="host").to_csv(folder / "x.csv", index=False)
    by_time = SplitSection(kind="time")
    return {
        "parquet": TableSection(path=str(folder / "t.parquet"), drop=("id",)),
        "csv": TableSection(path=str(folder / "t.csv.gz"), categorical=("port",)),
        "group": TableSection(
            path=str(folder / "t.parquet"), group="host", split=SplitSection(kind="group")
        ),
        "time": TableSection(
            path=str(folder / "t.parquet"),
            timestamp="seen_at",
            group="host",
            split=by_time,
            test=str(folder / "x.csv"),
            extra_tests={"again": str(folder / "x.csv")},
        ),
        "day-first": TableSection(
            path=str(folder / "t.csv.gz"), timestamp="day", split=by_time, drop=("id",)
        ),
        "synthetic": SyntheticSection(n_samples=500),
    }


def on_disk(section: DataSection, folder: Path) -> DataSection:
    return section.model_copy(update={"rows_in": "disk", "cache": str(folder / "cache")})


def assert_same(a: PreparedData, b: PreparedData) -> None:
    assert a.schema == b.schema
    assert a.preprocessing == b.preprocessing
    assert a.fingerprint == b.fingerprint
    assert a.notes == b.notes
    assert list(a.tests) == list(b.tests)
    pairs = [
        (a.train, b.train),
        (a.val, b.val),
        *((rows, b.tests[name]) for name, rows in a.tests.items()),
    ]
    for one, other in pairs:
        for field in dataclasses.fields(one):
            x, y = getattr(one, field.name), getattr(other, field.name)
            assert (x is None) == (y is None)
            if x is not None:
                assert x.dtype == y.dtype
                np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("kind", ["parquet", "csv", "group", "time", "day-first", "synthetic"])
def test_bit_equal_to_preparing_in_memory(tmp_path, kind, one_column_at_a_time):
    section = sections(tmp_path)[kind]
    held = prepare(section)
    mapped = prepare(on_disk(section, tmp_path))
    assert isinstance(mapped.train, MappedRows)
    assert_same(held, mapped)
    assert_same(held, prepare(on_disk(section, tmp_path)))  # from the cache


@pytest.mark.parametrize(
    ("owner", "name", "wrong"),
    [
        (
            Preprocessor,
            "of_columns",
            lambda true: lambda s, n: (true(s, n)[0][::-1], *true(s, n)[1:]),
        ),
        (RowHashes, "add", lambda true: lambda s, column: true(s, column.iloc[::-1])),
        (np, "flatnonzero", lambda true: lambda mask: true(mask)[::-1]),
    ],
)
def test_sabotage_is_noticed(tmp_path, monkeypatch, owner, name, wrong):
    section = sections(tmp_path)["parquet"]
    held = prepare(section)
    monkeypatch.setattr(owner, name, wrong(getattr(owner, name)))
    with pytest.raises(AssertionError):
        assert_same(held, prepare(on_disk(section, tmp_path)))


def test_hashes_fed_by_column_are_those_of_whole_rows():
    frame = odd_frame()
    hashes = RowHashes(len(frame), len(frame.columns))
    for name in frame.columns:
        hashes.add(frame[name])
    expected = pd.util.hash_pandas_object(frame, index=False).to_numpy()
    np.testing.assert_array_equal(hashes.done(), expected)


class TestPlace:
    def test_what_fits_is_held_and_what_does_not_is_not(self):
        assert where_rows_live(69, 100).kind == "host"
        assert where_rows_live(71, 100).kind == "disk"
        place = where_rows_live(12_400_000_000, 8_000_000_000)
        assert "12.4 GB, more than 70% of the 8.0 GB that are free" in place.reason

    @pytest.mark.parametrize(
        ("asked", "kind"), [("host", "host"), ("device", "host"), ("disk", "disk")]
    )
    def test_who_asks_is_served(self, asked, kind):
        assert where_rows_live(10**15, 1, asked).kind == kind
        assert asked in where_rows_live(0, 10**15, asked).reason

    def test_free_memory_is_no_more_than_ulimit_allows(self):
        code = "import resource as r; r.setrlimit(r.RLIMIT_DATA, (1 << 30, 1 << 30));"
        code += "from jamba_ray.data.row_location import free_bytes; print(free_bytes())"
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        assert 0 < int(out.stdout) < 1 << 30
        assert free_bytes() > 0

    def test_a_sentence_says_where_and_why_before_it_begins(self, tmp_path, monkeypatch):
        said: list[str] = []
        prepare(sections(tmp_path)["parquet"], said.append)
        assert said == []
        monkeypatch.setattr(raw_sources, "free_bytes", lambda: 1000)
        section = sections(tmp_path)["parquet"].model_copy(update={"cache": str(tmp_path / "c")})
        assert isinstance(prepare(section, said.append).train, MappedRows)
        assert len(said) == 1
        assert "more than 70% of the 0.0 MB that are free" in said[0]


class TestCache:
    def entries(self, folder: Path) -> list[str]:
        return sorted(p.name for p in (folder / "cache").iterdir())

    def test_an_entry_is_made_once_and_again_when_the_table_changes(self, tmp_path):
        section = on_disk(sections(tmp_path)["parquet"], tmp_path)
        first = prepare(section)
        (entry,) = self.entries(tmp_path)
        stamp = (tmp_path / "cache" / entry).stat().st_mtime_ns
        assert prepare(section).fingerprint == first.fingerprint
        assert (tmp_path / "cache" / entry).stat().st_mtime_ns == stamp
        odd_frame(500).to_parquet(tmp_path / "t.parquet")
        assert prepare(section).fingerprint != first.fingerprint
        assert len(self.entries(tmp_path)) == 2

    def test_entries_that_nobody_uses_are_deleted(self, tmp_path):
        some = sections(tmp_path)
        prepare(on_disk(some["parquet"], tmp_path))
        (first,) = self.entries(tmp_path)
        (tmp_path / "cache" / "rows-writing-of-the-dead").mkdir()
        (tmp_path / "cache" / "not ours").mkdir()
        prepare(on_disk(some["synthetic"], tmp_path))
        assert len(self.entries(tmp_path)) == 3
        assert first in self.entries(tmp_path)
        while row_cache._held:
            os.close(row_cache._held.pop())
        prepare(on_disk(some["csv"], tmp_path))
        assert len(self.entries(tmp_path)) == 2
        assert "not ours" in self.entries(tmp_path)

    def test_a_full_disk_is_one_sentence_and_leaves_nothing(self, tmp_path, monkeypatch):
        def full(*_):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "posix_fallocate", full)
        with pytest.raises(DataError, match=r"No space left .* set data\.cache") as caught:
            prepare(on_disk(sections(tmp_path)["parquet"], tmp_path))
        assert "\n" not in caught.value.message
        assert self.entries(tmp_path) == []

    def test_rows_travel_as_the_name_of_their_folder(self, tmp_path):
        data = prepare(on_disk(sections(tmp_path)["parquet"], tmp_path))
        text = pickle.dumps(data.train)
        assert len(text) < 500
        np.testing.assert_array_equal(pickle.loads(text).x_num, data.train.x_num)
        assert not data.train.x_num.flags.writeable
        data.train.folder.rename(tmp_path / "elsewhere")
        with pytest.raises(DataError, match=r"set data\.cache to a folder that all machines share"):
            pickle.loads(text)
