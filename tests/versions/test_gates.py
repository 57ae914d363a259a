"""Gates: what each demands, and that what they found is in the log."""

import io
import json

import numpy as np
import pandas as pd
import pytest

from jamba_ray.config.registry import GateSection, JudgedSection
from jamba_ray.errors import GateError
from jamba_ray.inference.predictor import read_model
from jamba_ray.versions import actions
from jamba_ray.versions.gates import (
    JudgedRows,
    against_champion,
    judged,
    limited,
    parity_of_exports,
    thresholds_hold,
)
from jamba_ray.versions.model_log import ModelLog
from jamba_ray.versions.place import FolderPlace
from jamba_ray.versions.source import read_source
from tests.versions.conftest import promote, register


def rows_of(better, n=600, seed=0):
    """Returns rows on which the new model is better than, worse than or equal to the old one."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.3).astype(int)
    clear = np.clip(0.5 * labels + 0.25 + rng.normal(0, 0.15, n), 0, 1)
    dull = np.clip(0.2 * labels + 0.4 + rng.normal(0, 0.25, n), 0, 1)
    new, old = {"yes": (clear, dull), "no": (dull, clear), "equal": (clear, clear)}[better]
    return JudgedRows(labels, new, old, None, "new.csv")


@pytest.mark.parametrize(
    ("demand", "better", "passes"),
    [
        ("better", "yes", True),
        ("better", "equal", False),
        ("not_worse", "equal", True),
        ("not_worse", "no", False),
        ("none", "no", True),
    ],
)
def test_the_paired_test_decides(demand, better, passes):
    rows = rows_of(better, n=250)
    gate = against_champion(GateSection(champion=demand), "champion", 4, rows)
    assert gate.passes is passes
    assert "differs from version 4 by" in gate.words
    assert gate.values["low"] <= gate.values["value"] <= gate.values["high"]


def test_too_few_rows_and_rows_of_one_kind_prove_nothing():
    few = rows_of("yes")
    few = JudgedRows(few.labels[:12], few.new[:12], few.old[:12], None, "new.csv")
    gate = against_champion(GateSection(), "champion", 4, few)
    assert not gate.passes
    assert "too few rows" in gate.words
    one = JudgedRows(np.ones(40), np.ones(40), np.ones(40), None, "new.csv")
    assert not against_champion(GateSection(), "champion", 4, one).passes
    assert not against_champion(GateSection(), "champion", 4, None).passes
    assert against_champion(GateSection(), "champion", None, None).passes


def test_a_limit_is_a_limit():
    assert limited("size", "MB of weights", 5.0, 5.0, "gate.size_mb").passes
    assert not limited("size", "MB of weights", 5.1, 5.0, "gate.size_mb").passes
    assert limited("size", "MB of weights", 5.1, None, "gate.size_mb").passes
    assert not parity_of_exports(GateSection(), {"parity": {"onnx": ""}}).passes
    assert parity_of_exports(GateSection(), {"parity": {"onnx": "20 rows"}}).passes


class Cut:
    """A model with one threshold that promises at most 5 % of benign rows."""

    thresholds = {"default": {}}  # noqa: RUF012

    def __init__(self, holds=True):
        self.holds = holds

    def promise_of(self, name):
        base = {"rate": "false_alarm", "limit": 0.05, "by": None, "bounds": []}
        return {**base, "holds": self.holds, "sentence": "At most 5 %."}

    def threshold_of(self, name):
        return 0.5, "saved"


def test_rows_that_refuse_a_promise_refuse_the_version():
    n = 400
    benign = JudgedRows(np.zeros(n), np.full(n, 0.4), None, None, "new.csv")
    flagged = JudgedRows(np.zeros(n), np.where(np.arange(n) < 80, 0.9, 0.1), None, None, "new.csv")
    kept, proven = GateSection(), GateSection(thresholds="proven")
    assert thresholds_hold(kept, Cut(), benign).passes
    broken = thresholds_hold(kept, Cut(), flagged)
    assert not broken.passes
    assert "a promise is broken ('default': on new.csv 20 %" in broken.words
    assert thresholds_hold(GateSection(thresholds="none"), Cut(), flagged).passes
    assert thresholds_hold(kept, Cut(holds=False), flagged).passes
    assert not thresholds_hold(proven, Cut(holds=False), None).passes
    assert thresholds_hold(proven, Cut(), None).passes


@pytest.fixture
def place(runs, tmp_path):
    place = FolderPlace(tmp_path / "registry")
    register(place, runs / "a")
    register(place, runs / "b")
    promote(place, 1)
    return place


def test_a_worse_version_is_refused_and_a_forced_one_is_recorded(place, runs):
    data = JudgedSection(path=str(runs / "labelled.csv"))
    worse = actions.candidate(place, "threats", 2, "champion")
    found = judged(worse, GateSection(size_mb=1e-6), data, lambda note: None)
    assert [one.name for one in found if not one.passes] == ["champion", "size"]
    with pytest.raises(GateError, match=r"champion: average_precision differs .*; size: "):
        actions.promote(worse, found, None, "", None)
    assert ModelLog(place, "threats").log.aliases == {"champion": 1}
    actions.promote(worse, found, "the feed of 1 is gone", "", None)
    entry = ModelLog(place, "threats").log.entries[-1]
    assert entry.force == "the feed of 1 is gone"
    assert {g["name"]: g["passes"] for g in entry.gates}["champion"] is False
    assert json.loads(entry.line())["gates"][0]["values"]["against"] == 1
    better = actions.candidate(place, "threats", 1, "champion")
    found = judged(better, GateSection(champion="better"), data, lambda note: None)
    assert all(one.passes for one in found), [one.words for one in found]
    assert actions.promote(better, found, "not needed", "", None).force is None


def test_a_challenger_is_judged_by_nothing(place):
    challenger = actions.candidate(place, "threats", 2, "challenger")
    assert judged(challenger, GateSection(), JudgedSection(), lambda note: None) == []


def test_runs_judged_on_the_same_test_rows_need_no_further_ones(place, runs):
    """The scores that both runs keep; without them nothing can be compared."""
    none = actions.candidate(place, "threats", 2, "champion")
    found = judged(none, GateSection(), JudgedSection(), lambda note: None)
    assert not found[0].passes
    assert "data.path=<labelled rows> gives both the same ones" in found[0].words
    numbers = []
    for run, p in (("a", "old"), ("b", "new")):
        rows = rows_of("yes")
        frame = pd.DataFrame(
            {"part": "test", "label": rows.labels, "probability": getattr(rows, p)}
        )
        buffer = io.BytesIO()
        frame.to_parquet(buffer, index=False)
        source = read_source(str(runs / run))
        source.files["evidence/scores.parquet"] = buffer.getvalue()
        saved = read_model(runs / run)
        entry = actions.register(place, "scored", source, saved, [], None, "", None)
        numbers.append(entry.version)
    actions.promote(actions.candidate(place, "scored", 1, "champion"), [], None, "", None)
    both = actions.candidate(place, "scored", 2, "champion")
    found = judged(both, GateSection(champion="better"), JudgedSection(), lambda note: None)
    assert found[0].passes, found[0].words
    assert "on 600 rows of the test rows of both runs" in found[0].words
