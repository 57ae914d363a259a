"""What every family with a ``fit`` of its own must do; to register one is to have it tested."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import numpy as np
import pytest

from jamba_ray.config.family import FAMILIES, TRAINERS, trains_alone
from jamba_ray.data.prepared import FeatureSchema, Rows
from jamba_ray.errors import CheckpointError, ConfigError
from jamba_ray.estimators.estimator import ARRAYS, ESTIMATORS, check_installed
from jamba_ray.evaluation import value_of
from jamba_ray.inference.scorer import scorer_of
from jamba_ray.training import fit
from tests.training.trials import Recorder, make_config, member

SMALL = {"n_estimators": 16, "max_depth": 5}
DRAWS_NOTHING = {"logistic"}
PACKAGES = ("sklearn", "xgboost", "catboost")

pytestmark = pytest.mark.parametrize("family", sorted(ESTIMATORS))


def model_of(family: str, **settings) -> dict:
    if (package := ESTIMATORS[family].requires) is not None:
        pytest.importorskip(package)
    fields = FAMILIES[family].model_fields
    return {"name": family, **{k: v for k, v in SMALL.items() if k in fields}, **settings}


def trained(family, data, rule=None, **training):
    recorder = Recorder(rule)
    (outcome,) = fit([member(0, model_of(family), **training)], data, recorder)
    return outcome, recorder


KEPT = {}
"""What was trained once for several tests."""


def once(family, data):
    if family not in KEPT:
        KEPT[family] = trained(family, data)
    return KEPT[family]


def scorer(family, snapshot, schema):
    return scorer_of(snapshot, make_config(model_of(family)), schema)


def scores(family, outcome, data):
    score = scorer(family, outcome.checkpoint, data.schema)
    return score(data.val.x_num, data.val.x_cat)


def of_shape(data, n_numeric, cardinalities):
    """The same labels with other columns."""
    rng = np.random.default_rng(5)

    def rows(old: Rows) -> Rows:
        n = len(old.y)
        x_num = rng.normal(size=(n, n_numeric)).astype(np.float32) + old.y[:, None]
        codes = [(rng.integers(0, size, n) + old.y.astype(int)) % size for size in cardinalities]
        x_cat = np.array(codes, dtype=np.int64).reshape(len(cardinalities), n).T.copy()
        return Rows(x_num=x_num, x_cat=x_cat, y=old.y)

    schema = FeatureSchema(
        numeric=tuple(f"n{i}" for i in range(n_numeric)),
        categorical=tuple(f"c{i}" for i in range(len(cardinalities))),
        cardinalities=cardinalities,
        bin_edges=((-1.0, 1.0),) * n_numeric,
    )
    return replace(data, schema=schema, train=rows(data.train), val=rows(data.val))


class TestFamily:
    def test_it_is_named_and_trains_alone(self, family):
        assert TRAINERS[family] == "estimator"
        assert trains_alone(family)
        assert FAMILIES[family]().name == family
        estimator = ESTIMATORS[family]
        assert (estimator.requires is None) == (estimator.extra is None)

    def test_it_learns_and_its_checkpoint_gives_what_the_outcome_says(self, family, data):
        outcome, recorder = once(family, data)
        assert outcome.state == "complete"
        assert [r.step for r in recorder.reports] == list(range(1, len(recorder.reports) + 1))
        assert recorder.reports[-1].rows_seen == 1800
        curve = recorder.curve(0, "val/average_precision")
        assert outcome.best_step == 1 + int(np.argmax(curve))
        value = value_of("average_precision", data.val.y, scores(family, outcome, data))
        assert value == outcome.value == pytest.approx(curve.max(), abs=1e-6)
        assert value > data.val.y.mean() + 0.15

    def test_equal_seeds_train_equal_models_and_report_the_same_again(self, family, data):
        """So a trial that was killed may start again: the study has seen its reports."""
        first, whole = once(family, data)
        again, rest = trained(family, data)
        assert [r.metrics for r in rest.reports] == [r.metrics for r in whole.reports]
        np.testing.assert_array_equal(scores(family, again, data), scores(family, first, data))
        other, _ = trained(family, data, seed=7)
        assert (scores(family, other, data) == scores(family, first, data)).all() == (
            family in DRAWS_NOTHING
        )

    def test_a_stopped_trial_resumes_to_what_an_uninterrupted_one_is(self, family, data):
        stopped, _ = trained(family, data, lambda r: "stop")
        assert stopped.state in ("stopped", "complete")  # complete: there was but one report
        assert stopped.checkpoint is not None
        whole, _ = once(family, data)
        (resumed,) = fit(
            [member(0, model_of(family))], data, Recorder(), resume={0: stopped.checkpoint}
        )
        assert resumed.value == whole.value
        with pytest.raises(CheckpointError, match="must resume from a checkpoint of the same"):
            fit(
                [member(0, model_of(family), threat_weight=2.0)],
                data,
                Recorder(),
                resume={0: stopped.checkpoint},
            )

    def test_a_pruned_trial_ends_at_once(self, family, data):
        outcome, recorder = trained(family, data, lambda r: "prune")
        assert (outcome.state, len(recorder.reports)) == ("pruned", 1)
        assert outcome.checkpoint is None

    def test_what_its_reporter_raises_passes_through(self, family, data):
        class Lost(BaseException):
            pass

        def lose(report):
            raise Lost

        with pytest.raises(Lost):
            trained(family, data, lose)

    def test_a_heavier_threat_scores_higher(self, family, data):
        # Leaves of one row are pure whatever a row weighs.
        mixed = {k: 20 for k in FAMILIES[family].model_fields if k == "min_samples_leaf"}
        model = model_of(family, **mixed)
        light, heavy = (
            fit([member(0, model, threat_weight=w)], data, Recorder())[0] for w in (1.0, 20.0)
        )
        assert scores(family, heavy, data).mean() > scores(family, light, data).mean() + 0.1

    @pytest.mark.parametrize(
        ("n_numeric", "cardinalities"), [(3, ()), (0, (4, 40)), (1, ()), (0, (2,))]
    )
    def test_any_columns_will_do(self, family, data, n_numeric, cardinalities):
        shaped = of_shape(data, n_numeric, cardinalities)
        outcome, _ = trained(family, shaped)
        assert outcome.value > 0.9 * shaped.val.y.mean()
        p = scores(family, outcome, shaped)
        assert ((p >= 0.0) & (p <= 1.0)).all()

    def test_a_row_is_scored_whatever_it_holds_and_whoever_is_beside_it(self, family, data):
        outcome, _ = once(family, data)
        score = scorer(family, outcome.checkpoint, data.schema)
        x_num, x_cat = data.val.x_num.copy(), data.val.x_cat.copy()
        x_num[:5], x_cat[:5] = [[8.0, -8.0, 0.0, -0.0]], 0
        x_cat[5:9] = 2**20  # no such code, yet nothing may crash
        together = score(x_num, x_cat)
        assert np.isfinite(together).all()
        for some in (slice(0, 1), slice(3, 50)):
            np.testing.assert_array_equal(score(x_num[some], x_cat[some]), together[some])
        assert score(x_num[:0], x_cat[:0]).shape == (0,)
        odds = score.log_odds(x_num, x_cat)
        np.testing.assert_allclose(1.0 / (1.0 + np.exp(-odds)), together, atol=1e-8)

    def test_contributions_add_up_to_the_log_odds(self, family, data):
        outcome, _ = once(family, data)
        score = scorer(family, outcome.checkpoint, data.schema)
        found = score.contributions(data.val.x_num, data.val.x_cat)
        if found is not None:
            values, base = found
            assert values.shape == (len(data.val), 6)
            odds = score.log_odds(data.val.x_num, data.val.x_cat)
            np.testing.assert_allclose(values.sum(axis=1) + base, odds, atol=1e-6)

    def test_its_checkpoint_is_plain_and_scores_without_the_package(
        self, family, data, monkeypatch
    ):
        outcome, _ = once(family, data)
        snapshot = outcome.checkpoint
        assert not snapshot.blobs
        assert all(a.dtype.kind in "iufb" for a in snapshot.tensors.values())
        json.dumps(snapshot.documents, allow_nan=False)
        expected = scores(family, outcome, data)
        for name in [n for n in sys.modules if n.split(".")[0] in PACKAGES]:
            monkeypatch.delitem(sys.modules, name)
        for name in PACKAGES:
            monkeypatch.setitem(sys.modules, name, None)  # an import of it raises now
        config = make_config(outcome.checkpoint.documents["config"]["model"])
        found = scorer_of(snapshot, config, data.schema)(data.val.x_num, data.val.x_cat)
        np.testing.assert_array_equal(found, expected)

    def test_arrays_that_are_not_its_own_are_refused(self, family, data):
        snapshot = once(family, data)[0].checkpoint
        names = [name for name in snapshot.tensors if name.startswith(ARRAYS)]
        assert names
        for name in names:
            array = snapshot.tensors[name]
            mutants = {
                "missing": {k: v for k, v in snapshot.tensors.items() if k != name},
                "longer": {**snapshot.tensors, name: np.concatenate([array, array[:1]])},
                "of two dimensions": {**snapshot.tensors, name: array[None]},
                "of another type": {**snapshot.tensors, name: array.astype(np.float16)},
            }
            if array.dtype.kind == "f":
                mutants["no number"] = {**snapshot.tensors, name: array * np.nan}
            for tensors in mutants.values():
                with pytest.raises(CheckpointError, match=rf"is no {family} \("):
                    scorer(family, replace(snapshot, tensors=tensors), data.schema)
        more = {**snapshot.tensors, f"{ARRAYS}more": np.zeros(1)}
        with pytest.raises(CheckpointError):
            scorer(family, replace(snapshot, tensors=more), data.schema)

    def test_a_missing_package_is_one_sentence(self, family, data, monkeypatch):
        estimator = ESTIMATORS[family]
        model = model_of(family)
        if estimator.requires is None:
            check_installed([family])
            return
        monkeypatch.setattr(estimator, "requires", "no_such_package")
        with pytest.raises(ConfigError) as caught:
            fit([member(0, model)], data, Recorder())
        assert caught.value.mistakes == (
            f"`model.name` {family!r} needs the package no_such_package, which is not installed. "
            f"Run `pip install 'jamba-ray[{estimator.extra}]'`, or choose another model.",
        )

    def test_members_do_not_stack(self, family, data):
        model = model_of(family)
        with pytest.raises(ValueError, match="does not stack"):
            fit([member(0, model), member(1, model)], data, Recorder())
