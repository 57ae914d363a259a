from __future__ import annotations

import csv
import io
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jamba_ray.data import row_batches
from jamba_ray.errors import ConfigError, DataError, RunExistsError, StorageError
from jamba_ray.inference import load
from tests.commands import run_here
from tests.inference.conftest import make_frame


@pytest.fixture
def predictor(trained):
    return load(trained["lightgbm"].run)


@pytest.fixture
def rows():
    return make_frame(3000, seed=7).drop(columns="is_threat")


def test_files_give_the_scores_of_the_frame_in_chunks_and_whatever_the_format(
    model, rows, tmp_path, monkeypatch
):
    monkeypatch.setattr(row_batches, "_CSV_BYTES", 4096)
    monkeypatch.setattr(row_batches, "_PARQUET_ROWS", 700)
    monkeypatch.setattr("jamba_ray.data.text_stream.CHUNK_BYTES", 1000)
    predictor = load(model.run)
    expected = predictor.predict_proba(rows)
    rows.to_csv(tmp_path / "new.csv", index=False)
    rows.to_parquet(tmp_path / "new.parquet")
    for source in ("new.csv", "new.parquet"):
        for name in ("out.csv", "out.parquet"):
            said = predictor.predict_file(tmp_path / source, tmp_path / name, overwrite=True)
            read = pd.read_csv if name.endswith("csv") else pd.read_parquet
            scored = read(tmp_path / name)
            assert list(scored.columns) == [*rows.columns, "score", "alert", "threshold"]
            np.testing.assert_allclose(scored["score"], expected, rtol=1e-6)
            assert (scored["alert"] == (scored["score"] >= predictor.threshold)).all()
            assert (scored["threshold"] == predictor.threshold).all()
            assert (said.rows, said.alerts) == (3000, scored["alert"].sum())
            if source == "new.parquet" and name == "out.parquet":
                pd.testing.assert_frame_equal(scored[list(rows.columns)], rows)


def test_parquet_has_dictionaries_of_names_and_of_numbers_that_repeat_alone(
    predictor, rows, tmp_path
):
    rows.assign(zeros=0, ids=np.arange(len(rows))).to_parquet(tmp_path / "new.parquet")
    predictor.predict_file(tmp_path / "new.parquet", tmp_path / "out.parquet")
    group = pq.ParquetFile(tmp_path / "out.parquet").metadata.row_group(0)
    columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    with_one = {name for name, column in columns.items() if column.has_dictionary_page}
    assert {"service", "zeros"} <= with_one
    assert not {"ids", "score"} & with_one


def test_row_groups_of_parquet_that_were_read_are_freed(tmp_path):
    numbers = pa.table({"x": np.random.default_rng(0).random(2_000_000)})
    pq.write_table(numbers, tmp_path / "new.parquet", row_group_size=100_000)
    del numbers
    before = pa.total_allocated_bytes()
    batches = row_batches.row_file(tmp_path / "new.parquet").batches({"x"}, set())
    held = [pa.total_allocated_bytes() - before for _ in batches]
    assert max(held) < 8 << 20, held  # of 16 MB in all


def test_the_columns_of_a_csv_file_are_written_byte_for_byte_as_they_were(
    predictor, rows, tmp_path
):
    odd = [
        '007,"1,5",http,"say ""hi"""',
        "  x , 1.50 ,FTP,",
        'a""b,1e2,,caf\xe9',
        "-,NaN,ftp,TRUE",
    ]
    header = 'id,rate,service,"free, text",bytes'
    lines = [line + f",{i}" for i, line in enumerate(odd)]
    content = "\r\n".join([header, *lines * 3, ""]).encode("cp1252")
    (tmp_path / "odd.csv").write_bytes(content)
    predictor.predict_file(tmp_path / "odd.csv", tmp_path / "out.csv")
    written = (tmp_path / "out.csv").read_bytes().splitlines()
    given = content.splitlines()
    assert len(written) == len(given)
    assert all(out.startswith(line + b",") for out, line in zip(written, given, strict=True))
    # The same rows, however their numbers and names are grouped with others.
    scores = [line.split(b",")[-3] for line in written[1:]]
    assert scores[:4] == scores[4:8]


