"""Reading: every sound table is read exactly, every other one is refused in one sentence."""

from __future__ import annotations

import gzip
import json
import time
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jamba_ray.config.data import TableSection
from jamba_ray.data import prepare, read_table
from jamba_ray.data.table import column_names
from jamba_ray.errors import DataError
from tests.data.bad_tables import (
    good_frame,
    gzip_bomb,
    gzip_cell_bomb,
    lying_parquet,
    parquet_bomb,
)


def refusal(path: Path | str, **options) -> str:
    """The sentence with which ``path`` is refused."""
    with pytest.raises(DataError) as caught:
        read_table(path, **options)
    message = caught.value.message
    assert "\n" not in message
    assert message.endswith((".", "?"))
    assert Path(path).name in message
    return message


def write(path: Path, frame: pd.DataFrame) -> Path:
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.parquet"])
def test_every_format_reads_the_same_values(tmp_path, name):
    frame = good_frame()
    path = write(tmp_path / name, frame)
    read = read_table(path)
    assert column_names(path) == list(read.columns) == list(frame.columns)
    for column in frame:
        assert read[column].astype(object).tolist() == frame[column].astype(object).tolist()


def test_a_folder_and_a_glob_are_their_files_in_order(tmp_path):
    frame = good_frame()
    (tmp_path / "day=2").mkdir()
    write(tmp_path / "a.csv", frame[:50])
    write(tmp_path / "b.parquet", frame[50:120])
    write(tmp_path / "day=2" / "c.csv.gz", frame[120:])
    (tmp_path / "_SUCCESS").write_text("")
    (tmp_path / "README.md").write_text("no table")
    assert read_table(tmp_path)["bytes"].tolist() == frame["bytes"].tolist()
    assert len(read_table(str(tmp_path / "*.csv"))) == 50


def test_a_type_that_changes_late_in_a_csv_is_no_error(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,is_threat\n" + "1,0\n" * 5_000_000 + "oops,1\n")  # past one block
    read = read_table(path)
    assert set(read["a"].cat.categories) == {"1", "oops"}


def test_files_of_different_types_meet_in_one_that_holds_both(tmp_path):
    write(tmp_path / "a.csv", pd.DataFrame({"x": [1, 2], "y": [1, 2], "is_threat": [0, 1]}))
    write(tmp_path / "b.csv", pd.DataFrame({"is_threat": [0], "x": [2.5], "y": ["z"]}))
    read = read_table(tmp_path)
    assert read["x"].tolist() == [1.0, 2.0, 2.5]
    assert read["y"].astype(object).tolist() == ["1", "2", "z"]


def test_integers_past_2_to_the_53_are_read_exactly_even_with_gaps(tmp_path):
    big = [2**53 + 1, None, 2**63 - 1]
    pq.write_table(pa.table({"id": pa.array(big, pa.int64())}), tmp_path / "t.parquet")
    (tmp_path / "t.csv").write_text(f"id,x\n{big[0]},1\n,1\n{big[2]},1\n")
    for name in ("t.parquet", "t.csv"):
        assert read_table(tmp_path / name)["id"].dropna().tolist() == [big[0], big[2]]


def test_dirty_csv(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(
        b"\xef\xbb\xbf bytes ;flag;note\r\n"
        b'1.5;true;"two\nlines"\r\ninf;NA;caf\xc3\xa9\r\nNaN;false;\r\n'
    )
    read = read_table(path)
    assert list(read.columns) == ["bytes", "flag", "note"]
    assert read["bytes"].tolist()[:2] == [1.5, np.inf]
    assert read["note"].astype(object).tolist()[:2] == ["two\nlines", "caf\u00e9"]
    assert read["flag"].isna().tolist() == [False, True, False]


def test_text_in_an_old_code_page_is_kept(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"name,is_threat\ncaf\xe9,1\nplain,0\n")
    assert read_table(path)["name"].astype(object).tolist() == ["caf\u00e9", "plain"]


def test_repeated_text_is_held_once(tmp_path):
    rows = 20_000
    text = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), ["x" * 100_000])
    pq.write_table(pa.table({"t": text, "is_threat": np.arange(rows) % 2}), tmp_path / "t.parquet")
    before = pa.total_allocated_bytes()
    read = read_table(tmp_path / "t.parquet", max_cells=100_000)  # 2 GB of text, if spelt out
    assert len(read) == rows
    assert pa.total_allocated_bytes() - before < 50_000_000


