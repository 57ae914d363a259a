"""What is kept as arrays scores as the library that trained it does."""

from __future__ import annotations

import numpy as np
import pytest

from jamba_ray.config.family import FAMILIES
from jamba_ray.data.mapped_rows import side_by_side
from jamba_ray.estimators.arrays.target_means import TargetMeans
from jamba_ray.estimators.estimator import ESTIMATORS, Columns, Task


class Watching:
    """Wants scores after every few rounds, and keeps the last."""

    p = None

    def due(self, rounds):
        return min(rounds + 7, 20)

    def __call__(self, rounds, p):
        self.p = p
        return True


def fitted(name, data, **settings):
    """(The estimator as loaded again, the scores that its library gave, the judged rows)."""
    section = FAMILIES[name](**settings)
    columns = Columns(len(data.schema.numeric), data.schema.cardinalities)
    estimator, watch, judged = (
        ESTIMATORS[name](section, columns),
        Watching(),
        side_by_side(data.val),
    )
    estimator.fit(Task(side_by_side(data.train), data.train.y, judged, 1.5, 3, 1, watch))
    again = ESTIMATORS[name](section, columns)
    again.load(estimator.save(estimator.n_rounds))
    return again, watch.p, judged


@pytest.mark.parametrize("name", ["random_forest", "extra_trees"])
def test_a_forest_grown_in_steps_is_scikit_learns(name, data):
    ensemble = pytest.importorskip("sklearn.ensemble")
    kind = {"random_forest": "RandomForestClassifier", "extra_trees": "ExtraTreesClassifier"}
    found, kept, judged = fitted(name, data, n_estimators=20, min_samples_leaf=3)
    theirs = getattr(ensemble, kind[name])(
        n_estimators=20, min_samples_leaf=3, max_leaf_nodes=15_000, random_state=3
    ).fit(side_by_side(data.train), data.train.y, np.where(data.train.y == 1, 1.5, 1.0))
    expected = theirs.predict_proba(judged)[:, 1]
    np.testing.assert_allclose(found.predict_proba(judged), expected, atol=1e-12)
    np.testing.assert_allclose(kept, expected, atol=1e-12)


@pytest.mark.parametrize("name", ["xgboost", "catboost"])
def test_boosted_trees_score_as_their_library(name, data):
    pytest.importorskip(name)
    pruned = {"gamma": 2.0} if name == "xgboost" else {}
    for settings in ({}, {"max_depth": 1}, {"subsample": 0.5, **pruned}):
        found, kept, judged = fitted(name, data, n_estimators=20, **settings)
        np.testing.assert_allclose(found.predict_proba(judged), kept, atol=2e-6)
        values, base = found.contributions(judged)
        assert values.shape == judged.shape
        np.testing.assert_allclose(values.sum(axis=1) + base, found.log_odds(judged), atol=1e-9)


def test_logistic_has_scikit_learns_optimum(data):
    linear = pytest.importorskip("sklearn.linear_model")
    found, kept, judged = fitted("logistic", data, inverse_penalty=0.3)

    def one_hot(rows):
        codes = [np.eye(3)[rows.x_cat[:, j]] for j in range(2)]
        return np.column_stack([rows.x_num, *codes])

    theirs = linear.LogisticRegression(C=0.3, tol=1e-8, max_iter=1000).fit(
        one_hot(data.train), data.train.y, np.where(data.train.y == 1, 1.5, 1.0)
    )
    expected = theirs.predict_proba(one_hot(data.val))[:, 1]
    np.testing.assert_allclose(found.predict_proba(judged), expected, atol=1e-4)
    np.testing.assert_array_equal(kept, found.predict_proba(judged))


def test_a_target_mean_does_not_know_its_own_label():
    """Each row in a category of its own: the label would be told by a mean that holds it."""
    n = 400
    columns = Columns(0, (n,))
    x = np.arange(n, dtype=np.float32)[:, None]
    y = (np.random.default_rng(0).random(n) < 0.4).astype(np.float32)
    means, with_means = TargetMeans.fit(columns, x, y, seed=0)
    np.testing.assert_allclose(with_means[:, 1], y.mean(), atol=1e-6)
    assert np.corrcoef(means(x)[:, 1], y)[0, 1] == pytest.approx(1.0)  # the twin: it would


def test_a_target_mean_is_the_shrunk_share_of_its_category():
    columns = Columns(1, (3, 2))
    codes = np.array([1, 1, 1, 2] * 50)
    y = (codes == 2).astype(np.float32)
    x = np.column_stack([np.zeros(200), codes, codes % 2]).astype(np.float32)
    means, with_means = TargetMeans.fit(columns, x, y, seed=0)
    assert means.features == [1]  # two codes split one way only
    prior = 10 * 0.25
    np.testing.assert_allclose(means.means, [0.25, prior / 160, (50 + prior) / 60], atol=1e-6)
    assert with_means.shape == (200, 4)
    odd = np.array([[0.0, 99.0, 0.0], [0.0, -5.0, 0.0]], dtype=np.float32)
    np.testing.assert_allclose(means(odd)[:, 3], means.means[[2, 0]])
