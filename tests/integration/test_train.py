"""``python -m jamba_ray.train`` and ``evaluate`` as a user runs them."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

import jamba_ray
import jamba_ray.config.run  # registers the families
from jamba_ray.config.family import FAMILIES
from jamba_ray.estimators.estimator import ESTIMATORS
from tests.integration.conftest import SMALL, summary_of


@pytest.mark.parametrize("model", ["attention", "mlp", "lightgbm"])
def test_every_family_trains_by_one_command(here, workplace, model):
    small = [s for s in SMALL if model != "lightgbm" or not s.startswith("model.")]
    here("train", f"model={model}", *small, f"run=one-{model}", "rival=false")
    summary = summary_of(workplace / "runs" / f"one-{model}")
    assert summary["status"] == "ok"
    assert summary["best"]["test"]["roc_auc"]["value"] > 0.5
    assert len(summary["curve"]) >= 2
    data = [s for s in SMALL if s.startswith("data.")]
    here("evaluate", f"checkpoint=runs/one-{model}", "data=synthetic", *data, f"run=again-{model}")
    again = summary_of(workplace / "runs" / f"again-{model}")
    a, b = (s["best"]["test"]["roc_auc"]["value"] for s in (summary, again))
    assert abs(a - b) < 1e-9


def test_a_dry_run_describes_the_data_and_starts_nothing(here, workplace):
    folder = workplace / "flows.csv"
    folder.write_text("a,b,verdict\n" + "1.5,x,benign\n2.25,y,malicious\n7.5,z,benign\n" * 40)
    data = ["data=table", f"data.path={folder}", "data.target=verdict"]
    done = here("train", "model=mlp", *data, "run=dry", "dry_run=true")
    for words in ("also in training", "1 column of numbers", "the label", "'malicious' a threat"):
        assert words in done.stdout
    assert done.stdout.splitlines()[-1].startswith("next: jamba-ray train model=mlp")
    assert not (workplace / "runs" / "dry").exists()


@pytest.mark.slow
@pytest.mark.parametrize("model", sorted(ESTIMATORS))
def test_every_estimator_trains_predicts_and_is_judged_by_commands(here, workplace, model):
    if (package := ESTIMATORS[model].requires) is not None:
        pytest.importorskip(package)
    few = ["model.n_estimators=20"] if "n_estimators" in FAMILIES[model].model_fields else []
    data, run = [s for s in SMALL if s.startswith("data.")], f"runs/est-{model}"
    here("train", f"model={model}", *few, *data, f"run=est-{model}", "rival=false")
    here("threshold", run, "max_fpr=0.05")
    rng = np.random.default_rng(0)
    columns = jamba_ray.load(workplace / run).preprocessing.columns
    frame = pd.DataFrame({name: rng.normal(size=40) for name in columns})
    frame.to_csv(workplace / "rows.csv", index=False)
    here("predict", run, "rows.csv", f"output=scored-{model}.csv", "explain=2")
    scored = pd.read_csv(workplace / f"scored-{model}.csv")
    expected = jamba_ray.load(workplace / run).predict_proba(frame)
    np.testing.assert_allclose(scored["score"], expected, atol=1e-6)
    here("evaluate", f"checkpoint={run}", "data=synthetic", *data, f"run=est-again-{model}")
    a, b = (summary_of(workplace / p) for p in (run, f"runs/est-again-{model}"))
    assert a["best"]["test"]["roc_auc"]["value"] == b["best"]["test"]["roc_auc"]["value"]


def test_rivals_are_held_against_the_winner_also_on_other_rows(here, workplace):
    data = [s for s in SMALL if s.startswith("data.")]
    here("train", "model=logistic", *data, "run=held", "rivals=[lightgbm,logistic]")
    trained = summary_of(workplace / "runs" / "held")
    assert [rival["model"] for rival in trained["rivals"]] == ["lightgbm"]  # never its own
    assert trained["baseline"]["model"] == "lightgbm"
    done = here("evaluate", "checkpoint=runs/held", "data=synthetic", *data, "run=held-again")
    judged = summary_of(workplace / "runs" / "held-again")
    (before,), (after,) = trained["rivals"], judged["rivals"]
    assert after["test"] == before["test"]
    assert after["comparison"] == before["comparison"]
    assert "LightGBM with its defaults" in done.stdout


def test_the_same_seed_gives_the_same_model(command, here, workplace):
    """In another process too: hashes of strings differ between two."""
    for run, name in ((command, "seed-a"), (here, "seed-b")):
        run("train", *SMALL, "seed=3", f"run={name}", "rival=false")
    a, b = (summary_of(workplace / "runs" / name) for name in ("seed-a", "seed-b"))
    assert a["curve"] == b["curve"]
    assert a["best"]["test"] == b["best"]["test"]
    assert a["config_fingerprint"] == b["config_fingerprint"]
    here("train", *SMALL, "seed=4", "run=seed-c", "rival=false")
    assert summary_of(workplace / "runs" / "seed-c")["curve"] != a["curve"]


def test_a_missing_checkpoint_is_one_sentence(here):
    done = here("evaluate", "checkpoint=runs/nothing", "data=synthetic", expect=66)
    assert done.stderr.startswith("error: ")


def test_a_signal_stops_and_the_same_command_goes_on(workplace, here):
    """SIGTERM in the middle: exit 75, then `resume=true` ends as an undisturbed run does."""
    settings = [*SMALL, "training.epochs=8", "seed=5", "rival=false"]
    here("train", *settings, "run=undisturbed")
    process = subprocess.Popen(
        [sys.executable, "-m", "jamba_ray.train", *settings, "run=stopped"],
        cwd=workplace,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    checkpoints = workplace / "runs" / "stopped" / "checkpoints"
    deadline = time.monotonic() + 120
    while not list(checkpoints.glob("trial-*/step-*")):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 75
    assert "resume=true run=stopped" in stderr
    assert "Traceback" not in stderr
    here("train", *settings, "run=stopped", "resume=true")
    a, b = (summary_of(workplace / "runs" / name) for name in ("undisturbed", "stopped"))
    assert a["best"]["test"] == b["best"]["test"]
    assert b["curve"] == a["curve"][-len(b["curve"]) :]
    assert len(b["curve"]) < len(a["curve"])
    rows = (workplace / "runs" / "stopped" / "rows" / "trial-0000.jsonl").read_text().splitlines()
    assert [json.loads(row)["step"] for row in rows] == [step for step, _ in a["curve"]]


@pytest.mark.slow
def test_a_signal_between_two_reports_saves_at_the_next_steps(workplace, command):
    """One report in the whole trial: what was saved is of no report."""
    settings = [*SMALL, "training.epochs=150", "training.report_rows=150000", "seed=5"]
    settings += ["rival=false"]
    command("train", *settings, "run=whole")
    states = []
    for delay in (1.0, 5.0, 25.0):  # where the machine is slow, it has not begun yet
        process = subprocess.Popen(
            [sys.executable, "-m", "jamba_ray.train", *settings, "run=cut", "overwrite=true"],
            cwd=workplace,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        folder = workplace / "runs" / "cut" / "logs"
        while not folder.exists() and process.poll() is None:
            time.sleep(0.05)
        time.sleep(delay)
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 75, stderr
        states = list((workplace / "runs" / "cut" / "checkpoints").glob("*/step-000000/state.json"))
        if states:
            break
    state = json.loads(states[0].read_text())
    assert 0 < state["loss_rows"] == state["rows_seen"]
    command("train", *settings, "run=cut", "resume=true")
    a, b = (summary_of(workplace / "runs" / name) for name in ("whole", "cut"))
    assert a["curve"] == b["curve"]
    assert a["best"]["test"] == b["best"]["test"]