class TestRefused:
    def test_not_there(self, tmp_path):
        assert "does not exist" in refusal(tmp_path / "nowhere" / "t.csv")
        assert "matches none" in refusal(tmp_path / "*.csv")
        assert "holds none" in refusal(tmp_path)

    @pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.parquet"])
    def test_empty(self, tmp_path, name):
        (tmp_path / name).write_bytes(b"")
        assert "is empty" in refusal(tmp_path / name)

    def test_empty_inside_gzip(self, tmp_path):
        with gzip.open(tmp_path / "t.csv.gz", "wb"):
            pass
        assert "is empty" in refusal(tmp_path / "t.csv.gz")

    @pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.parquet"])
    def test_header_only(self, tmp_path, name):
        message = refusal(write(tmp_path / name, good_frame()[:0]))
        assert "must hold rows" in message

    def test_duplicate_columns(self, tmp_path):
        table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
        pq.write_table(table, tmp_path / "t.parquet")
        assert "'a' comes twice" in refusal(tmp_path / "t.parquet")

    def test_ragged_csv(self, tmp_path):
        (tmp_path / "t.csv").write_text("a,b\n1,2\n1,2,3\n")
        assert "must have 2 cells in every line, but line 3 has 3 ('1,2,3')" in refusal(
            tmp_path / "t.csv"
        )

    def test_lists(self, tmp_path):
        pq.write_table(pa.table({"tags": [[1], [2]], "x": [1, 2]}), tmp_path / "t.parquet")
        assert "'tags' holds list<" in refusal(tmp_path / "t.parquet")
        assert list(read_table(tmp_path / "t.parquet", drop=["tags"])) == ["x"]

    @pytest.mark.parametrize("keep", [0.2, 0.6, 0.99])
    def test_half_written(self, tmp_path, keep):
        for name in ("t.parquet", "t.csv.gz"):
            path = write(tmp_path / name, good_frame(5000))
            path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
            assert "cut short" in refusal(path)

    def test_flipped_bits_never_pass_as_an_internal_error(self, tmp_path):
        path = write(tmp_path / "t.parquet", good_frame(500))
        whole, rng = path.read_bytes(), np.random.default_rng(0)
        for _ in range(60):
            torn = bytearray(whole)
            torn[rng.integers(len(torn))] ^= 1 << int(rng.integers(8))
            path.write_bytes(torn)
            # A flipped value may pass (no checksums here); anything else must be a DataError.
            with suppress(DataError):
                read_table(path)

    def test_not_a_table(self, tmp_path):
        (tmp_path / "t.csv").write_bytes(bytes(range(256)) * 100)
        refusal(tmp_path / "t.csv")
        (tmp_path / "t.parquet").write_text("a,b\n1,2\n")
        assert "Parquet" in refusal(tmp_path / "t.parquet")

    def test_files_with_different_columns(self, tmp_path):
        write(tmp_path / "a.csv", good_frame(20))
        write(tmp_path / "b.csv", good_frame(20).rename(columns={"port": "prt"}))
        with pytest.raises(DataError, match=r"b\.csv lacks 'port' and has 'prt' besides"):
            read_table(tmp_path)


