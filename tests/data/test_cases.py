"""Tables as people have them: each layout that was reported for tools of this kind gives what its
row says, read in process; ``tests/integration`` trains on some through the command."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import random
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from jamba_ray.config.data import TableSection
from jamba_ray.data import PreparedData, Preprocessor, prepare, prepare_for, read_table
from jamba_ray.errors import DataError

NUMBERS = ("dst_port", "dur", "bytes_s", "pkts")
FLOWS = {*NUMBERS, "proto"}
Row = dict[str, Any]


def rows(n: int = 400, seed: int = 0, share: float = 0.3) -> list[Row]:
    """Flow telemetry, made up: the label follows ``bytes_s`` and ``proto``."""
    rng = random.Random(seed)
    made = []
    for _ in range(n):
        y = int(rng.random() < share)
        made.append(
            {
                "dst_port": rng.choice([22, 80, 445, 4444] if y else [22, 53, 80, 443]),
                "proto": rng.choice(["tcp", "tcp", "udp", "icmp"] if y else ["tcp", "udp"]),
                "dur": round(rng.expovariate(1 / (3 if y else 6)), 4),
                "bytes_s": round(rng.lognormvariate(7 + 1.6 * y, 1.0), 3),
                "pkts": int(rng.expovariate(1 / (20 + 25 * y))) + 1,
                "label": y,
            }
        )
    return made


def text(made: Sequence[Row], header: Sequence[str] | None = None, **how: Any) -> str:
    """CSV; ``header`` in place of the keys, empty for none."""
    out = io.StringIO()
    writer = csv.writer(out, **{"lineterminator": "\n", **how})
    if header is None or header:
        writer.writerow(header or list(made[0]))
    writer.writerows(row.values() for row in made)
    return out.getvalue()


def attacks(
    values: Sequence[str] = ("DDoS", "PortScan", "Bot"), benign: str = "BENIGN"
) -> list[Row]:
    made = rows()
    for i, row in enumerate(made):
        row["label"] = values[i % len(values)] if row["label"] else benign
    return made


def lines_with(position: int, *inserted: str) -> str:
    """Plain CSV with further lines after so many."""
    lines = text(rows()).splitlines()
    return "\n".join([*lines[:position], *inserted, *lines[position:]]) + "\n"


def with_unit(value: float) -> str:
    return f"{value / 1e6:6.1f} M" if value > 2e6 else f"{value:8.0f}"


@dataclass(frozen=True)
class Case:
    """A file, and what it must give: the features or, with ``refused``, one sentence."""

    content: str | bytes | Callable[[Path], object]
    name: str = "t.csv"
    features: set[str] = field(default_factory=lambda: set(FLOWS))
    says: str = ""
    """A pattern that the notes (or the sentence) must hold; notes must not come unasked."""
    refused: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    n_rows: int = 400


def pandas_file(suffix: str) -> Callable[[Path], object]:
    """A frame sorted by class, then shuffled and written with its index."""

    def write(path: Path) -> None:
        frame = pd.DataFrame(rows()).sort_values("label", ignore_index=True)
        frame = frame.sample(frac=1, random_state=1)
        frame.to_parquet(path) if suffix == ".parquet" else frame.to_csv(path)

    return write


def hive(path: Path) -> None:
    for k in range(4):
        folder = path / f"day=2026-11-{k + 1:02d}" / f"hour={k % 2}"
        folder.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows(100, seed=k)), folder / "part-0.parquet")
    (path / "_SUCCESS").write_text("")


def different_columns(path: Path) -> None:
    path.mkdir()
    for k, extra in enumerate(({"vlan": 3}, {}, {"site": "b"})):
        (path / f"{k}.csv").write_text(text([{**row, **extra} for row in rows(100, seed=k)]))


def types_of_parquet(nested: bool) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        frame = pd.DataFrame(rows())
        n = len(frame)
        table = pa.Table.from_pandas(frame.drop(columns="label"), preserve_index=False)
        more = {
            "label": pa.array(frame["label"] == 1),
            "price": table["bytes_s"].cast(pa.decimal128(18, 3)),
            "proto2": table["proto"].dictionary_encode(),
            "when": pa.array(np.arange(n), pa.timestamp("us", tz="UTC")),
            "day": pa.array(np.arange(n, dtype=np.int32), pa.date32()),
            "took": pa.array(np.arange(n) * 7 % 100, pa.duration("s")),
            "id64": pa.array([(1 << 63) + i * 7 for i in range(n)], pa.uint64()),
        }
        if nested:
            more |= {"flags": pa.array([[1, 2]] * n), "geo": pa.array([{"cc": "DE"}] * n)}
        for name, column in more.items():
            table = table.append_column(name, column)
        pq.write_table(table, path, use_deprecated_int96_timestamps=True)

    return write


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("flows.csv", text(rows()))
        archive.writestr("__MACOSX/._flows.csv", "x")


def two_in_a_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.csv", "a")
        archive.writestr("b.csv", "b")


def zstandard(path: Path) -> None:
    with pa.CompressedOutputStream(str(path), "zstd") as stream:
        stream.write(text(rows()).encode())


def zeek(end: str = "#close\t2026-11-01-00-00-00\n") -> str:
    made = rows()
    made[3]["pkts"] = "-"
    head = "#separator \\x09\n#set_separator\t,\n#unset_field\t-\n#path\tconn\n"
    types = "#types\tport\tstring\tinterval\tdouble\tcount\tbool\n"
    fields = "#fields\t" + "\t".join(made[0]) + "\n"
    return head + fields + types + text(made, (), delimiter="\t") + end


CICIDS = [" Destination Port", " Protocol", " Flow Duration", "Flow Bytes/s", " Packets", " Label"]
CICIDS_FEATURES = {name.strip() for name in CICIDS[:-1]}
TWICE = [" Port", " Protocol", " Len", "Flow Bytes/s", " Len", " Label"]
ODD = [
    "dst port[tcp]",
    "proto=name",
    "id.orig_h:dur",
    "bytes/s, mean",
    'pkts "fwd"',
    "\u6807\u7b7e",
]
GIVEN = list(rows(1)[0])
REPEATED = ",".join(GIVEN)

CASES = {
    "01 a name twice": Case(
        text(attacks(), TWICE, lineterminator="\r\n"),
        features={"Port", "Protocol", "Len", "Flow Bytes/s", "Len.1"},
        says="'Len' 2 times.*'Len.1'.*'BENIGN' is benign and every other value a threat",
        options={"target": "Label"},
    ),
    "02 names of attacks": Case(
        text(attacks(), CICIDS),
        features=CICIDS_FEATURES,
        says="'BENIGN' is benign and every other value a threat",
        options={"target": " Label"},
    ),
    "03 two words": Case(
        text(attacks(("malicious",), "benign")), says="'benign' is benign and 'malicious' a threat"
    ),
    "03 KDD99": Case(text(attacks(("neptune.", "smurf."), "normal.")), says="'normal.' is benign"),
    "03 words of an own kind": Case(
        text(attacks(("rot",), "gruen")), refused=True, says=r"add|say .*data.negative=\[gruen\]"
    ),
    "03 asked for": Case(
        text(attacks(("rot",), "gruen")),
        options={"positive": "rot"},
        says="every other value is benign and 'rot' a threat",
    ),
    "05 no header": Case(
        text(rows(), ()), refused=True, says=r"first line looks like data.*6 columns.*data.columns"
    ),
    "05 named": Case(text(rows(), ()), options={"columns": GIVEN}),
    "05 named, too few": Case(
        text(rows(), ()), options={"columns": GIVEN[1:]}, refused=True, says="names 5 and .* 6"
    ),
    "05 named, but with a header": Case(
        text(rows()), options={"columns": [*GIVEN[:-1], "y"]}, refused=True, says="drop data.col"
    ),
    "05 names are numbers": Case(
        text(rows(), ["0", "1", "2", "3", "4", "label"]), features=set("01234")
    ),
    "06 a decimal comma": Case(
        text([{**r, "dur": str(r["dur"]).replace(".", ",")} for r in rows()], delimiter=";"),
        says="'dur' is read with ',' as decimal sign",
    ),
    "07 thousands": Case(
        text([{**r, "bytes_s": f"{int(r['bytes_s'] * 1000):,}"} for r in rows()]),
        says="'bytes_s' is read with ',' between thousands",
    ),
    "08 the header again": Case(
        lines_with(90, REPEATED).replace("\n53,", f"\n{REPEATED}\n53,", 2),
        says="3 lines of t.csv repeat its header",
    ),
    "09 Windows-1252 cells": Case(
        text([{**r, "svc": "Web \u2013 XSS" if r["pkts"] % 3 else "http"} for r in rows()]).encode(
            "cp1252"
        ),
        features={*FLOWS, "svc"},
        says="t.csv holds bytes that are not UTF-8.*Windows-1252",
    ),
    "09 Windows-1252 header": Case(
        text(rows()).replace("dur", "dur\u00e9e").encode("cp1252"),
        features={*FLOWS, "dur\u00e9e"} - {"dur"},
    ),
    "10 UTF-16": Case(text(rows()).encode("utf-16")),
    "10 UTF-16, big end first": Case(b"\xfe\xff" + text(rows()).encode("utf-16-be")),
    "10 UTF-8 with its mark": Case(text(rows()).encode("utf-8-sig")),
    "10 Excel's separator line": Case("sep=;\n" + text(rows(), delimiter=";")),
    "10 comments": Case("# exported by x, y\n#\n\n" + text(rows())),
    "11 folders of Hive": Case(
        hive,
        "flows",
        features={*FLOWS, "hour"},
        says="folder names .*'day', 'hour'.*'day' holds times",
    ),
    "11 folders of Hive, dropped": Case(
        hive, "flows", options={"drop": ["day", "hour"]}, says="folder names"
    ),
    "12 pandas' index in Parquet": Case(
        pandas_file(".parquet"), "t.parquet", says="'__index_level_0__' is the index that pandas"
    ),
    "12 pandas' index in CSV": Case(pandas_file(".csv"), says="'Unnamed: 0' is the index"),
    "13 a leak": Case(
        text([{**r, "cat": " Fuzzers" if r["label"] else ""} for r in rows()]),
        features={*FLOWS, "cat"},
        says="'cat' alone tells the label",
    ),
    "14 hex and dashes": Case(
        text([{**r, "sport": "0x000b" if i % 61 == 0 else "-" if i % 11 == 0 else 1024 + 97 * i}
              for i, r in enumerate(rows())]),
        features={*FLOWS, "sport", "sport (missing)"},
        says="'sport' is read with '0x' as hexadecimal.*cells that are unset",
    ),
    "15 odd names": Case(text(rows(), ODD), features=set(ODD[:-1]), options={"target": ODD[-1]}),
    "15 odd names, dropped": Case(
        text(rows(), ODD), features=set(ODD[3:-1]), options={"target": ODD[-1], "drop": ODD[:3]}
    ),
    "17 types of Parquet": Case(
        types_of_parquet(nested=False),
        "t.parquet",
        features={*FLOWS, "price", "proto2", "took"},
        says="'when' holds times.*'day' holds times",
    ),
    "17 lists": Case(
        types_of_parquet(nested=True), "t.parquet", refused=True, says="'flags' holds list.*drop"
    ),
    "17 lists, dropped": Case(
        types_of_parquet(nested=True),
        "t.parquet",
        features={*FLOWS, "price", "proto2", "took"},
        options={"drop": ["flags", "geo"]},
        says="'when' holds times",
    ),
    "18 gzip": Case(gzip.compress(text(rows()).encode()), "t.csv.gz"),
    "18 bzip2": Case(bz2.compress(text(rows()).encode()), "t.csv.bz2"),
    "18 xz": Case(lzma.compress(text(rows()).encode()), "t.csv.xz"),
    "18 Zstandard": Case(zstandard, "t.csv.zst"),
    "18 zip": Case(zipped, "t.zip"),
    "18 zip of two": Case(two_in_a_zip, "t.zip", refused=True, says="holds 2; unpack it"),
    "18 cut short": Case(
        bz2.compress(text(rows()).encode())[:-90], "t.csv.bz2", refused=True, says="cut short"
    ),
    "18 JSON lines": Case("\n".join(map(json.dumps, rows())), "t.jsonl"),
    "18 JSON lines, packed": Case(
        gzip.compress("\n".join(map(json.dumps, rows())).encode()), "t.jsonl.gz"
    ),
    "18 a JSON array": Case(json.dumps(rows()), "t.json", refused=True, says="line 1 is none.*jq"),
    "18 Feather": Case(
        lambda path: pyarrow.feather.write_feather(pa.Table.from_pylist(rows()), str(path)),
        "t.feather",
        refused=True,
        says="is a Feather.*Parquet",
    ),
    "19 one cell too many": Case(
        lines_with(200, "22,udp,5.1,114.7,3,0,GET /a,b"), refused=True, says="line 201 has 8"
    ),
    "19 a comma ends every line": Case(
        text(rows()).replace("\n", ",\n"), says="'Unnamed: 6' has no value"
    ),
    "19 a comma ends every row": Case(
        REPEATED + "\n" + text(rows(), ()).replace("\n", ",\n"), says="'Unnamed: 6' has no value"
    ),
    "19 an open quote": Case(
        lines_with(200, '22,"udp,5.1,114.7,3,0'), refused=True, says="opened in line 201"
    ),
    "19 blank lines": Case(lines_with(200, "", "") + "\n"),
    "19 Zeek": Case(zeek(), "conn.log", features={*FLOWS, "pkts (missing)"}),
    "19 Zeek, being written": Case(zeek(""), "conn.log", features={*FLOWS, "pkts (missing)"}),
    "21 one threat": Case(
        text([{**r, "label": int(i == 7)} for i, r in enumerate(rows())]),
        refused=True,
        says="must hold benign rows and threats",
    ),
    "21 thirty rows": Case(text(rows(30)), features={*NUMBERS, "proto"}, n_rows=30),
    "22 seconds and milliseconds": Case(
        text([{**r, "at": (1_760_000_000 + 60 * i) * (1000 if i < 200 else 1)}
              for i, r in enumerate(rows())]),
        features={*FLOWS, "at"},
        says="'at' looks like times .seconds and milliseconds since 1970, mixed.; name it in data",
    ),
    "22 numbers of that size": Case(
        text([{**r, "ip": 3_232_235_520 + i * i % 40} for i, r in enumerate(rows())]),
        features={*FLOWS, "ip"},
    ),
    "23 nearly all different": Case(
        text([{**r, "url": f"https://h{i}.example/"} for i, r in enumerate(rows())]),
        says="'url' has 280 different values",
    ),
    "26 codes with a point": Case(
        text([{**r, "dst_port": f" {r['dst_port']}.0"} for r in rows()]),
        options={"categorical": ["dst_port"]},
    ),
    "29 a unit": Case(
        text([{**r, "bytes_s": with_unit(300 * r["bytes_s"])} for r in rows()]),
        says="'bytes_s' is read with units of bytes",
    ),
    "30 spaces in Parquet": Case(
        lambda path: pd.read_csv(io.StringIO(text(rows(), CICIDS))).to_parquet(path),
        "t.parquet",
        features=CICIDS_FEATURES,
        options={"target": "Label"},
    ),
    "31 CR alone": Case(text(rows(), lineterminator="\r")),
    "31 a zero byte": Case(lines_with(200, "22,\0,5.1,114.7,3,0"), refused=True, says="line 201"),
    "31 quotes after the mark": Case(
        b"\xef\xbb\xbf" + text(rows(), quoting=csv.QUOTE_ALL, lineterminator="\r\n").encode()
    ),
    "folders of different columns": Case(
        different_columns, "f", refused=True, says="lacks 'vlan'.*data.columns=common", n_rows=300
    ),
    "folders of different columns, common": Case(
        different_columns,
        "f",
        options={"columns": "common"},
        says="2 columns that not all 3 files .* left out: site, vlan",
        n_rows=300,
    ),
    "folders of different columns, dropped": Case(
        different_columns, "f", options={"drop": ["site", "vlan"]}, n_rows=300
    ),
}  # fmt: skip


def made(case: Case, folder: Path) -> TableSection:
    path = folder / case.name
    if callable(case.content):
        case.content(path)
    else:
        content = case.content
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return TableSection(path=str(path), **{"target": "label", **case.options})


@pytest.mark.parametrize("rows_in", ["host", "disk"])
@pytest.mark.parametrize("name", CASES)
def test_case(tmp_path, name, rows_in):
    case = CASES[name]
    section = made(case, tmp_path)
    section = section.model_copy(update={"rows_in": rows_in, "cache": str(tmp_path / "cache")})
    if case.refused:
        with pytest.raises(DataError, match=f"(?s){case.says}") as caught:
            prepare(section)
        assert "\n" not in caught.value.message
        return
    data = prepare(section)
    assert {*data.schema.numeric, *data.schema.categorical} == case.features
    assert len(data.train) + len(data.val) + len(data.tests["test"]) == case.n_rows
    threats = sum(int(part.y.sum()) for part in (data.train, data.val, data.tests["test"]))
    assert 0.15 < threats / case.n_rows < 0.45
    notes = " ".join(data.notes)
    assert pd.Series([notes]).str.contains(f"(?s){case.says}").all(), notes
    if not case.says:
        assert notes == ""


@pytest.mark.parametrize("folder", ["my data", "run=3", "a[1]", "na\u00efve", "a@b", "x,y", "5%"])
def test_16_odd_folders(tmp_path, folder):
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "flows.csv").write_text(text(rows(60)))
    for path in (tmp_path / folder / "flows.csv", tmp_path / folder):
        assert list(read_table(path)) == GIVEN


def test_20_a_table_wider_than_long_is_prepared_as_a_narrow_one(tmp_path):
    rng = np.random.default_rng(0)
    n, wide = 300, 700
    frame = pd.DataFrame(
        rng.normal(size=(n, wide)).round(3), columns=[f"f{i}" for i in range(wide)]
    )
    frame["label"] = (frame["f0"] > 0).astype(int)
    frame.to_csv(tmp_path / "wide.csv", index=False)
    data = prepare(TableSection(path=str(tmp_path / "wide.csv"), target="label"))
    assert data.train.x_num.shape == (210, wide)
    assert len(data.val.y) + len(data.tests["test"].y) == 90


def trained(tmp_path: Path, test: Sequence[Row] | str, **options: Any) -> PreparedData:
    (tmp_path / "train.csv").write_text(text(rows()))
    (tmp_path / "test.csv").write_text(test if isinstance(test, str) else text(test))
    section = TableSection(
        path=str(tmp_path / "train.csv"),
        test=str(tmp_path / "test.csv"),
        **{"target": "label", **options},
    )
    return prepare(section)


def test_24_rows_shared_with_the_test_are_counted(tmp_path):
    shared = [dict(reversed(row.items())) for row in (*rows()[:50], *rows(50, seed=9))]
    notes = " ".join(trained(tmp_path, shared).notes)
    assert "test rows (4" in notes
    assert "features of a training row" in notes


def test_25_a_benign_day_is_a_test_and_others_are_refused(tmp_path):
    data = trained(tmp_path, rows(60, seed=5, share=0.0))
    assert data.tests["test"].y.sum() == 0
    unlabelled = [{k: v for k, v in row.items() if k != "label"} for row in rows(60)]
    with pytest.raises(DataError, match=r"test.csv must have the target column 'label'"):
        trained(tmp_path, unlabelled)
    other = [{("vlan" if k == "pkts" else k): v for k, v in row.items()} for row in rows(60)]
    with pytest.raises(DataError, match=r"test.csv .* lacks 'pkts'"):
        trained(tmp_path, other)


def test_text_in_the_test_where_training_had_numbers_is_refused(tmp_path):
    mixed_up = [{**row, "dur": row["proto"], "proto": row["dur"]} for row in rows(60)]
    with pytest.raises(DataError, match=r"'dur' of .*test.csv must hold numbers.*such as 'tcp'"):
        trained(tmp_path, mixed_up)
    section = made(Case(text(mixed_up), "new.csv"), tmp_path)
    preprocessor = Preprocessor.from_json(trained(tmp_path, rows(60)).preprocessing)
    with pytest.raises(DataError, match=r"'dur' of .*new.csv must hold numbers"):
        prepare_for(preprocessor, section)


def test_26_spellings_of_a_category_are_one(tmp_path):
    test = rows(100, seed=3)
    plain = trained(tmp_path, test, categorical=["dst_port"]).tests["test"]
    for row in test:
        row["proto"], row["dst_port"] = f" {row['proto']}", f"{row['dst_port']}.0"
    other = trained(tmp_path, test, categorical=["dst_port"]).tests["test"]
    assert np.array_equal(plain.x_cat, other.x_cat)


def test_a_test_without_a_header_takes_the_given_names(tmp_path):
    (tmp_path / "train.csv").write_text(text(rows()))
    data = trained(tmp_path, text(rows(60), ()), columns=GIVEN)
    assert len(data.tests["test"]) == 60


def test_labels_of_a_judged_file_are_read_as_those_of_training(tmp_path):
    section = made(CASES["02 names of attacks"], tmp_path)
    data = prepare(section)
    told: list[str] = []
    (tmp_path / "new.csv").write_text(text(attacks(("Heartbleed",)), CICIDS))
    new = section.model_copy(update={"path": str(tmp_path / "new.csv")})
    rule = data.label_rule
    assert rule is not None
    judged = prepare_for(Preprocessor.from_json(data.preprocessing), new, told.append, rule)
    assert judged.y.sum() == sum(row["label"] for row in rows())
    assert told == [
        "In 'Label', 'BENIGN' is benign and every other value a threat; data.positive or "
        "data.negative changes that."
    ]


def test_a_folder_name_is_part_of_what_data_is(tmp_path):
    from jamba_ray.data import source_fingerprint

    hive(tmp_path / "a")
    before = source_fingerprint(TableSection(path=str(tmp_path / "a")))
    (tmp_path / "a" / "day=2026-11-01").rename(tmp_path / "a" / "day=2026-10-31")
    assert source_fingerprint(TableSection(path=str(tmp_path / "a"))) != before


def many_names(path: Path) -> None:
    rows = ({f"k{100 * i + j}": 1 for j in range(100)} for i in range(999))
    path.write_text("\n".join(map(json.dumps, rows)))


@pytest.mark.parametrize(
    ("content", "limit"),
    [
        (lambda: bz2.compress(b"a,b\n" + b"1,2\n" * 1_000_000), "rows x columns"),
        (lambda: lzma.compress(b"a,b\n" + b"1,2\n" * 1_000_000), "rows x columns"),
        (lambda: bz2.compress(b"a,b\n1," + b"x" * 40_000_000), "more bytes"),
        (lambda: gzip.compress(b'{"a": "' + b"x" * 40_000_000 + b'"}\n'), "line 1 is none"),
    ],
)
def test_what_unfolds_without_limit_is_refused(tmp_path, content, limit):
    (tmp_path / "t.csv").write_bytes(content())
    with pytest.raises(DataError, match=limit):
        read_table(tmp_path / "t.csv", max_cells=500_000)
    assert pa.total_allocated_bytes() < 50_000_000


def test_names_without_limit_are_refused(tmp_path):
    many_names(tmp_path / "t.jsonl")
    with pytest.raises(DataError, match="at most 30,000 columns"):
        read_table(tmp_path / "t.jsonl")
