"""The follower against a W&B server on loopback, through the real client: each thing once."""

import json
import os
import subprocess
import sys
from collections import Counter

import pytest

from jamba_ray.study.reading import read_study
from jamba_ray.tracking.cursor import Cursor
from jamba_ray.tracking.run_reader import tracked_runs
from tests.tracking.folders import make_run
from tests.tracking.stub_server import Stub
from tests.tracking.wandb_file import history, run_of

pytest.importorskip("wandb", reason="pip install 'jamba-ray[wandb]'")


@pytest.fixture
def stub():
    server = Stub()
    yield server
    server.close()


@pytest.fixture
def folder(tmp_path):
    return make_run(tmp_path / "night-1", n_trials=4)[0]


def environment(home, **changes):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    # No ~/.netrc of the person who runs the tests.
    return {**kept, "HOME": str(home), "NETRC": str(home / "netrc"), **changes}


def follow(folder, env, *, online=True, patience=4):
    command = [
        sys.executable,
        "-m",
        "jamba_ray.tracking.follow",
        str(folder.path),
        "--tracker=wandb",
    ]
    command += [
        "--project=jamba_ray",
        "--once",
        f"--patience={patience}",
        "--structure=model.width",
    ]
    command += ["--online"] if online else []
    done = subprocess.run(
        command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=200
    )
    return done.returncode, done.stdout + done.stderr


def truth(folder):
    """W&B id -> steps that belong there."""
    return {
        run.id: [row.step for row in run.rows]
        for run in tracked_runs(folder.path, Cursor(folder.path).birth)
    }


def assert_exactly_once(stub, folder):
    expected = truth(folder)
    assert set(stub.runs) == set(expected)
    for run, steps in expected.items():
        got = [row["_step"] for row in stub.history(run)]
        assert got[: len(steps)] == steps, run
        assert len(got) <= len(steps) + 1  # one more row: the sweep's table and report
        assert stub.runs[run]["finished"], run
    again = [row for row, times in Counter(stub.sent_rows).items() if times > 1]
    assert again == []


def test_everything_arrives_and_nothing_twice(stub, folder, tmp_path):
    env = environment(tmp_path, **stub.environment())
    code, said = follow(folder, env)
    assert code == 0, said
    assert_exactly_once(stub, folder)
    study = read_study(folder.study)
    by_kind = Counter(run["job_type"] for run in stub.runs.values())
    assert by_kind == {"trial": len(study.trials), "baseline": 1, "sweep": 1}
    assert {run["group"] for run in stub.runs.values()} == {"night-1"}
    names = {run["display_name"]: key for key, run in stub.runs.items()}
    for trial in study.trials:
        run = stub.runs[names[f"night-1/{trial.number}"]]
        rows = stub.history(names[f"night-1/{trial.number}"])
        told = [(row["_step"], row["val/average_precision"]) for row in rows]
        assert told[: len(trial.curve)] == list(trial.curve)
        assert all({"train/loss", "epoch", "runner/cpu"} <= set(row) for row in rows)
        assert trial.state in run["tags"]
        assert f"width={trial.params['model.width']}" in run["tags"]
        config = {k: v["value"] for k, v in run["config"].items() if not k.startswith("_")}
        assert config["training"]["rate"] == trial.params["training.rate"]
        assert config["trial"] == trial.number
        assert run["summary"]["state"] == trial.state
        if trial.state == "failed":
            assert run["exitcode"] == 1
            assert run["summary"]["reason"] == "the loss became nan"
    sweep = stub.runs[names["night-1"]]
    media = stub.history(names["night-1"])[-1]
    assert media["leaderboard"]["nrows"] == len(study.trials)
    assert media["report"]["_type"] == "html-file"
    assert sweep["summary"]["best_trial"] == json.loads(folder.summary.read_text())["best"]["trial"]
    best = next(a for a in stub.artifacts.values() if a["name"] == "night-1-best")
    assert {"best", "latest"} <= set(best["aliases"])
    assert (best["state"], set(best["files"])) == ("COMMITTED", {"config.json"})
    assert any(a["name"] == "night-1-checkpoints" for a in stub.artifacts.values())
    assert stub.unknown == []

    code, said = follow(folder, env)  # asked again: nothing more is sent
    assert code == 0, said
    assert_exactly_once(stub, folder)


