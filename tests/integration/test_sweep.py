"""``python -m jamba_ray.sweep`` as a user runs it."""

import shutil

import optuna
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

import jamba_ray
import jamba_ray.models
from jamba_ray.checkpoints import CheckpointStore
from jamba_ray.config.run import SweepConfig
from jamba_ray.data import generate
from jamba_ray.estimators.estimator import ESTIMATORS
from jamba_ray.runs.run_folder import RunFolder
from tests.integration.conftest import SMALL, summary_of

METRICS = {
    "roc_auc",
    "average_precision",
    "f1",
    "recall_at_fpr_1e-2",
    "recall_at_fpr_1e-3",
    "partial_auc_1e-2",
    "precision_at_alerts_1e-3",
    "brier",
    "accuracy",
    "ece",
}


def test_a_log_gets_a_line_a_phase_and_a_trial_and_a_summary(swept):
    done, folder = swept
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    begun = ["loading PyTorch and Ray", "reading the data"]
    begun += ["comparing validation and test with training rows"]
    begun += ["starting Ray", "loading the workers"]
    assert lines[:5] == begun
    assert lines[5].startswith("training 4 trials")
    assert [line.split()[0] for line in lines[6:10]] == ["1/4", "2/4", "3/4", "4/4"]
    end = lines.index("writing the report")
    # How long the search took decides which trials are trained again.
    judged = [line for line in lines[10:end] if not line.endswith("with further seeds")]
    assert set(judged) == {"judging the winner"}
    assert lines[end + 1].startswith("Winner: trial")
    assert "\x1b" not in done.stdout
    assert "LightGBM test" in done.stdout
    assert "below the Bayes limit" in done.stdout
    assert f"next: jamba-ray threshold runs/{folder.name} max_fpr=0.01" in done.stdout
    assert done.stderr == "", "nothing of Ray's own noise"


def test_the_run_folder_keeps_its_contract(swept):
    _, folder = swept
    names = {path.name for path in folder.iterdir()}
    assert names >= {
        "config.yaml",
        "study.journal",
        "study.copy.journal",
        "trials.parquet",
        "summary.json",
        "checkpoints",
        "best",
        "log.txt",
    }
    tree = yaml.safe_load((folder / "config.yaml").read_text())
    assert SweepConfig.model_validate(tree).run == "swept"
    assert len((folder / "log.txt").read_text().splitlines()) >= 6


def test_the_summary_is_strict_and_complete(swept):
    _, folder = swept
    summary = summary_of(folder)
    assert (summary["status"], summary["exit_code"]) == ("ok", 0)
    assert sum(summary["trials"].values()) == 4
    assert summary["trials"]["running"] == 0
    for part in (summary["best"]["val"], summary["best"]["test"], summary["baseline"]["test"]):
        assert part.keys() >= METRICS
        assert all(m["low"] <= m["value"] <= m["high"] for m in part.values())
    assert summary["bayes"]["test"]["roc_auc"] > summary["best"]["test"]["roc_auc"]["value"] - 0.05
    assert set(summary["best"]["params"]) == {
        "model.n_heads",
        "model.dropout_rate",
        "training.learning_rate",
    }
    assert summary["versions"]["ray"] == "2.60.0"
    assert 0 < summary["goodput"] <= 1
    assert summary["wall_s"] > 0


def test_the_table_of_trials_agrees_with_the_summary(swept):
    _, folder = swept
    trials = pq.read_table(folder / "trials.parquet").to_pandas()
    summary = summary_of(folder)
    assert list(trials["number"]) == [0, 1, 2, 3]
    complete = trials[trials["state"] == "complete"]
    best = complete.loc[complete["val/average_precision"].idxmax()]
    assert best["number"] == summary["best"]["trial"]
    # The judge scores the published checkpoint anew: the numbers must meet.
    value = summary["best"]["val"]["average_precision"]["value"]
    assert abs(best["val/average_precision"] - value) < 1e-6


def test_the_winner_is_kept_as_it_was_trained(swept):
    _, folder = swept
    best = summary_of(folder)["best"]
    (row,) = pq.read_table(folder / "trials.parquet").to_pylist()[best["trial"] :][:1]
    snapshot = CheckpointStore(folder / "checkpoints").load(row["checkpoint"])
    assert any(name.startswith("model/") for name in snapshot.tensors)


def test_optuna_itself_sees_every_trial_ended(swept):
    _, folder = swept
    storage = JournalStorage(JournalFileBackend(str(folder / "study.journal")))
    (study,) = optuna.get_all_study_summaries(storage)
    trials = optuna.load_study(study_name=study.study_name, storage=storage).trials
    assert len(trials) == 4
    assert {t.state.name for t in trials} <= {"COMPLETE", "PRUNED"}
    assert all(t.intermediate_values for t in trials)


def test_the_winner_is_a_predictor_in_three_lines(swept):
    _, folder = swept
    config = SweepConfig.model_validate(yaml.safe_load((folder / "config.yaml").read_text()))
    frame = generate(config.data).drop(columns="is_threat")
    p = jamba_ray.load(folder).predict_proba(frame)
    assert p.shape == (1500,)
    assert ((p >= 0) & (p <= 1)).all()


