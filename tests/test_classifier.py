"""``JambaClassifier``: scikit-learn's own checks, and the tools that it is made for."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.inspection import permutation_importance
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from jamba_ray import ConfigError, DataError, JambaClassifier
from tests.inference.conftest import make_frame

NETWORK = JambaClassifier("mlp", epochs=20, settings={"model.hidden_dim": 32})
TREES = JambaClassifier("lightgbm", settings={"model.n_estimators": 20})


@parametrize_with_checks([TREES])
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks([NETWORK])
def test_scikit_learns_checks_of_a_network(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def table():
    frame = make_frame(400, seed=3)
    return frame.drop(columns="is_threat"), np.where(frame["is_threat"] == 1, "threat", "benign")


def test_mixed_columns_are_taken_as_they_are(table):
    X, y = table
    model = clone(NETWORK).fit(X, y)
    assert list(model.classes_) == ["benign", "threat"]
    assert list(model.feature_names_in_) == ["bytes", "rate", "service"]
    p = model.predict_proba(X)
    assert p.shape == (400, 2)
    np.testing.assert_allclose(p.sum(axis=1), 1.0)
    assert model.score(X, y) > 0.7
    np.testing.assert_array_equal(p[:, 1] >= 0.5, model.predict(X) == "threat")
    np.testing.assert_allclose(model.predictor_.predict_proba(X), p[:, 1], rtol=1e-5)


def test_the_same_seed_gives_the_same_model_and_a_pickle_scores_as_it_did(table):
    X, y = table
    one = clone(NETWORK).fit(X, y)
    np.testing.assert_array_equal(clone(NETWORK).fit(X, y).predict_proba(X), one.predict_proba(X))
    other = clone(NETWORK).set_params(random_state=1).fit(X, y)
    assert (other.predict_proba(X) != one.predict_proba(X)).any()
    again = pickle.loads(pickle.dumps(one))
    np.testing.assert_array_equal(again.predict_proba(X), one.predict_proba(X))
    names = {name.partition("/")[0] for name in one.snapshot_.tensors}
    assert names == {"model"}, "what only training needs is not kept"


def test_it_works_in_a_pipeline_and_in_cross_validation(table):
    X, y = table
    scaled = make_column_transformer(
        (StandardScaler(), make_column_selector(dtype_include="number")), remainder="passthrough"
    ).set_output(transform="pandas")
    scores = cross_val_score(make_pipeline(scaled, clone(TREES)), X, y, cv=3, scoring="roc_auc")
    assert scores.mean() > 0.7
    assert scores.shape == (3,)


def test_permutation_importance_finds_the_drivers(table):
    """Threats follow ``rate`` most; ``bytes`` is noise."""
    X, y = table
    model = clone(TREES).fit(X, y)
    found = permutation_importance(model, X, y, n_repeats=5, random_state=0).importances_mean
    assert found[1] > 0.1
    assert found[1] > 2 * max(found[0], found[2])


def test_the_threshold_may_be_that_of_the_best_f1(table):
    X, y = table
    model = clone(TREES).set_params(threshold="f1").fit(X, y)
    assert model.threshold_ == model.predictor_.threshold
    flagged = model.predict_proba(X)[:, 1] >= model.threshold_
    np.testing.assert_array_equal(model.predict(X) == "threat", flagged)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"model": "mpl"}, "`model.name` must be one of"),
        ({"epochs": -1}, "`training.epochs` must be above"),
        ({"settings": {"model.hiden_dim": 3}}, "not a setting.*hidden_dim"),
        ({"settings": {"data.path": "x"}}, "but has `data.path`"),
        ({"validation_fraction": 2.0}, "`split.val` must be below"),
    ],
)
def test_a_wrong_parameter_is_a_sentence(table, parameters, said):
    with pytest.raises(ConfigError, match=said):
        clone(NETWORK).set_params(**parameters).fit(*table)


def test_rows_that_cannot_be_used_are_a_sentence_and_a_value_error(table):
    X, y = table
    for rows, labels, said in (
        (X, np.zeros(400), "only the class"),
        (X, np.arange(400) % 3, "binary classification"),
        (X[[]].assign(same=1), y, "at least one feature that varies"),
    ):
        with pytest.raises(ValueError, match=said) as error:
            clone(TREES).fit(rows, labels)
        assert isinstance(error.value, DataError)
    model = clone(TREES).fit(X, y)
    with pytest.raises(ValueError, match="'rate'"):
        model.predict(X.assign(rate="fast"))


WITHOUT = """
import sys
sys.modules["sklearn"] = None  # as if it were not installed
import jamba_ray
try:
    jamba_ray.JambaClassifier
except jamba_ray.JambaError as error:
    print(error)
data = {"name": "synthetic", "n_samples": 400, "n_features": 6}
print(jamba_ray.train(data=data, model="lightgbm", quiet=True))
"""


def test_without_scikit_learn_all_else_works_and_a_sentence_says_what_to_install(tmp_path):
    words = [sys.executable, "-c", WITHOUT]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
    said, run = done.stdout.splitlines()
    assert said.startswith("`JambaClassifier` needs scikit-learn"), done.stderr
    assert said.endswith("Install it with `pip install 'jamba-ray[sklearn]'`.")
    assert run.startswith("Run(")


def test_scikit_learn_is_imported_where_it_trains_alone():
    package = Path(__file__).parents[1] / "jamba_ray"
    importing = [
        f.name
        for f in package.rglob("*.py")
        if "import sklearn" in (t := f.read_text()) or "from sklearn" in t
    ]
    # And by the families that train with it; what they trained scores without it.
    assert sorted(importing) == ["classifier.py", "extra_trees.py", "random_forest.py"]