@pytest.mark.slow
def test_a_lost_cursor_costs_no_row_and_doubles_none(stub, folder, tmp_path):
    env = environment(tmp_path, **stub.environment())
    assert follow(folder, env)[0] == 0
    (folder.path / "tracking.json").unlink()
    assert follow(folder, env)[0] == 0
    assert_exactly_once(stub, folder)


FAULTS = [
    "refused",
    *(
        pytest.param(fault, marks=pytest.mark.slow)
        for fault in (500, 429, 401, "dropped", "hanging", "wrong key", "no key")
    ),
]


@pytest.mark.parametrize("fault", FAULTS)
def test_an_outage_costs_no_row(stub, folder, tmp_path, fault):
    good = environment(tmp_path, **stub.environment())
    env = dict(good)
    if fault == "refused":
        env["WANDB_BASE_URL"] = "http://127.0.0.1:9"
    elif fault == "wrong key":
        env["WANDB_API_KEY"] = "local-" + "f" * 40
    elif fault == "no key":
        del env["WANDB_API_KEY"]
    else:
        stub.fault = fault
    code, said = follow(folder, env, patience=2)
    assert code == 75, said
    problem = Cursor(folder.path).problem
    assert problem is not None
    assert ("wandb login" in problem) == (fault in {401, "wrong key", "no key"})
    stub.fault = None
    code, said = follow(folder, good)
    assert code == 0, said
    assert_exactly_once(stub, folder)
    assert Cursor(folder.path).problem is None


@pytest.mark.slow
def test_a_connection_that_breaks_after_some_rows(stub, folder, tmp_path):
    env = environment(tmp_path, **stub.environment())
    stub.rows_until_fault = 20
    code, said = follow(folder, env, patience=2)
    assert code == 75, said
    assert len(stub.sent_rows) == 20
    stub.fault = stub.rows_until_fault = None
    code, said = follow(folder, env)
    assert code == 0, said
    assert_exactly_once(stub, folder)


@pytest.mark.slow
def test_a_killed_sweep_is_sent_as_far_as_it_came_and_then_to_its_end(stub, tmp_path):
    folder, study = make_run(tmp_path / "night-1", ended=False)
    env = environment(tmp_path, **stub.environment())
    code, said = follow(folder, env)
    assert code == 75, said  # two runs, the trial and the sweep, have no end yet
    running = [r for r in study.records() if r.state == "running"]
    assert [len(r.curve) for r in running] == [2]
    study.give_up("its runner was lost")
    study.close()
    assert follow(folder, env)[0] == 75  # the sweep itself still has no verdict
    trials = {k: v for k, v in truth(folder).items() if stub.runs[k]["job_type"] == "trial"}
    for run, steps in trials.items():
        assert [row["_step"] for row in stub.history(run)] == steps
    assert [row for row, times in Counter(stub.sent_rows).items() if times > 1] == []


def test_offline_runs_hold_what_the_study_holds_and_sync_once(stub, folder, tmp_path):
    away = environment(tmp_path)  # no server, no key
    for _ in range(2):
        code, said = follow(folder, away, online=False)
        assert code == 0, said
    written = {}
    for path in sorted((folder.path / "wandb").glob("offline-run-*/run-*.wandb")):
        assert run_of(path).run_id not in written
        written[run_of(path).run_id] = path
    expected = truth(folder)
    assert set(written) == set(expected)
    study = read_study(folder.study)
    by_name = {run_of(path).display_name: path for path in written.values()}
    for trial in study.trials:
        rows = list(history(by_name[f"night-1/{trial.number}"]))
        told = [(row["_step"], row["val/average_precision"]) for row in rows]
        assert told[: len(trial.curve)] == list(trial.curve)
    folders = [str(path.parent) for path in written.values()]
    sync = [sys.executable, "-m", "wandb", "sync", *folders]
    env = environment(tmp_path, **stub.environment())
    done = subprocess.run(sync, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_exactly_once(stub, folder)
    # Ours after theirs: W&B has it all, so nothing is sent again.
    assert follow(folder, env)[0] == 0
    assert_exactly_once(stub, folder)