class TestBombs:
    """Small files that unfold to large ones are refused before they do."""

    def test_gzip_of_many_rows(self, tmp_path):
        path = gzip_bomb(tmp_path / "t.csv.gz", lines=5_000_000)
        assert path.stat().st_size < 100_000
        assert "rows x columns" in refusal(path, max_cells=1_000_000)
        assert pa.total_allocated_bytes() < 1_000_000

    def test_gzip_of_one_huge_cell(self, tmp_path):
        path = gzip_cell_bomb(tmp_path / "t.csv.gz", megabytes=100)
        assert "more bytes" in refusal(path, max_cells=1_000_000)

    def test_gzip_of_one_huge_line(self, tmp_path):
        with gzip.open(tmp_path / "t.csv.gz", "wb") as stream:
            stream.write(b"a" * 50_000_000)
        assert "first line is longer" in refusal(tmp_path / "t.csv.gz")

    def test_parquet_of_many_rows(self, tmp_path):
        path = parquet_bomb(tmp_path / "t.parquet", rows=20_000_000)
        assert path.stat().st_size < 200_000
        assert "rows x columns" in refusal(path, max_cells=10_000_000)
        assert pa.total_allocated_bytes() < 1_000_000

    def test_parquet_whose_footer_contradicts_itself(self, tmp_path):
        path = lying_parquet(tmp_path / "t.parquet", 1_000_000, 10, everywhere=False)
        assert "rows x columns" in refusal(path, max_cells=200_000)

    def test_parquet_whose_footer_lies_throughout_yields_no_more_than_it_claims(self, tmp_path):
        path = lying_parquet(tmp_path / "t.parquet", 1_000_000, 10, everywhere=True)
        assert len(read_table(path, max_cells=200_000)) == 10

    def test_the_budget_is_one_for_all_files(self, tmp_path):
        for i in range(4):
            write(tmp_path / f"{i}.csv", good_frame(100))  # 600 cells each
        assert len(read_table(tmp_path, max_cells=2_400)) == 400
        with pytest.raises(DataError, match=r"3\.csv .* data\.max_cells=2399"):
            read_table(tmp_path, max_cells=2_399)


def test_names_with_dots_and_odd_types(tmp_path):
    """Zeek writes ``id.orig_h``; Parquet takes a dot for a path into a struct."""
    table = pa.table(
        {
            "id.orig_h": ["10.0.0.1", "10.0.0.2"],
            "id": [1, 2],
            "price": pa.array([Decimal("1.00"), Decimal("2.00")]),
            "half": pa.array(np.array([0.5, 1.5], np.float16)),
            "took": pa.array([1, 2], pa.duration("s")),
            "day": pa.array([1, 2], pa.date32()),
            "raw": pa.array([b"a", b"\xff"]),
            "flag": pa.array([True, None]),
            "none": pa.nulls(2),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    read = read_table(tmp_path / "t.parquet")
    assert list(read) == table.column_names
    assert read["id.orig_h"].astype(object).tolist() == ["10.0.0.1", "10.0.0.2"]
    assert read["price"].tolist() == [1.0, 2.0]
    assert read["raw"].astype(object).tolist() == ["a", "\u00ff"]


def test_gzip_of_several_members_is_read_whole(tmp_path):
    """As ``cat a.gz b.gz`` and parallel compressors write it."""
    parts = [gzip.compress(b"a,b\n1,2\n"), gzip.compress(b"3,4\n")]
    (tmp_path / "t.csv.gz").write_bytes(b"".join(parts))
    assert read_table(tmp_path / "t.csv.gz")["a"].tolist() == [1, 3]


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet", "jsonl"])
def test_a_million_columns_are_refused_before_any_work(kind, tmp_path):
    width = 1_000_000 if kind in {"csv", "tsv"} else 30_001
    names = [*(f"c{i}" for i in range(width - 1)), "is_threat"]
    path = tmp_path / f"wide.{kind}"
    if kind == "parquet":
        pq.write_table(pa.table({name: [0, 1] for name in names}), path)
    elif kind == "jsonl":
        path.write_text(json.dumps(dict.fromkeys(names, 1)) + "\n")
    else:
        mark = "," if kind == "csv" else "\t"
        path.write_text("\n".join([mark.join(names), *[mark.join(["1"] * width)] * 4]))
    begun = time.process_time()
    with pytest.raises(DataError) as caught:
        prepare(TableSection(path=str(path)))
    assert time.process_time() - begun < 5
    assert f"at most 30,000 columns, but has {width:,}" in str(caught.value)
    assert "keep those that matter" in str(caught.value)


def test_a_wide_table_is_read(tmp_path):
    path = tmp_path / "wide.csv"
    names = [f"c{i}" for i in range(20_000)]
    path.write_text("\n".join([",".join(names), *[",".join(["1.5"] * 20_000)] * 3]))
    assert read_table(path).shape == (3, 20_000)