def test_what_is_added_has_the_encoding_of_the_rows(trained, tmp_path):
    """A file of Windows-1252: its reasons, and rows that are written anew, are not UTF-8."""
    frame = make_frame(400, seed=9).rename(columns={"rate": "Größe", "service": "Land"})
    frame["Land"] = frame["Land"].replace("ftp", "Österreich")
    frame["Größe"] = [str(size).replace(".", ",") for size in frame["Größe"]]
    folder = tmp_path / "rows"
    folder.mkdir()
    frame.to_csv(folder / "a.csv", index=False, encoding="cp1252", sep=";")
    model = ["model=lightgbm", "model.n_estimators=10", "rival=false", "tracking=none", "run=m"]
    data = ["data=table", "data.path=rows/a.csv", "data.target=is_threat"]
    assert run_here("train", *model, *data, cwd=tmp_path).returncode == 0
    turned = frame[frame.columns[::-1]].assign(Land="two\nlines")
    turned.to_csv(folder / "b.csv", index=False, encoding="cp1252", sep=";")
    said = load(tmp_path / "runs" / "m").predict_file(
        folder, tmp_path / "out.csv", explain=2, threshold=0.3
    )
    assert said.alerts > 0
    assert any("decimal point" in note for note in said.notes)
    with pytest.raises(UnicodeDecodeError):
        (tmp_path / "out.csv").read_text("utf-8")
    scored = pd.read_csv(tmp_path / "out.csv", encoding="cp1252", sep=";")
    assert scored["reason_1"].dropna().str.contains("Größe=|bytes=|Land=").all()
    assert scored["reason_1"].str.contains("Größe=").any()
    assert set(scored["Land"].dropna()) >= {"Österreich", "two\nlines"}
    assert len(scored) == 800


def test_line_ends_in_cells_do_not_shift_scores(predictor, rows, tmp_path):
    rows = rows.head(50).assign(note=lambda f: np.where(f.index % 7 == 3, 'two\n"lines"', "one"))
    rows.to_csv(tmp_path / "new.csv", index=False)
    predictor.predict_file(tmp_path / "new.csv", tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as file:
        written = list(csv.DictReader(file))
    assert [row["note"] for row in written] == list(rows["note"])
    got = np.array([float(row["score"]) for row in written])
    np.testing.assert_allclose(got, predictor.predict_proba(rows), rtol=1e-6)


def test_columns_in_another_order_are_matched_by_name_and_extra_ones_are_said(
    predictor, rows, tmp_path
):
    other = rows[["service", "bytes", "rate"]].assign(host="h", port=1)
    other.to_csv(tmp_path / "new.csv", index=False)
    said = predictor.predict_file(tmp_path / "new.csv", tmp_path / "out.csv")
    scored = pd.read_csv(tmp_path / "out.csv")
    np.testing.assert_allclose(scored["score"], predictor.predict_proba(rows), rtol=1e-6)
    assert said.notes == ("2 columns are kept that the model does not use: 'host', 'port'.",)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_rows_with_a_column_that_is_called_as_an_added_one_get_others(
    predictor, rows, tmp_path, suffix
):
    """A feature called `score` is common in telemetry; what the user gave stays as it was."""
    named = rows.assign(score=7)
    named.to_csv(tmp_path / "new.csv", index=False)
    said = predictor.predict_file(tmp_path / "new.csv", tmp_path / f"out.{suffix}", explain=1)
    read = {
        "csv": pd.read_csv,
        "parquet": pd.read_parquet,
        "jsonl": lambda path: pd.read_json(path, lines=True),
    }
    scored = read[suffix](tmp_path / f"out.{suffix}")
    added = ["threat_score", "threat_alert", "threat_threshold", "threat_reason_1"]
    assert list(scored.columns) == [*named.columns, *added]
    assert (scored["score"].astype(float) == 7).all()
    np.testing.assert_allclose(scored["threat_score"], predictor.predict_proba(rows), rtol=1e-6)
    assert any("the added columns are called threat_score" in note for note in said.notes)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda f: f.drop(columns="rate"), "lacks 'rate'"),
        (lambda f: f.assign(rate="fast"), "'rate' of .* must hold numbers"),
        (lambda f: f.assign(service=range(len(f))), "'service' of .* must hold names"),
        (lambda f: f.assign(score=1, alert=0, threshold=0.5), "must not have been scored before"),
        (lambda f: f.assign(score=1, threat_alert=0), "must not have a column 'threat_alert'"),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_what_is_missing_or_of_another_kind_is_one_sentence_and_no_output(
    predictor, rows, tmp_path, change, sentence, suffix
):
    changed = change(rows)
    source = tmp_path / f"new.{suffix}"
    changed.to_csv(source, index=False) if suffix == "csv" else changed.to_parquet(source)
    with pytest.raises(DataError, match=sentence):
        predictor.predict_file(source, tmp_path / "out.csv")
    assert [p.name for p in tmp_path.iterdir()] == [source.name]  # nothing half-written is left


