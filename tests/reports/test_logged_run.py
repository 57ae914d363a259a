"""``log_run``: a run trained by other means stands beside ours."""

import numpy as np
import pytest

import jamba_ray
from jamba_ray import report
from jamba_ray.config.direction import badness, better, direction_of, lead
from jamba_ray.errors import ConfigError, RunExistsError
from jamba_ray.evaluation import METRICS
from jamba_ray.reports.run import Run
from jamba_ray.tracking.run_reader import tracked_runs
from tests.tracking.folders import make_run

HISTORY = [
    {"train/loss": 1.0 / e, "roc_auc": 0.9 + 0.01 * e, "val/average_precision": 0.94 + 0.01 * e}
    for e in range(1, 6)
]


@pytest.fixture
def store(tmp_path, ours):
    (tmp_path / "night-1").symlink_to(ours)
    return tmp_path


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "night-1", n_trials=2)[0].path


def logged(store, **changes):
    given = {
        "params": {"model": "xgboost", "n_heads": np.int64(8), "training.rate": 0.5, "epochs": 5},
        "metrics": {"roc_auc": 0.95, "average_precision": 0.99, "test/roc_auc": 0.93},
        "history": HISTORY,
        "name": "theirs",
        "store": store,
        **changes,
    }
    return jamba_ray.log_run(**given)


def test_it_is_found_compared_and_reported_as_any_run(store, capsys):
    run = logged(store)
    best = jamba_ray.get_best_runs(store, metric="average_precision", top_n=1)
    assert list(best["run"]) == ["theirs"]
    assert best.loc[0, "model"] == "xgboost"
    assert best.loc[0, "params.model.n_heads"] == 8
    assert best.loc[0, "params.training.epochs"] == 5
    assert jamba_ray.get_best_runs(store, "roc_auc").set_index("run").loc["theirs", "test"] == 0.93
    impact = jamba_ray.analyze_parameter_impact([store / "night-1", run])
    assert "training.rate" in set(impact["parameter"])  # one parameter, in both
    for plot in (jamba_ray.plot_run_comparison, jamba_ray.plot_learning_curves):
        assert "theirs" in plot([store / "night-1", run])._repr_html_()
    assert report.COMMAND.main(["runs=[night-1,theirs]", f"store={store}"]) == 0
    assert "theirs is ahead with average_precision 0.9900" in capsys.readouterr().out


def test_its_own_report_says_what_was_logged_and_claims_no_interval(store, capsys):
    run = logged(store, objective="roc_auc")
    assert report.COMMAND.main(["run=theirs", f"store={store}"]) == 0
    html = run.folder.report.read_text()
    assert "This model reaches ROC AUC 0.9300 on the test rows." in html
    assert "95 %" not in html
    assert "Learning curves" in html
    assert list(run.curves["value"]) == [row["roc_auc"] for row in HISTORY]
    assert list(run.curves["train/loss"]) == [row["train/loss"] for row in HISTORY]
    (sent,) = tracked_runs(run.folder.path, birth="b")
    assert sent.ended
    assert sent.summary["best/val/roc_auc"] == 0.95
    assert [row.values["train/loss"] for row in sent.rows] == [h["train/loss"] for h in HISTORY]


def test_a_loss_of_ones_own_is_better_when_it_is_lower(tmp_path):
    for name, loss in (("a", 0.3), ("b", 0.1), ("c", 0.2)):
        jamba_ray.log_run({}, {"focal_loss": loss}, name=name, store=tmp_path)
    assert list(jamba_ray.get_best_runs(tmp_path, "focal_loss")["run"]) == ["b", "c", "a"]
    assert "focal_loss 0.1000" in Run(tmp_path / "b").folder.report.read_text()


def test_runs_without_a_name_get_one_each(tmp_path):
    names = {jamba_ray.log_run({}, {"f1": 0.5}, store=tmp_path).name for _ in range(3)}
    assert len(names) == 3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"metrics": {}}, "must hold a validation metric"),
        ({"metrics": {"f1": float("nan")}}, "must hold finite numbers, but 'f1' is nan"),
        ({"metrics": {"train/loss": 1.0}}, "into `history`"),
        ({"params": {"model": object()}}, "'model' is a object"),
        ({"objective": "f2"}, "must be one of"),
        ({"name": "../x"}, "a name must be"),
    ],
)
def test_what_cannot_be_logged_is_refused_in_a_sentence(tmp_path, changes, said):
    with pytest.raises(ConfigError) as error:
        logged(tmp_path, **changes)
    assert said in " ".join(error.value.mistakes)
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_never_written_over(store):
    with pytest.raises(RunExistsError):
        logged(store, name="night-1")


@pytest.mark.parametrize("metric", [*METRICS, "my_loss"])
def test_best_means_best_whichever_way_the_metric_runs(tmp_path, metric):
    """Each metric through every public function that ranks; ``log_loss`` and ``ece`` had best and
    worst swapped in one of them."""
    values = {"deep": 0.2, "flat": 0.7}
    good = "deep" if metric in {"log_loss", "ece", "brier", "my_loss"} else "flat"
    bad = "flat" if good == "deep" else "deep"
    runs = [
        jamba_ray.log_run({"depth": name}, {metric: value}, name=name, store=tmp_path)
        for name, value in values.items()
    ]
    assert list(jamba_ray.get_best_runs(runs, metric=metric)["run"]) == [good, bad]
    (impact,) = jamba_ray.analyze_parameter_impact(runs, metric).to_dict("records")
    assert (impact["best"], impact["worst"]) == (values[good], values[bad])
    assert impact["spread"] == pytest.approx(0.5)
    direction = direction_of(metric)
    assert better(values[good], values[bad], direction)
    assert not better(values[good], values[good], direction)
    assert lead(values[good], values[bad], direction) == pytest.approx(0.5)
    assert min(values.values(), key=lambda v: badness(v, direction)) == values[good]
