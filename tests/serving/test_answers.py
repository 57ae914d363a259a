"""Every answer equals that of ``predict``, whatever the body and whatever is in its cells."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from jamba_ray.data.csv_file import MISSING as CSV_MISSING
from jamba_ray.inference.predict_file import predict_file
from jamba_ray.serving import column
from jamba_ray.serving.model import ServedModel
from jamba_ray.serving.rows_body import ARROW, CSV, JSON, LINES, MISSING, rows_of
from jamba_ray.serving.schema import SchemaError
from tests.serving.conftest import KINDS, table

DIRT = {
    "bytes": [np.nan, "inf", "-inf", 1e308, " 12 ", "1e3", "-", 0, "0x1f", "1_000", "NaN", 2**70],
    "rate": ["", "n/a", 5e-324, -0.0, "1,5", "abc", 1, 2, 3, 4, 5, "infinity"],
    "service": [
        "",
        None,
        " http ",
        "never seen",
        "NA",
        "HTTP",
        "ftp",
        "ftp ",
        "dns",
        "x,y",
        "'",
        "é",
    ],
    "cost": ["1,5", "1.5", "2", "", "1.234,5", "NaN", "3,0", " 7,25", "-", "9", "1e3", "abc"],
    "zone": ["1", "1.0", " 2", "30", "2.5", "", "30 ", "true", "01", "1e0", "nan", "x"],
    "is internal": ["true", "False", "1", "0", None, "TRUE", "1", "0", "false", "true", "1", "0"],
}


def dirty(n: int = 240) -> pd.DataFrame:
    """Rows of which every third has a cell of ``DIRT`` in one of its columns."""
    frame = table().drop(columns="is_threat").iloc[:n].astype(object)
    for j, (name, cells) in enumerate(DIRT.items()):
        at = list(range(j, n, 3 * len(DIRT)))
        frame.iloc[at, frame.columns.get_loc(name)] = [
            cells[i % len(cells)] for i in range(len(at))
        ]
    return frame


def as_json(frame: pd.DataFrame) -> list[dict]:
    def cell(value):
        if value is None or value != value:
            return None
        if isinstance(value, (bool, np.bool_)):
            return bool(value)
        if isinstance(value, (int, np.integer)):
            return int(value)
        return float(value) if isinstance(value, (float, np.floating)) else str(value)

    return [{name: cell(v) for name, v in row.items()} for row in frame.to_dict("records")]


def predicted(saved, path, tmp_path) -> pd.DataFrame:
    scored = tmp_path / "scored.parquet"
    predict_file(saved.predictor(), path, scored, probability=True, overwrite=True)
    frame = pd.read_parquet(scored)
    names = ("score", "alert", "threshold", "probability")
    return frame[[f"threat_{n}" if f"threat_{n}" in frame else n for n in names]].set_axis(
        names, axis=1
    )


def check(found, wanted: pd.DataFrame) -> None:
    assert np.abs(found.score - wanted["score"]).max() <= 1e-6
    assert np.abs(found.probability - wanted["probability"]).max() <= 1e-6
    assert (found.alert == wanted["alert"]).all()


SLOW = ("attention", "team")
"""Kinds that take longer to train."""


@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=[pytest.mark.slow] if k in SLOW else []) for k in KINDS]
)
def test_each_body_gives_the_scores_of_predict(kind, saved, exports, tmp_path):
    model = ServedModel(exports(kind).read_bytes(), kind, None)
    frame = dirty()
    csv = tmp_path / "rows.csv"
    frame.to_csv(csv, index=False)
    wanted = predicted(saved(kind), csv, tmp_path)
    check(model.score(rows_of(csv.read_bytes(), CSV, 1000).columns), wanted)

    lines = tmp_path / "rows.jsonl"
    # Numbers of JSON are numbers also where text would have a decimal comma.
    rows = as_json(frame.assign(cost=frame["cost"].astype(str)))
    lines.write_text("\n".join(map(json.dumps, rows)))
    wanted = predicted(saved(kind), lines, tmp_path)
    check(model.score(rows_of(lines.read_bytes(), LINES, 1000).columns), wanted)
    check(model.score(rows_of(json.dumps(rows).encode(), JSON, 1000).columns), wanted)
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    check(model.score(rows_of(json.dumps(columns).encode(), JSON, 1000).columns), wanted)
    compared = 0
    for row, score in zip(rows[:60], wanted["score"], strict=False):
        try:
            found = model.score(rows_of(json.dumps(row).encode(), JSON, 1).columns)
        except SchemaError:
            continue  # a column of one cell, which is no number
        assert abs(found.score[0] - score) <= 1e-6
        compared += 1
    assert compared > 40


def test_arrow_gives_the_scores_of_a_frame(saved, exports):
    model = ServedModel(exports("mlp").read_bytes(), "mlp", None)
    frame = table().drop(columns="is_threat").iloc[:200]
    frame["service"] = frame["service"].astype("category")
    arrow = pa.Table.from_pandas(frame, preserve_index=False)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, arrow.schema) as stream:
        stream.write_table(arrow, max_chunksize=70)
    found = model.score(rows_of(bytes(sink.getvalue()), ARROW, 1000).columns)
    assert np.abs(found.score - saved("mlp").predictor().predict_proba(frame)).max() <= 1e-6


def test_a_wrong_reading_of_a_cell_is_found(saved, exports, tmp_path, monkeypatch):
    """The sabotage twin: with the decimal comma forgotten, the comparison fails."""
    model = ServedModel(exports("mlp").read_bytes(), "mlp", None)
    for one in model.schema.columns:
        object.__setattr__(one, "format", column.PLAIN)
    csv = tmp_path / "rows.csv"
    dirty().to_csv(csv, index=False)
    with pytest.raises(AssertionError):
        check(
            model.score(rows_of(csv.read_bytes(), CSV, 1000).columns),
            predicted(saved("mlp"), csv, tmp_path),
        )


def test_missing_cells_of_csv_are_those_of_predict():
    assert frozenset(CSV_MISSING) == MISSING