def test_a_fault_far_down_the_file_leaves_no_output(predictor, rows, tmp_path, monkeypatch):
    monkeypatch.setattr(row_batches, "_CSV_BYTES", 4096)
    text = rows.to_csv(index=False) + "1,2,3,4,5\n"
    (tmp_path / "new.csv").write_text(text)
    with pytest.raises(DataError, match="line 3002 has 5"):
        predictor.predict_file(tmp_path / "new.csv", tmp_path / "out.csv")
    assert [p.name for p in tmp_path.iterdir()] == ["new.csv"]


def test_cells_that_are_no_number_are_counted_over_all_chunks(
    predictor, rows, tmp_path, monkeypatch
):
    monkeypatch.setattr(row_batches, "_CSV_BYTES", 4096)
    odd = rows.astype({"rate": object})
    odd.loc[[5, 1500, 2900], "rate"] = "fast"
    odd.to_csv(tmp_path / "new.csv", index=False)
    said = predictor.predict_file(tmp_path / "new.csv", tmp_path / "out.csv")
    assert said.notes == ("3 cells of 'rate' are no number, such as 'fast', and count as missing.",)
    scored = pd.read_csv(tmp_path / "out.csv")
    np.testing.assert_allclose(scored["score"], predictor.predict_proba(odd), rtol=1e-6)


