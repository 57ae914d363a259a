"""Tests ``watch`` on windows with and without changes, through the command."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest

from jamba_ray.data.reference import Reference
from jamba_ray.errors import DataError
from jamba_ray.watching.findings import CONCEPT
from tests.commands import run_here
from tests.docs.watch_contract import COLUMN, FINDING, WATCH

CALMING = re.compile(r"\b(fine|healthy|all is well|no drift|everything)\b", re.IGNORECASE)


def keys(report):
    return {one["key"]: one["severity"] for one in report["findings"]}


@pytest.fixture(scope="module")
def later(frame):
    return frame[5_000:].reset_index(drop=True)


def test_a_window_in_which_nothing_has_changed(watch, later, place):
    # Chance makes one window of twenty stand out; how often is tested in test_false_alarms.py.
    done, report = watch("clean", later[2_000:], "data.group=host", expect=0)
    assert list(report) == list(WATCH)
    assert [list(one) for one in report["columns"]] == [list(COLUMN)] * len(report["columns"])
    assert report["status"] == "nothing_found"
    assert CONCEPT in report["sentence"]
    assert CONCEPT in report["performance"]["sentence"]
    assert not CALMING.search(done.stdout)
    metrics = report["performance"]["metrics"]
    label = later["is_threat"][2_000:] == 1
    assert report["performance"]["supposes"] == "none"
    assert metrics["roc_auc"]["low"] < metrics["roc_auc"]["value"] < metrics["roc_auc"]["high"]
    assert report["prior"]["low"] < label.mean() < report["prior"]["high"]
    page = (place / "watch" / "clean" / "watch.html").read_text()
    assert CONCEPT in page
    assert "<script" not in page
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")


def test_the_rows_asked_for_come_back_with_labels(watch, later, place):
    _, report = watch("asking", later[:3_000])
    asked = pd.read_csv(place / report["asked"]["file"])
    assert 150 < len(asked) == report["asked"]["rows"] < 260
    # Each is a row of the window as it stands; a person fills in the label.
    asked["timestamp"] = pd.to_datetime(asked["timestamp"])
    whole = later[:3_000].merge(asked, on="timestamp", suffixes=("", "_asked"))
    assert len(whole) == len(asked)
    asked["label"] = whole["is_threat"].to_numpy()
    done, found = watch("asked", asked.drop(columns="is_threat"), "labels=label", expect=0)
    assert list(found) == list(WATCH)
    labels = found["labels"]
    assert labels["how"] == "asked"
    truth = later[:3_000]["is_threat"].mean()
    assert (
        labels["metrics"]["threat_share"]["low"] < truth < labels["metrics"]["threat_share"]["high"]
    )
    assert found["columns"] == []  # they are no fair draw, so nothing else is said of them
    assert "stand for the whole window" in done.stdout


CHANGES = {
    "a unit": (lambda f: f.assign(feature_01=f["feature_01"] * 1000), "values:feature_01"),
    "gaps": (
        lambda f: f.assign(feature_02=f["feature_02"].where(f.index % 8 != 0)),
        "missing:feature_02",
    ),
    "a name": (lambda f: f.assign(proto=f["proto"].replace("udp", "UDP/17")), "unseen:proto"),
    "a column": (lambda f: f.drop(columns="feature_04"), "lacking:feature_04"),
    "a clock": (
        lambda f: f.assign(timestamp=f["timestamp"] + pd.Timedelta(days=9_000)),
        "clock",
    ),
    "text": (lambda f: f.assign(feature_00="n/k"), "missing:feature_00"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_changed_is_found(watch, later, change):
    how, key = CHANGES[change]
    _, report = watch("changed", how(later[:1_500]), "ask=0", expect=6)
    assert keys(report)[key] in ("warning", "critical")
    assert [list(one) for one in report["findings"]] == [list(FINDING)] * len(report["findings"])
    assert report["exit_code"] == 6
    if change == "a unit":
        assert "1000 times" in report["findings"][0]["sentence"]


def test_rarer_threats_are_told_as_such_and_corrected_for(watch, later):
    threats = later["is_threat"] == 1
    some = later[~threats | (np.arange(len(later)) % 10 == 0)]
    _, report = watch("rarer", some.drop(columns="is_threat"), "ask=0", expect=6)
    assert report["prior"]["explains"]
    assert report["prior"]["low"] < (some["is_threat"] == 1).mean() < report["prior"]["high"]
    assert report["performance"]["supposes"] == "prior"
    assert keys(report)["prior"] in ("warning", "critical")
    # What the other share makes of the scores is no finding of its own.
    assert [key for key, severity in keys(report).items() if severity != "info"] == ["prior"]


def test_a_changed_concept_is_not_seen_and_is_said_not_to_be(watch, later):
    """Labels flip, features stay: no answer may sound as if that could not be."""
    done, report = watch("concept", later[2_000:4_000], "ask=0", expect=0)
    assert CONCEPT in report["sentence"]
    assert not CALMING.search(done.stdout)
    flipped = later[2_000:4_000].copy()
    benign = flipped["is_threat"] == 0
    flipped.loc[benign & (np.arange(2_000) % 3 == 0), "is_threat"] = 1
    flipped["is_threat"] = np.where(benign, flipped["is_threat"], 0)
    done, report = watch("labelled", flipped, "labels=is_threat", expect=6)
    assert keys(report)["promise"] == "critical"
    assert report["labels"]["promise"]["refuted"]


def test_labels_of_alerts_alone_are_no_fair_draw(watch, later, place):
    some = later[:2_000].copy()
    some["is_threat"] = some["is_threat"].astype(object)
    some.loc[some["feature_00"] < some["feature_00"].quantile(0.97), "is_threat"] = ""
    _, whole = watch("whole", some, "labels=is_threat")
    assert whole["labels"]["how"] == "some"
    by_score = some.copy()
    by_score.to_csv(place / "s.csv", index=False)
    run_here("predict", "runs/x", "s.csv", "-o", "o.csv", "overwrite=true", cwd=place)
    score = pd.read_csv(place / "o.csv")["score"]
    by_score["is_threat"] = later["is_threat"][:2_000].astype(object)
    by_score.loc[(score < score.quantile(0.9)).to_numpy(), "is_threat"] = ""
    done, found = watch("alerts", by_score, "labels=is_threat")
    assert found["labels"]["unfair_p"] < 0.01
    assert found["labels"]["metrics"] == {}
    assert "no fair draw" in done.stdout


def test_the_same_window_twice_counts_once(watch, later, place):
    for _ in range(2):
        _, report = watch("twice", later[:1_000], "labels=is_threat")
    lines = (place / "watch" / "twice" / "history.jsonl").read_text().splitlines()
    assert len(lines) == 1
    assert report["labels"]["promise"]["rows"] == int((later["is_threat"][:1_000] == 0).sum())
    _, report = watch("twice", later[1_000:2_000], "labels=is_threat")
    assert report["labels"]["promise"]["rows"] == int((later["is_threat"][:2_000] == 0).sum())
    assert report["labels"]["any_time"]["fpr"]["rows"] == report["labels"]["promise"]["rows"]


def test_mistakes_are_one_sentence(watch, later, place):
    for words, code, sentence in (
        (["nowhere.csv"], 65, "nowhere.csv"),
        (["flows.csv", "labels=lable"], 65, "'lable'"),
        (["flows.csv", "every=often"], 64, "duration"),
    ):
        done = run_here("watch", "runs/x", *words, cwd=place)
        assert done.returncode == code
        assert sentence in done.stderr
        assert "Traceback" not in done.stderr
    done = run_here("watch", "runs/y", "flows.csv", cwd=place)
    assert done.returncode == 66
    (place / "alone").mkdir(exist_ok=True)
    best = place / "alone" / "best"
    if not best.exists():
        best.symlink_to(place / "runs" / "x" / "best")
    done = run_here("watch", "alone", "flows.csv", cwd=place)
    assert done.returncode == 66
    assert "reference rows" in done.stderr


def test_reference_rows_go_through_their_file_and_damage_is_a_sentence(place):
    raw = (place / "runs" / "x" / "reference.parquet").read_bytes()
    found = Reference.from_bytes(raw, "there")
    again = Reference.from_bytes(found.to_bytes(), "there")
    assert np.array_equal(found.x_num, again.x_num)
    assert np.array_equal(found.group, again.group)
    assert (found.part, found.missing, found.until) == (again.part, again.missing, again.until)
    assert json.dumps(found.schema.to_json()) == json.dumps(again.schema.to_json())
    for broken in (raw[:-20], b"", raw[:-9] + b"\1" + raw[-8:]):
        with pytest.raises(DataError, match="reference rows"):
            Reference.from_bytes(broken, "there")
