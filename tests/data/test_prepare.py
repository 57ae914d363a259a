"""From a section to matrices: whole, honest about its rows, and refused in one sentence if bad."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from jamba_ray.config.data import PreprocessingSection, SplitSection, SyntheticSection, TableSection
from jamba_ray.config.fingerprint import fingerprint
from jamba_ray.data import PreparedData, Preprocessor, prepare, prepare_for, read_table
from jamba_ray.data.prepared import Rows
from jamba_ray.errors import DataError
from tests.data.bad_tables import good_frame

NSL_KDD = Path(__file__).parents[3] / "shared" / "data" / "nsl_kdd"


def table(path: Path, frame: pd.DataFrame, **options) -> TableSection:
    frame.to_parquet(path)
    return TableSection(path=str(path), **options)


def part_sizes(data: PreparedData) -> list[int]:
    return [len(data.train), len(data.val), *(len(rows) for rows in data.tests.values())]


def test_synthetic_is_divided_70_15_15_and_carries_the_limit():
    data = prepare(SyntheticSection(n_samples=2000))
    assert part_sizes(data) == [1400, 300, 300]
    for rows in (data.train, data.val, data.tests["test"]):
        assert rows.x_num.shape == (len(rows), 20)
        assert rows.x_num.flags.c_contiguous
        assert rows.x_cat.shape == (len(rows), 0)
        assert rows.bayes is not None
        assert rows.group is not None
        assert rows.y.mean() == pytest.approx(0.5, abs=0.02)
    assert data.schema.input_dim == 20
    assert data.notes == ()


@pytest.mark.parametrize("kind", ["time", "group"])
def test_synthetic_by_time_and_by_group(kind):
    section = SyntheticSection(n_samples=4000, n_late_families=1, split=SplitSection(kind=kind))
    data = prepare(section)
    held = set(data.tests["test"].group) - {"benign"}
    if kind == "time":
        assert "family_05" in held - set(data.train.group)
    else:
        assert not held & set(data.train.group)
        assert not held & set(data.val.group)


@pytest.mark.parametrize("kind", ["random", "time", "group"])
def test_calibration_rows_are_of_no_other_part_and_leave_the_test_as_it_is(kind):
    plain = SyntheticSection(n_samples=4000, split=SplitSection(kind=kind))
    section = SyntheticSection(n_samples=4000, split=SplitSection(kind=kind, calibration=0.1))
    before, data = prepare(plain), prepare(section)
    assert list(data.tests) == ["test", "calibration"]
    assert sum(part_sizes(data)) == sum(part_sizes(before)) == 4000
    assert np.array_equal(data.tests["test"].y, before.tests["test"].y)
    held = data.tests["calibration"]
    assert len(held) == pytest.approx(400, abs=400 if kind == "group" else 4)
    times = {name: rows.time for name, rows in (("val", data.val), *data.tests.items())}
    seen = np.concatenate([data.train.time, *times.values()])
    assert len(np.unique(seen)) == 4000  # a time is a row here, so no row is in two parts
    if kind == "time":
        assert data.train.time.max() < times["val"].min()
        assert times["val"].max() < times["calibration"].min()
        assert times["calibration"].max() < times["test"].min()
    if kind == "group":
        assert not set(held.group) & set(data.val.group) - {"benign"}
    assert fingerprint(plain) == fingerprint(
        plain.model_copy(update={"split": SplitSection(kind=kind, calibration=0.0)})
    )


def test_the_same_file_gives_the_same_matrices_and_any_change_another_fingerprint(tmp_path):
    frame = good_frame(600)
    section = table(tmp_path / "t.parquet", frame, timestamp="seen_at", group="host")
    data = prepare(section)
    again = prepare(section)
    assert data.fingerprint == again.fingerprint
    assert np.array_equal(data.train.x_num, again.train.x_num)
    fingerprints = {data.fingerprint}
    changed = frame.copy()
    changed.loc[599, "bytes"] *= 1.5
    flipped = frame.assign(is_threat=1 - frame["is_threat"])
    turned = frame.iloc[::-1]
    for i, other in enumerate((changed, flipped, turned)):
        fingerprints.add(prepare(table(tmp_path / f"{i}.parquet", other, group="host")).fingerprint)
    for options in ({"seed": 1}, {"val": 0.2}, {"kind": "group"}):
        split = SplitSection(**options)
        fingerprints.add(prepare(section.model_copy(update={"split": split})).fingerprint)
    assert len(fingerprints) == 7
    csv = tmp_path / "copy.csv"
    frame.to_csv(csv, index=False)  # the same rows in another format are the same data
    same = prepare(section.model_copy(update={"path": str(csv)}))
    assert same.fingerprint == data.fingerprint


def test_no_statistic_comes_from_rows_outside_training(tmp_path):
    """Sabotage every row that is not trained on: what was fitted must stay, bit for bit."""
    frame = good_frame(600).assign(row=np.arange(600))
    split = SplitSection(repeats="anywhere")  # the poisoned rows would all go to one side
    section = table(tmp_path / "t.parquet", frame, drop=("row",), split=split)
    honest = prepare(section)
    in_train = set(honest.train.x_num[:, 0].tolist())  # the scaled bytes are unique per row
    scaled = Preprocessor.from_json(honest.preprocessing).transform(frame)[0][:, 0]
    outside = np.array([value not in in_train for value in scaled.tolist()])
    assert 150 < outside.sum() < 200
    frame.loc[outside, ["bytes", "port", "proto"]] = [1e12, -5, "poison"]
    poisoned = prepare(table(tmp_path / "p.parquet", frame, drop=("row",), split=split))
    assert poisoned.preprocessing == honest.preprocessing
    assert np.array_equal(poisoned.train.x_num, honest.train.x_num)
    assert not np.array_equal(poisoned.val.x_num, honest.val.x_num)


def test_saved_preprocessing_repeats_the_matrices_from_the_raw_file(tmp_path):
    section = table(tmp_path / "t.parquet", good_frame(600), test=str(tmp_path / "t.parquet"))
    data = prepare(section)
    saved = json.loads(json.dumps(data.preprocessing, allow_nan=False))
    raw = read_table(section.path).drop(columns="is_threat")
    x_num, x_cat = Preprocessor.from_json(saved).transform(raw)
    assert np.array_equal(x_num, data.tests["test"].x_num)
    assert np.array_equal(x_cat, data.tests["test"].x_cat)


def test_a_test_file_and_further_ones(tmp_path):
    frame = good_frame(400)
    frame[:100].drop(columns="host").to_csv(tmp_path / "x.csv", index=False)
    section = table(
        tmp_path / "t.parquet",
        frame,
        group="host",
        test=str(tmp_path / "x.csv"),
        extra_tests={"again": str(tmp_path / "x.csv")},
    )
    data = prepare(section)
    assert list(data.tests) == ["test", "again"]
    assert part_sizes(data) == [340, 60, 100, 100]
    assert data.train.group is not None
    assert data.tests["test"].group is None


def test_repeated_rows_are_told(tmp_path):
    frame = good_frame(400)
    double = pd.concat([frame, frame.assign(is_threat=1 - frame["is_threat"])])
    split = SplitSection(repeats="anywhere")
    notes = " ".join(prepare(table(tmp_path / "t.parquet", double, split=split)).notes)
    assert "training rows repeat the features of another" in notes
    assert "val rows" in notes
    assert "test rows" in notes
    assert "occur with both labels" in notes


def rows_of(part: Rows) -> set[bytes]:
    return {a.tobytes() + b.tobytes() for a, b in zip(part.x_num, part.x_cat, strict=True)}


@pytest.mark.parametrize("rows_in", ["host", "disk"])
def test_repeated_rows_stay_on_one_side(tmp_path, rows_in):
    """Also where a row number, a time or an identifier tells them apart: those are no features."""
    frame = good_frame(300)
    rng = np.random.default_rng(1)
    many = frame.iloc[rng.integers(0, 300, 3000)].reset_index(drop=True)
    torn = int((many["bytes"].isin(many["bytes"].iloc[:5])).sum())
    many.loc[:4, "is_threat"] = 1 - many.loc[:4, "is_threat"]
    many["seen_at"] = pd.date_range("2026-01-01", periods=3000, freq="min").astype(str)
    many["row"], many["key"] = np.arange(3000) * 3, [f"{i:x}z{i * i:x}" for i in range(3000)]
    section = table(tmp_path / "t.parquet", many, rows_in=rows_in, cache=str(tmp_path / "c"))
    data = prepare(section)
    parts = [rows_of(part) for part in (data.train, data.val, data.tests["test"])]
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]
    assert part_sizes(data) == pytest.approx([2100, 450, 450], abs=30)
    said = " ".join(data.notes)
    assert re.search(rf"of 3,000 rows share their features with another, {torn} of them", said)
    assert "labels that disagree; such rows stay on one side of the split" in said
    assert "val rows" not in said
    anywhere = section.model_copy(update={"split": SplitSection(repeats="anywhere")})
    assert rows_of(prepare(anywhere).val) & rows_of(prepare(anywhere).train)


def test_rows_that_repeat_an_older_one_can_be_left_out(tmp_path):
    frame = good_frame(1000)
    older = frame.iloc[np.random.default_rng(0).integers(0, 500, 200)]
    features = ["bytes", "port", "proto", "host"]
    frame.loc[800:, features] = older[features].to_numpy()
    frame.loc[::2, "bytes"] += 0.5 + np.arange(500)
    split = {"kind": "time", "repeats": "leave_out"}
    section = table(tmp_path / "t.parquet", frame, timestamp="seen_at", split=SplitSection(**split))
    data = prepare(section)
    assert not rows_of(data.val) & rows_of(data.train)
    assert not rows_of(data.tests["test"]) & rows_of(data.train)
    asked = section.model_copy(update={"split": SplitSection(kind="time")})
    said = [note for note in prepare(asked).notes if "val rows" in note]
    assert "partly memory (data.split.repeats=leave_out leaves them out)" in said[0]
    assert part_sizes(data)[0] == 700
    assert part_sizes(data)[2] < 140
    assert any("that repeat a training row are left out" in note for note in data.notes)
    frame.loc[500:, features] = older[features].iloc[0].to_numpy()
    with pytest.raises(DataError, match=r"leave_out must leave rows that .*repeats=together"):
        prepare(section.model_copy(update={"path": str(table(tmp_path / "u.parquet", frame).path)}))


@pytest.mark.parametrize(
    ("column", "says"),
    [
        (np.arange(400), "rises from row to row"),
        (np.arange(400)[::-1] * 5 + 7.0, "falls from row to row"),
        (np.random.default_rng(0).permutation(400), "another number in every row"),
        (np.sort([*range(300), *range(0, 300, 3)]), "another number in most rows"),
    ],
)
def test_row_numbers_are_no_features_unless_kept(tmp_path, column, says):
    path = tmp_path / "t.csv"
    good_frame(400).assign(id=column).to_csv(path, index=False)
    data = prepare(TableSection(path=str(path)))
    assert "id" not in data.schema.numeric
    assert "'data.keep=[id]' makes it a feature" in data.overview["left_out"]["id"]
    assert says in data.overview["left_out"]["id"]
    for again in ({"keep": ("id",)}, {"numeric": ("id",)}):
        assert "id" in prepare(TableSection(path=str(path), **again)).schema.numeric


def test_an_index_that_begins_anew_in_each_file_is_no_feature(tmp_path):
    for i in range(3):
        good_frame(200, seed=i).to_csv(tmp_path / f"{i}.csv", index_label="index")
    left_out = prepare(TableSection(path=str(tmp_path))).overview["left_out"]
    assert "counts up and begins anew 2 times" in left_out["index"]


def test_auto_splits_as_the_field_does_and_says_why(tmp_path):
    auto = SplitSection(kind="auto")
    path = tmp_path / "t.parquet"
    for options, says in (
        ({"timestamp": "seen_at", "group": "host"}, "by time, since there is a timestamp"),
        ({"group": "host"}, "by group, since there is a group"),
        ({}, "by chance, since no timestamp and no group is named"),
        ({"group": "proto"}, "by group"),
    ):
        data = prepare(table(path, good_frame(600), split=auto, **options))
        assert [note for note in data.notes if f"data.split.kind=auto divides {says}" in note]
    timed = prepare(table(path, good_frame(600), split=auto, timestamp="seen_at"))
    assert timed.overview["parts"]["train"]["to"] < timed.overview["parts"]["val"]["from"]
    same_time = good_frame(600).assign(seen_at=pd.Timestamp("2026-01-01"))
    data = prepare(table(path, same_time, split=auto, timestamp="seen_at"))
    assert any("by chance, since all rows have the same timestamp" in note for note in data.notes)


def test_cells_that_are_no_numbers_are_counted_in_every_part_and_when_judged(tmp_path):
    frame = good_frame(400)
    frame["bytes"] = [f"{x:.3f}".replace(".", ",") for x in frame["bytes"]]
    odd = frame.copy()
    odd.loc[:9, "bytes"] = "oops"
    odd.to_csv(tmp_path / "x.csv", index=False)
    section = table(tmp_path / "t.parquet", frame, test=str(tmp_path / "x.csv"))
    data = prepare(section)
    sentence = (
        "Column 'bytes' holds no number in 10 of 400 test rows (such as 'oops'), taken as missing "
        "there."
    )
    assert sentence in data.notes
    preprocessor = Preprocessor.from_json(data.preprocessing)
    for place in ("host", "disk"):
        elsewhere = {"rows_in": place, "cache": str(tmp_path / "cache")}
        said: list[str] = []
        rows = prepare_for(preprocessor, section.model_copy(update=elsewhere), said.append)
        assert np.array_equal(rows.x_num, data.tests["test"].x_num)
        assert sentence in said


def test_points_that_may_be_between_thousands_are_said(tmp_path):
    """A test file of '1.234' alone was read as decimals before anybody knew of the training."""
    frame = good_frame(400)
    amounts = np.random.default_rng(0).integers(1000, 5_000_000, 400)
    frame["bytes"] = [f"{x:,}".replace(",", ".") for x in amounts]
    frame[:60].assign(bytes=["1.234", "17.500", "7"] * 20).to_csv(tmp_path / "x.csv", index=False)
    section = table(tmp_path / "t.parquet", frame, test=str(tmp_path / "x.csv"))
    notes = " ".join(prepare(section).notes)
    assert "of the test rows, numbers such as 1.234 are taken as decimals" in notes
    assert "taken as decimals" not in " ".join(
        prepare(section.model_copy(update={"test": None})).notes
    )


class TestRefused:
    def refusal(self, section: TableSection) -> str:
        with pytest.raises(DataError) as caught:
            prepare(section)
        assert "\n" not in caught.value.message
        assert caught.value.message.endswith((".", "?"))
        return caught.value.message

    @pytest.mark.parametrize("label", [0, 1])
    def test_one_class_only(self, tmp_path, label):
        section = table(tmp_path / "t.parquet", good_frame().assign(is_threat=label))
        assert "must hold benign rows and threats" in self.refusal(section)
        assert "t.parquet" in self.refusal(section)

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            ({"target": "is_thret"}, "data.target .*'is_thret'. Did you mean `is_threat`?"),
            ({"drop": ("prt",)}, "data.drop .*'prt'. Did you mean `port`?"),
            ({"group": "hosts"}, "data.group .* Did you mean `host`?"),
            ({"timestamp": "when"}, "data.timestamp .* its columns are bytes, port"),
            ({"numeric": ("byte",)}, "data.numeric .* Did you mean `bytes`?"),
            ({"extra_tests": {"val": "x.csv"}}, "'val' is taken"),
            ({"max_cells": 100}, "data.max_cells=100"),
        ],
    )
    def test_misspelt_names(self, tmp_path, options, sentence):
        section = table(tmp_path / "t.parquet", good_frame(), **options)
        with pytest.raises(DataError, match=sentence):
            prepare(section)

    def test_test_file_without_a_feature(self, tmp_path):
        good_frame().drop(columns="port").to_csv(tmp_path / "x.csv", index=False)
        section = table(tmp_path / "t.parquet", good_frame(), test=str(tmp_path / "x.csv"))
        message = self.refusal(section)
        assert "x.csv" in message
        assert "'port'" in message

    def test_rows_without_a_time(self, tmp_path):
        frame = good_frame()
        frame.loc[3, "seen_at"] = None
        split = SplitSection(kind="time")
        section = table(tmp_path / "t.parquet", frame, timestamp="seen_at", split=split)
        assert "1 of 200 rows" in self.refusal(section)


@pytest.mark.parametrize("form", ["datetime", "text", "epoch", "zone"])
def test_a_split_by_time_understands_times(tmp_path, form):
    frame = good_frame(300)
    times = frame["seen_at"]
    newest = frame["bytes"].iloc[-45:].max() * 10
    frame.loc[299, "bytes"] = newest
    frame["seen_at"] = {
        "datetime": times,
        "text": times.dt.strftime("%Y-%m-%d %H:%M:%S"),
        "epoch": times.astype("int64"),
        "zone": times.dt.tz_localize("Europe/Berlin"),
    }[form]
    shuffled = frame.sample(frac=1.0, random_state=0)
    split = SplitSection(kind="time")
    section = table(tmp_path / "t.parquet", shuffled, timestamp="seen_at", split=split)
    data = prepare(section)
    assert part_sizes(data) == [210, 45, 45]
    bytes_at = data.schema.numeric.index("bytes")
    # The newest row is in the test, where its size is beyond all of training: the end score.
    assert data.tests["test"].x_num[:, bytes_at].max() == data.schema.bin_edges[bytes_at][-1]
    assert "seen_at" not in data.schema.numeric + data.schema.categorical


def test_day_first_times_put_the_newest_rows_in_the_test(tmp_path):
    """Read cell by cell, month first where that is possible, none of them was among the newest."""
    frame = good_frame(3000).drop(columns="seen_at").assign(row=np.arange(3000.0))
    days = pd.Series(pd.date_range("2018-02-14", "2018-03-02", periods=3000))
    frame["seen_at"] = days.dt.strftime("%d/%m/%Y %H:%M:%S")
    shuffled = frame.sample(frac=1.0, random_state=0)
    shuffled.to_csv(tmp_path / "t.csv", index=False)
    section = TableSection(
        path=str(tmp_path / "t.csv"),
        timestamp="seen_at",
        split=SplitSection(kind="time"),
        keep=("row",),
        preprocessing=PreprocessingSection(scaling="standard"),
    )
    data = prepare(section)
    row = data.schema.numeric.index("row")
    assert data.train.x_num[:, row].max() < data.val.x_num[:, row].min()
    assert len(data.tests["test"]) == 450
    (note,) = [note for note in data.notes if note.startswith("Rows follow 'seen_at'")]
    assert "(read as day/month/year): train 2018-02-14 to 2018-02-25 " in note
    assert note.endswith(" to 2018-03-02.")


def test_times_of_a_test_file_are_read_as_those_of_training(tmp_path):
    frame = good_frame(400)
    days = pd.Series(pd.date_range("2018-02-14", periods=400, freq="h"))
    frame["seen_at"] = days.dt.strftime("%d/%m/%Y %H:%M:%S")
    frame[:50].assign(seen_at="04/03/2018 10:00:00").to_csv(tmp_path / "x.csv", index=False)
    section = table(
        tmp_path / "t.parquet",
        frame,
        timestamp="seen_at",
        split=SplitSection(kind="time"),
        test=str(tmp_path / "x.csv"),
        extra_tests={"other": str(tmp_path / "y.csv")},
    )
    frame[:50].assign(seen_at="?").to_csv(tmp_path / "y.csv", index=False)
    (note,) = [note for note in prepare(section).notes if note.startswith("Rows follow")]
    assert "test 2018-03-04 10:00:00 to 2018-03-04 10:00:00, other unknown." in note


def test_text_that_holds_times_is_no_feature(tmp_path):
    frame = good_frame(400)
    frame["seen_at"] = frame["seen_at"].dt.strftime("%d/%m/%Y %H:%M")
    data = prepare(table(tmp_path / "t.parquet", frame))
    assert "seen_at" not in (*data.schema.numeric, *data.schema.categorical)
    assert any("'seen_at' holds times and is left out" in note for note in data.notes)


@pytest.mark.skipif(not NSL_KDD.exists(), reason=f"NSL-KDD is not at {NSL_KDD}")
class TestNslKdd:
    def section(self, **options) -> TableSection:
        return TableSection(
            path=str(NSL_KDD / "train.parquet"),
            test=str(NSL_KDD / "test.parquet"),
            extra_tests={"test_21": str(NSL_KDD / "test_21.parquet")},
            group="attack_class",
            drop=("difficulty",),
            **options,
        )

    def test_random_split(self):
        data = prepare(self.section())
        assert part_sizes(data) == [107_077, 18_896, 22_544, 11_850]
        assert [int(rows.y.sum()) for rows in data.tests.values()] == [12_833, 9_698]
        features = data.schema.numeric + data.schema.categorical
        assert len(features) == 40  # 41 less one constant column
        assert not {"difficulty", "attack_class", "is_threat"} & set(features)
        assert "31 of 125,973 rows share their features with another" in data.notes[0]
        assert "'num_outbound_cmds' is the same" in data.notes[1]
        assert len(set(data.tests["test"].group) - set(data.train.group)) == 17

    def test_attack_classes_held_out(self):
        data = prepare(self.section(split=SplitSection(kind="group")))
        held = set(data.val.group) - {"normal"}
        assert held
        assert not held & set(data.train.group)
        assert data.val.y.mean() == pytest.approx(data.train.y.mean(), abs=0.15)
