from __future__ import annotations

import io
import shlex

import pandas as pd
import pytest

import jamba_ray
from jamba_ray.__main__ import main
from jamba_ray.explain import typical_values


def labelled(n=1500):
    from tests.inference.conftest import make_frame

    return make_frame(n, seed=11)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explain")
    labelled().to_csv(folder / "flows.csv", index=False)
    made = jamba_ray.train(
        folder / "flows.csv",
        model={"name": "lightgbm", "n_estimators": 30},
        store=str(folder),
        run="x",
        quiet=True,
    )
    labelled(60).drop(columns="is_threat").to_csv(folder / "new.csv", index=False)
    return made


def said(capsys, *words):
    code = main(["explain", *map(str, words)])
    out = capsys.readouterr()
    return code, out.out + out.err


def next_of(text):
    (line,) = [line for line in text.splitlines() if line.startswith("next")]
    return shlex.split(line.partition(": ")[2])


def test_the_model_is_explained_by_what_made_its_labels(run, capsys):
    frame = run.feature_importance()
    assert list(frame.columns) == ["columns", "drop", "low", "high"]
    assert frame["columns"][0] == ("rate",)
    assert frame["low"][0] > 0
    (null,) = frame[frame["columns"] == ("bytes",)].to_dict("records")
    assert null["low"] <= 0 <= null["high"]
    code, text = said(capsys, run.folder.path)
    assert code == 0
    assert "rate" in text
    assert next_of(text)[:3] == ["jamba-ray", "explain", str(run.folder.path)]
    for report in (run.folder.report, run.folder.report.with_suffix(".md")):
        assert "What the winner relies on" in report.read_text()


def test_one_row_is_explained_and_the_next_command_is_the_report(run, capsys):
    code, text = said(capsys, run.folder.path, run.folder.path.parent / "new.csv", "row=17")
    assert code == 0
    assert "Row 17 of" in text
    rows = pd.read_csv(run.folder.path.parent / "new.csv")
    predictor = run.load()
    assert f"{predictor.predict_proba(rows)[16]:.6g}" in text
    first = predictor.explain(rows.iloc[[16]], k=1).iloc[0]
    (line,) = [line for line in text.splitlines() if line.split()[:1] == [first["column"]]]
    assert f"{'up' if first['log_odds'] > 0 else 'down'} by {abs(first['log_odds']):.2f}" in line
    assert typical_values(predictor.preprocessing)[first["column"]] in line
    assert next_of(text) == ["jamba-ray", "report", f"run={run.folder.path}"]
    assert main(next_of(text)[1:]) == 0


def test_without_a_number_it_is_the_row_with_the_highest_score(run, capsys):
    file = run.folder.path.parent / "new.csv"
    scores = run.load().predict_proba(pd.read_csv(file))
    code, text = said(capsys, run.folder.path, file)
    assert code == 0
    assert f"Row {scores.argmax() + 1} of" in text


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "labelled.csv", "-"])
def test_the_same_row_is_explained_alike_whatever_holds_it(run, capsys, monkeypatch, kind):
    """Objects, Parquet, a file that still has its labels, and standard input."""
    rows = pd.read_csv(run.folder.path.parent / "new.csv")
    code, expected = said(capsys, run.folder.path, run.folder.path.parent / "new.csv", "row=17")
    assert code == 0
    file = run.folder.path.parent / f"again.{kind}"
    if kind == "jsonl":
        rows.to_json(file, orient="records", lines=True)
    elif kind == "parquet":
        rows.to_parquet(file)
    else:
        rows.assign(is_threat=0).to_csv(file, index=False)
    if kind == "-":
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(file.read_bytes())))
        file = "-"
    code, text = said(capsys, run.folder.path, file, "row=17")
    assert code == 0
    where = "standard input" if kind == "-" else str(file)
    assert f"Row 17 of {where} scores" in text
    table = [line for line in expected.splitlines() if " by " in line]
    assert table
    assert [line for line in text.splitlines() if " by " in line] == table


def test_a_fault_of_standard_input_does_not_name_the_copy(run, capsys, monkeypatch):
    for content, row, sentence in (
        (b"bytes,rate\n1,2\n", 1, "standard input must have the columns"),
        (b"bytes,rate,service\n1,2,ftp\n", 2, "standard input must have the row"),
    ):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
        code, text = said(capsys, run.folder.path, "-", f"row={row}")
        assert code == 65
        assert sentence in text
        assert "standard-input" not in text


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["new.csv", "row=61"], 65, "row 61 is beyond its 60 rows"),
        (["new.csv", "row=0"], 64, "row"),
        (["row=3"], 64, "needs the file that the row is in"),
        (["empty.csv"], 65, "must have"),
    ],
)
def test_a_mistake_is_one_sentence(run, capsys, monkeypatch, words, code, sentence):
    monkeypatch.chdir(run.folder.path.parent)
    (run.folder.path.parent / "empty.csv").write_text("bytes,rate,service\n")
    found, text = said(capsys, run.folder.path, *words)
    assert found == code
    assert sentence in text
    assert "Traceback" not in text


def test_a_run_of_an_earlier_version_is_computed_from_its_data(run):
    import json

    summary = json.loads(run.folder.summary.read_text())
    stored = summary.pop("feature_importance")
    earlier = jamba_ray.open_run(run.folder.path)
    earlier.__dict__["summary"] = summary
    again = earlier.found_importance()
    assert again["groups"][0]["columns"] == stored["groups"][0]["columns"]
    assert again["groups"][0]["drop"] == pytest.approx(stored["groups"][0]["drop"], abs=1e-9)