def test_an_existing_output_stays_without_overwrite(predictor, rows, tmp_path):
    rows.to_csv(tmp_path / "new.csv", index=False)
    (tmp_path / "out.csv").write_text("mine")
    with pytest.raises(RunExistsError, match="overwrite=true"):
        predictor.predict_file(tmp_path / "new.csv", tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "mine"


@pytest.mark.parametrize("overwrite", [False, True])
def test_rows_are_never_replaced_by_their_scores(predictor, rows, tmp_path, overwrite):
    """Also by way of a link, or in the folder that is scored: the next run would read it."""
    (tmp_path / "in").mkdir()
    rows.head(20).to_csv(tmp_path / "in" / "new.csv", index=False)
    (tmp_path / "link.csv").symlink_to(tmp_path / "in" / "new.csv")
    before = (tmp_path / "in" / "new.csv").read_bytes()
    for source, output, sentence in (
        ("in/new.csv", "in/new.csv", "another file than the rows"),
        ("in/new.csv", "link.csv", "another file than the rows"),
        ("in", "in/out.csv", "outside of the folder of the rows"),
    ):
        with pytest.raises(RunExistsError, match=sentence):
            predictor.predict_file(tmp_path / source, tmp_path / output, overwrite=overwrite)
    assert (tmp_path / "in" / "new.csv").read_bytes() == before
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["new.csv"]


@pytest.mark.parametrize("name", ["out.csv.gz", "out.xlsx", "out.json", "out.feather"])
def test_a_name_that_promises_another_format_is_refused(predictor, rows, tmp_path, name):
    rows.head(20).to_csv(tmp_path / "new.csv", index=False)
    with pytest.raises(ConfigError, match="must be CSV, JSON lines or Parquet"):
        predictor.predict_file(tmp_path / "new.csv", tmp_path / name)


def test_a_folder_that_lacks_is_named(predictor, rows, tmp_path):
    rows.head(20).to_csv(tmp_path / "new.csv", index=False)
    with pytest.raises(StorageError, match=r"folder of the output must exist, .*none' does not"):
        predictor.predict_file(tmp_path / "new.csv", tmp_path / "none" / "out.csv")


def test_a_folder_is_scored_into_one_file(predictor, rows, tmp_path):
    (tmp_path / "in").mkdir()
    rows.head(1000).to_csv(tmp_path / "in" / "a.csv", index=False)
    rows.tail(2000)[["service", "rate", "bytes"]].to_csv(tmp_path / "in" / "b.csv", index=False)
    predictor.predict_file(tmp_path / "in", tmp_path / "out.csv")
    scored = pd.read_csv(tmp_path / "out.csv")
    np.testing.assert_allclose(scored["score"], predictor.predict_proba(rows), rtol=1e-6)


def test_rows_go_through_a_pipe_and_nothing_else_does(predictor, trained, rows, tmp_path):
    run = str(trained["lightgbm"].run)
    words = [sys.executable, "-m", "jamba_ray.predict", run, "-", "-o", "-", "explain=3"]
    text = rows.head(200).assign(host="h").to_csv(index=False)
    done = subprocess.run(words, input=text, capture_output=True, text=True, check=True)
    scored = pd.read_csv(io.StringIO(done.stdout))
    np.testing.assert_allclose(scored["score"], predictor.predict_proba(rows.head(200)), rtol=1e-6)
    assert "'host'" in done.stderr
    assert list(scored.columns[-3:]) == ["reason_1", "reason_2", "reason_3"]
    assert (scored["reason_1"].notna() == (scored["alert"] == 1)).all()
    bad = subprocess.run(words, input=text + "1\n", capture_output=True, text=True, check=False)
    assert bad.returncode == 65
    assert "standard input must have 4 cells" in bad.stderr
    assert "standard-input" not in bad.stderr


@pytest.mark.parametrize("family", ["lightgbm", "mlp"])
def test_json_lines_give_the_scores_of_the_frame_and_keep_what_they_hold(
    trained, rows, tmp_path, family
):
    predictor = load(trained[family].run)
    objects = [
        {k: None if v != v else v for k, v in row.items()}
        for row in rows.head(9000).to_dict("records")
    ]
    for i, row in enumerate(objects):
        row |= {"id": i, "tags": ["a", {"b": i}], "ok": i % 2 == 0}
    del objects[3]["bytes"]
    rows.loc[3, "bytes"] = np.nan
    text = "".join(json.dumps(row) + "\n" for row in objects)
    (tmp_path / "new.jsonl").write_text(text)
    expected = predictor.predict_proba(rows)
    predictor.predict_file(tmp_path / "new.jsonl", tmp_path / "out.jsonl", explain=1)
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    added = ("score", "alert", "threshold", "reason_1")
    assert [{k: v for k, v in row.items() if k not in added} for row in found] == objects
    np.testing.assert_allclose([row["score"] for row in found], expected, rtol=1e-6)
    assert {row["alert"] for row in found} == {0, 1}
    assert all((row["reason_1"] is not None) == bool(row["alert"]) for row in found)
    for name, read in (("out.csv", pd.read_csv), ("out.parquet", pd.read_parquet)):
        predictor.predict_file(tmp_path / "new.jsonl", tmp_path / name)
        scored = read(tmp_path / name)
        np.testing.assert_allclose(scored["score"], expected, rtol=1e-6)
        assert scored["tags"][5] == '["a", {"b": 5}]'
    table = pa.table({name: pa.array(rows[name]) for name in ("rate", "service")})
    table = table.append_column("bytes", pa.array(rows["bytes"].to_numpy()))  # NaN, not null
    pq.write_table(table, tmp_path / "new.parquet")
    predictor.predict_file(tmp_path / "new.parquet", tmp_path / "again.jsonl")
    assert "NaN" not in (tmp_path / "again.jsonl").read_text()
    scored = pd.read_json(tmp_path / "again.jsonl", lines=True)
    np.testing.assert_allclose(scored["score"], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('{"bytes": 1, "rate": "fast", "service": "ftp"}', "'rate' of .* must hold numbers"),
        ('{"bytes": 1, "rate": [1], "service": "ftp"}', "'rate' holds a list"),
        ('{"bytes": 1, "service": "ftp"}', "lacks 'rate'"),
    ],
)
def test_odd_json_lines_are_one_sentence_and_no_output(predictor, tmp_path, line, sentence):
    (tmp_path / "new.jsonl").write_text((line + "\n") * 40)
    with pytest.raises(DataError, match=sentence):
        predictor.predict_file(tmp_path / "new.jsonl", tmp_path / "out.jsonl")
    assert [p.name for p in tmp_path.iterdir()] == ["new.jsonl"]
