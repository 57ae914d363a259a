from __future__ import annotations

import pytest

from jamba_ray.reports.rivals import baseline_of, better_rival, rival_sentences


def compared(value, low, high, **more):
    return {"average_precision": {"value": value, "low": low, "high": high, **more}}


SAME, LOSES, WINS = compared(0.0, -0.1, 0.1), compared(-0.2, -0.3, -0.1), compared(0.2, 0.1, 0.3)


def summary(baseline, **rivals):
    listed = [{"model": name, "comparison": found} for name, found in rivals.items()]
    return {"objective": "average_precision", "baseline": {"model": baseline}, "rivals": listed}


def test_each_rival_has_a_sentence_the_baseline_first():
    found = rival_sentences(summary("random_forest", lightgbm=WINS, random_forest=SAME), "test")
    assert found == [
        "avg precision on test: not distinguishable from random forest with its defaults: "
        "+0.0000 [-0.1000, +0.1000].",
        "avg precision on test: better than LightGBM with its defaults by "
        "+0.2000 [+0.1000, +0.3000].",
    ]


def test_a_default_that_is_surely_better_is_to_be_used():
    found = summary("lightgbm", lightgbm=SAME, xgboost=LOSES, logistic=WINS)
    assert better_rival(found)["model"] == "xgboost"
    last = rival_sentences(found, "test")[-1]
    assert last == "Use XGBoost with its defaults instead: `model=xgboost`."
    worse = compared(-0.4, -0.5, -0.3)
    several = summary("lightgbm", lightgbm=LOSES, catboost=worse, mlp=LOSES)
    assert better_rival(several)["model"] == "catboost"
    few = compared(-0.4, -0.5, -0.3, too_few="only 1 threat")
    assert better_rival(summary("lightgbm", lightgbm=few)) is None


def test_one_that_could_not_be_trained_says_why():
    found = {"rivals": [{"model": "catboost", "reason": "it needs a package."}], "baseline": None}
    assert rival_sentences(found, "test") == [
        "CatBoost could not be trained for comparison: it needs a package."
    ]
    assert better_rival(found) is None


@pytest.mark.parametrize("named", [{}, {"model": "lightgbm"}])
def test_a_summary_of_an_earlier_version_has_one_rival(named):
    old = {"objective": "log_loss", "baseline": {**named, "val": {}}, "comparison": LOSES}
    assert baseline_of(old) == "LightGBM"
    assert len(rival_sentences(old, "validation")) == 2
    assert better_rival(old)["model"] == "lightgbm"
    assert rival_sentences({"baseline": None}, "test") == []
