"""Labels: 0 and 1 in any sensible spelling, everything else in one sentence."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from jamba_ray.config.data import TableSection
from jamba_ray.data import LabelRule, labels
from jamba_ray.data.labels import asked_rule, labels_and_rule, rule_note
from jamba_ray.errors import DataError


@pytest.mark.parametrize(
    "cells",
    [
        [0, 1, 1],
        [0.0, 1.0, 1.0],
        [False, True, True],
        ["0", "1", " 1.0 "],
        ["false", "True", "TRUE"],
        pd.Categorical(["0", "1", "1"]),
        pd.array([0, 1, 1], dtype="Int64"),
        np.array([0, 1, 1], dtype=np.uint8),
    ],
)
def test_spellings(cells):
    y = labels(pd.DataFrame({"is_threat": cells}), "is_threat")
    assert y.dtype == np.float32
    assert y.tolist() == [0.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("cells", "sentence"),
    [
        ([0, 1, 2], r"1 of 3 rows of f.csv hold .*'2' \(1 rows\).* 'data.negative=\[\"0\"\]'"),
        ([0, 1, -1], "'-1'"),
        ([0.5, 1, 0], "'0.5'"),
        ([0, 1, float("inf")], "'inf'"),
        (["left", "right", "right"], r"3 of 3 .*'right' \(2 rows\).* 'data.negative=\[right\]'"),
        (["0", "DDoS", "Bot"], r"data.negative=\["),
        (["yes", "maybe", "no"], r"data.negative=\["),
        ([0, 1, 2, 3], r"data.positive=\["),
        ([f"host-{i}" for i in range(200)], "200 different values such as 'host-0'"),
        ([0, 1, None], "1 of 3 rows of f.csv have none in 'is_threat'"),
        (["0", "1", None], "have none"),
        (pd.array([0, 1, None], dtype="Int64"), "have none"),
        (["benign", "", "attack"], r"1 of 3 rows .* data.negative=\[''\]"),
        (pd.date_range("2026", periods=3), "must be 0 or 1"),
    ],
)
def test_refused(cells, sentence):
    with pytest.raises(DataError, match=sentence):
        labels(pd.DataFrame({"is_threat": cells}), "is_threat", source="f.csv")


def test_a_missing_target_names_the_nearest_column():
    with pytest.raises(DataError, match=r"f\.csv .*'is_threat'.* Did you mean `is_thraet`\?"):
        labels(pd.DataFrame({"is_thraet": [0, 1]}), "is_threat", source="f.csv")


class TestWords:
    """Values of which it is plain which are threats; everything else is asked for."""

    @pytest.mark.parametrize(
        "cells",
        [
            ["benign", "malicious", "malicious"],
            ["BENIGN", "DDoS", "Web Attack \u2013 XSS"],
            ["normal.", "neptune.", "smurf."],
            ["Normal", "anomaly", "Anomaly "],
            ["BenignTraffic", "DDoS-ICMP_Flood", "Mirai"],
            ["no", "YES", "yes"],
            ["N", "Y", "Y"],
            [-1, 1, 1],
            ["-1.0", "1", "1.0"],
            ["Legitimate", "Fraud", "Fraud"],
            ["f", "t", "t"],
            pd.Categorical(["benign", "attack", "attack"]),
        ],
    )
    def test_read_and_said(self, cells):
        y, rule = labels_and_rule(pd.DataFrame({"label": cells}), "label", None)
        assert y.tolist() == [0.0, 1.0, 1.0]
        note = rule_note(rule, "label")
        assert str(cells[0]).removesuffix(".0") in note
        assert "data.positive" in note
        assert rule is not None
        assert LabelRule.from_json(rule.to_json()) == rule

    @pytest.mark.parametrize(
        ("positive", "negative", "cells"),
        [
            ("right", None, ["left", "right", "right"]),
            (None, ["left", "up"], ["left", "right", "down"]),
            (["right"], ["LEFT"], ["left", "right", " Right"]),
            (None, 1, [1, 0, 2]),
            (2, None, [1.0, 2.0, 2.0]),
            (True, None, [False, True, True]),
            (None, "", [None, "DoS", "Bot"]),
            ("", None, ["x", None, " "]),
        ],
    )
    def test_asked_for(self, positive, negative, cells):
        section = TableSection(path="f.csv", positive=positive, negative=negative)
        rule = asked_rule(section.positive, section.negative)
        frame = pd.DataFrame({"label": cells})
        y, used = labels_and_rule(frame, "label", rule, is_test=True)
        assert y.tolist() == [0.0, 1.0, 1.0]
        assert used == rule

    def test_misspelt_values_are_refused_also_in_a_test(self):
        frame = pd.DataFrame({"label": ["left", "right"]})
        for is_test in (False, True):
            with pytest.raises(DataError, match=r"data.positive .* no 'rihgt' .*mean `right`"):
                labels_and_rule(frame, "label", asked_rule(["rihgt"], []), is_test=is_test)
        rule = asked_rule(["DDoS"], [])
        with pytest.raises(DataError, match="no 'DDoS' there; it has 'left'"):
            labels_and_rule(frame, "label", rule)
        assert labels(frame, "label", LabelRule((), ("DDoS",), 0.0)).tolist() == [0.0, 0.0]

    def test_values_that_neither_list_names_are_refused(self):
        frame = pd.DataFrame({"label": ["left", "right", "up", "up"]})
        with pytest.raises(
            DataError, match=r"2 of 4 rows .*'up' \(2 rows\); .*data.positive=\[up\]"
        ):
            labels(frame, "label", asked_rule(["right"], ["left"]))

    def test_a_rule_that_was_learnt_gives_way_to_plain_labels_only(self):
        learnt = LabelRule(("BENIGN",), (), 1.0)

        def read(cells, rule):
            return labels(pd.DataFrame({"label": cells}), "label", rule).tolist()

        assert read(["benign", "new attack"], learnt) == [0.0, 1.0]
        assert read([1, 0], learnt) == [1.0, 0.0]
        assert read(["benign", "DDoS"], LabelRule(("normal",), ("attack",), None)) == [0.0, 1.0]
        assert read(["benign", "malicious"], None) == [0.0, 1.0]
        # What the user said holds for 0 and 1 too.
        assert read([1, 0], LabelRule(("1",), (), 1.0, is_asked=True)) == [0.0, 1.0]
