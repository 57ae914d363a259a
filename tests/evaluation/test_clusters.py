"""Tests that intervals over groups hold what intervals over rows of the same groups miss."""

import numpy as np
import pytest
from scipy.special import expit

from jamba_ray.evaluation import compare, intervals, score, too_few
from jamba_ray.evaluation.clusters import cluster_resamples, clusters_of
from jamba_ray.evaluation.goal import operating_point
from jamba_ray.evaluation.groups import drawn_groups


def hosts(rng, n, models=1, rows=40):
    """Returns labels, hosts and the scores of models whose errors hosts share."""
    group = np.repeat(np.arange(n), rows)
    y = (rng.random(len(group)) < 0.3).astype(float)
    noise = rng.normal(size=(models, len(group)))
    host = rng.normal(size=(models, n))[:, group]
    return y, group.astype(str), expit(1.5 * y + host + noise)


def coverage(n_draws, n_hosts, *, sabotaged, n=200):
    """Returns how often the interval of ROC AUC holds the truth, and how often two equally good
    models are told apart."""
    rng = np.random.default_rng(1)
    y, _, (p,) = hosts(rng, 6000)
    truth = score(y, p)["roc_auc"]
    found = []
    for _ in range(n_draws):
        y, group, (p, q) = hosts(rng, n_hosts, models=2)
        over = None if sabotaged else group
        one = intervals(y, p, n=n, group=over)["roc_auc"]
        apart = compare(y, p, q, n=n, group=over)["roc_auc"]["excludes_zero"]
        found.append((one["low"] <= truth <= one["high"], apart))
    return np.mean(found, axis=0)


def test_groups_hold_the_truth_where_rows_of_groups_do_not():
    held, apart = coverage(12, 20, sabotaged=False, n=60)
    assert held >= 0.8
    assert apart <= 0.2
    held_by_rows, apart_by_rows = coverage(12, 20, sabotaged=True, n=60)
    assert held_by_rows < held or apart_by_rows > apart


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("n_hosts", [12, 37])
def test_the_interval_over_groups_holds_the_truth_as_that_over_rows_does_not(n_hosts):
    held, apart = coverage(200, n_hosts, sabotaged=False)
    assert held >= 0.85
    assert apart <= 0.1
    held, apart = coverage(200, n_hosts, sabotaged=True)
    assert held <= 0.83
    assert apart >= 0.12


def test_whole_groups_are_drawn_and_the_background_row_by_row():
    group = np.array(["normal"] * 60 + ["dos"] * 10 + ["scan"] * 20 + ["r2l"] * 5)
    labels = group != "normal"
    clusters = clusters_of(labels, group)
    assert clusters.groups == clusters.fewest == 3
    assert clusters.effective == pytest.approx(35**2 / (100 + 400 + 25))
    for times in cluster_resamples(clusters, 20, seed=0):
        assert times[:60].sum() == 60
        assert times[:60].max() > 1
        for name in ("dos", "scan", "r2l"):
            assert len(set(times[group == name])) == 1
        assert times[60:].any()


def test_each_resample_has_both_labels():
    # Most groups are of one label; one host has both.
    group = np.array(list("aaabbbcccdddeeefff"))
    labels = np.isin(group, ["a", "b"]) | (np.arange(18) == 6)
    for times in cluster_resamples(clusters_of(labels, group), 100, seed=0):
        assert times[labels].sum()
        assert times[~labels].sum()


def test_one_group_of_each_kind_leaves_rows_to_draw():
    assert clusters_of(np.arange(10) < 5, np.repeat(["a", "b"], 5)) is None
    assert clusters_of(np.arange(10) < 5, np.repeat(["a"], 10)) is None


def test_few_groups_decide_nothing():
    y, group, (p, q) = hosts(np.random.default_rng(0), 4, models=2, rows=500)
    assert "only 4 groups" in too_few(y, group)
    assert too_few(y) is None
    found = compare(y, p, q, n=50, group=group)["roc_auc"]
    assert found["groups"] == 4
    assert not found["excludes_zero"]


def test_groups_count_where_most_threats_are_of_new_ones():
    y = np.array([1, 1, 1, 0, 0])
    group = np.array(["a", "b", "c", "d", "d"])
    assert drawn_groups(y, group, np.array(["a", "d"])) is group
    assert drawn_groups(y, group, np.array(["a", "b"])) is None
    assert drawn_groups(y, group, None) is None
    assert drawn_groups(np.zeros(5), group, np.array(["a"])) is group


def test_rates_at_a_threshold_are_over_groups():
    y, group, (p,) = hosts(np.random.default_rng(0), 12)
    rows, drawn = operating_point(y, p, 0.6), operating_point(y, p, 0.6, group)
    assert drawn["groups"] == 12
    for name in ("fpr", "recall", "precision"):
        assert drawn[name]["value"] == rows[name]["value"]
        assert drawn[name]["low"] <= rows[name]["low"] < rows[name]["high"] <= drawn[name]["high"]
    assert drawn["fpr"]["high"] > rows["fpr"]["high"] + 0.05
