"""Tests that the rows that are asked for stand for the whole window."""

from __future__ import annotations

import numpy as np
import pytest

from jamba_ray.evaluation.asked import ask, strata, stratified_rates


def window(rng, n=8_000):
    score = rng.beta(0.5, 4.0, n)
    return score, score >= 0.4, rng.random(n) < score


def truth(label, flagged):
    return {
        "recall": label[flagged].sum() / label.sum(),
        "precision": label[flagged].mean(),
        "fpr": (flagged & ~label).sum() / (~label).sum(),
        "threat_share": label.mean(),
    }


def missed(n_windows, n, seed):
    rng = np.random.default_rng(seed)
    out = dict.fromkeys(("recall", "precision", "fpr", "threat_share"), 0)
    widths = []
    for i in range(n_windows):
        chance, flagged, label = window(rng)
        drawn = ask(chance, flagged, n, i)
        found = stratified_rates(
            label[drawn.rows], flagged[drawn.rows], drawn.stratum, drawn.stratum_rows, i
        )
        for name, value in truth(label, flagged).items():
            out[name] += not found[name]["low"] <= value <= found[name]["high"]
        widths.append(found["recall"]["high"] - found["recall"]["low"])
    return out, np.mean(widths)


def test_about_as_many_rows_are_drawn_as_asked_for_with_the_chances_that_they_say():
    chance, flagged, _ = window(np.random.default_rng(0))
    sizes = [len(ask(chance, flagged, 200, i).rows) for i in range(20)]
    assert abs(np.mean(sizes) - 200) < 15
    drawn = ask(chance, flagged, 200, 1)
    assert (1.0 / drawn.chance).sum() == pytest.approx(len(chance), rel=0.25)
    assert len(np.unique(strata(chance, flagged)[flagged])) >= 3
    assert set(strata(chance, flagged)[flagged]).isdisjoint(strata(chance, flagged)[~flagged])


def test_fewer_rows_than_asked_for_are_all_drawn():
    chance, flagged, _ = window(np.random.default_rng(0), 50)
    assert len(ask(chance, flagged, 500).rows) == 50


def test_the_intervals_hold_for_the_whole_window():
    found, _ = missed(25, 200, 1)
    assert max(found.values()) <= 5


@pytest.mark.slow
def test_the_intervals_hold_for_the_whole_window_in_200():
    found, width = missed(200, 200, 2)
    assert max(found.values()) <= 18
    assert width < 0.3


def test_taking_the_labels_for_a_fair_draw_would_be_wrong():
    """The sabotage twin: the same labels without their strata."""
    rng = np.random.default_rng(3)
    chance, flagged, label = window(rng)
    drawn = ask(chance, flagged, 400)
    naive = label[drawn.rows].mean()
    found = stratified_rates(
        label[drawn.rows], flagged[drawn.rows], drawn.stratum, drawn.stratum_rows
    )["threat_share"]
    assert found["low"] <= label.mean() <= found["high"]
    assert naive > 1.5 * label.mean()