def test_a_finished_sweep_that_is_resumed_prints_the_same_summary_and_runs_nothing(here, swept):
    done, folder = swept
    before, begun = summary_of(folder), (folder / "best").stat().st_mtime_ns
    resumed = ("n_trials=4", "run=swept", "resume=true")
    again = here("sweep", "+sweep=attention_heads", *SMALL, *resumed)
    said = [run.stdout[run.stdout.index("Winner:") :].strip() for run in (again, done)]
    assert said[0] == said[1]
    assert again.stderr == ""
    assert summary_of(folder) == before
    assert (folder / "best").stat().st_mtime_ns == begun, "the winner was judged again"


def test_a_used_name_is_refused_and_nothing_is_touched(here, swept):
    _, folder = swept
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    done = here("sweep", "+sweep=attention_heads", *SMALL, "run=swept", expect=73)
    assert "resume=true" in done.stderr
    assert "overwrite=true" in done.stderr
    RunFolder(folder).refuse_if_used(overwrite=True)  # all that it holds is known to be a run's
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before


@pytest.mark.slow
def test_a_sweep_that_was_moved_is_asked_for_more(command, swept, tmp_path):
    """Copied elsewhere under another name: what it has stays, and only what is new is trained."""
    _, folder = swept
    moved = tmp_path / "other"
    shutil.copytree(folder, moved)
    more = ["n_trials=5", f"store={tmp_path}", "run=other", "resume=true"]
    command("sweep", "+sweep=attention_heads", *SMALL, *more)
    before, after = jamba_ray.open_run(folder).trials, jamba_ray.open_run(moved).trials
    assert after["number"].tolist() == [0, 1, 2, 3, 4]
    same = ["number", "state", "value", "seconds"]
    pd.testing.assert_frame_equal(after[same].head(4), before[same])
    params = [column for column in after if str(column).startswith("params.")]
    assert not after[params].duplicated().any()


def test_a_dry_run_starts_nothing(here, workplace):
    before = set((workplace / "runs").iterdir()) if (workplace / "runs").exists() else set()
    done = here("sweep", "+sweep=attention_heads", *SMALL, "run=dry", "dry_run=true")
    for words in (
        "model.n_heads",
        "of 4 structures",
        "forecast",
        "rungs at",
        "also in training",
        "runs/dry",
    ):
        assert words in done.stdout
    assert done.stdout.count("Nothing was started.") == 1  # the plan is printed once
    after = set((workplace / "runs").iterdir()) if (workplace / "runs").exists() else set()
    assert after == before


def test_families_without_their_package_are_left_out_and_that_is_said(here, monkeypatch):
    for family in ("catboost", "random_forest"):
        monkeypatch.setattr(ESTIMATORS[family], "requires", "no_such_package")
    words = ("+sweep=rivals", "data.n_samples=2000", "run=plan", "dry_run=true")
    done = here("sweep", *words)
    said = " ".join(done.stdout.split())
    assert "No trial is of catboost, random_forest: the packages are not installed" in said
    assert "the defaults of 3 more families" in said
    refused = here("sweep", *words, "missing_families=refuse", expect=64)
    assert "needs the package no_such_package" in refused.stderr


def test_bad_data_is_one_sentence_and_no_run(here, workplace):
    path = workplace / "bad.csv"
    path.write_text("a,b,is_threat\n1,2,0\n2,3,2\n")
    done = here(
        "sweep", "+sweep=attention_heads", "data=table", f"data.path={path}", "run=bad", expect=65
    )
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (workplace / "runs" / "bad").exists()


def test_rows_of_the_users_own(here, workplace):
    """A CSV with strings, gaps, infinities, constants, big integers and a category that only the
    test has."""
    frame = generate(
        SweepConfig.model_validate(
            {
                "data": {"name": "synthetic", "n_samples": 1600, "n_features": 6},
                "model": {"name": "mlp"},
            }
        ).data
    ).drop(columns=["timestamp"], errors="ignore")
    frame["proto"] = ["tcp", "udp", None, "icmp"] * 400
    frame["flow_id"] = 2**53 + frame.index.to_numpy() * 3
    frame["same"] = 7
    frame.loc[::50, "feature_00"] = float("inf")
    frame.loc[::31, "feature_01"] = None
    frame["flag"] = frame["feature_02"] > 0
    train, test = frame.iloc[:1200], frame.iloc[1200:].copy()
    test.loc[test.index[:5], "proto"] = "quic"
    train.to_csv(workplace / "train.csv", index=False)
    test.to_parquet(workplace / "test.parquet", index=False)
    done = here(
        "train",
        "data=table",
        "data.path=train.csv",
        "data.test=test.parquet",
        "data.drop=[family]",
        "model.hidden_dim=8",
        "training.epochs=1",
        "run=own",
    )
    assert "same" in done.stdout, "the constant column is said"
    summary = summary_of(workplace / "runs" / "own")
    assert summary["status"] == "ok"
    again = here(
        "evaluate",
        "checkpoint=runs/own",
        "data.path=test.parquet",
        "run=own-again",
        "data.group=proto",
    )
    assert "Result" in again.stdout
    other = summary_of(workplace / "runs" / "own-again")
    for key in METRICS:
        a, b = (s["best"]["test"][key]["value"] for s in (summary, other))
        assert abs(a - b) < 1e-6, key
    scores = pd.read_parquet(workplace / "runs" / "own-again" / "scores.parquet")
    assert list(scores["row"]) == list(range(400))
    assert set(scores["group"]) >= {"quic", "tcp"}
