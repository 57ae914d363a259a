"""A user's module in a folder of its own: swept on two nodes, killed, continued, used, removed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from jamba_ray.config.data import SyntheticSection
from jamba_ray.data import generate
from jamba_ray.study.reading import has_study, read_study
from tests.docs.pages import ROOT, blocks

MODULE = next(b.text for b in blocks(ROOT / "docs/how-to/plugins.md") if b.language == "python")
_CLUSTER = """
import sys
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
for _ in range(2):
    cluster.add_node(num_cpus=1, object_store_memory=100_000_000)
cluster.wait_for_nodes()
print("at", cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


@contextlib.contextmanager
def two_nodes(python: str, folder: Path, env: dict[str, str]) -> Iterator[str]:
    """A cluster of two workers whose processes run elsewhere than the user does."""
    folder.mkdir()
    with (
        (folder / "errors.txt").open("w") as errors,
        subprocess.Popen(
            [python, "-c", _CLUSTER],
            cwd=folder,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as cluster,
    ):
        assert cluster.stdout is not None
        lines = iter(cluster.stdout.readline, "")
        address = next((line.split()[1] for line in lines if line.startswith("at ")), None)
        assert address is not None, (folder / "errors.txt").read_text()
        yield address
        # Leaving closes its standard input, at which it ends, and waits for it.


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_one_module_is_swept_on_two_nodes_killed_continued_and_used(tmp_path, wheel_bin):
    assert len(MODULE.splitlines()) <= 60
    desk = tmp_path / "desk"
    desk.mkdir()
    (desk / "threats.py").write_text(MODULE)
    frame = generate(SyntheticSection(n_samples=3000, n_features=6))
    frame = frame.drop(columns=["bayes", "family"])
    frame.to_csv(desk / "flows.csv", index=False)
    env = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    env |= {"PATH": f"{wheel_bin}{os.pathsep}{env['PATH']}", "RAY_AUTH_MODE": "disabled"}
    env |= {"RAY_raylet_start_wait_time_s": "120", "COLUMNS": "120"}
    sweep = [
        *("jamba-ray", "sweep", "model=wide", "plugins=[threats]", "data=table"),
        *("data.path=flows.csv", "objective=cost", "sampler=careful", "pruner=none", "run=x"),
        *("resume=true", "rival=false", "training.epochs=40", "n_trials=8", "ensemble=false"),
        *("trials_per_runner=1", "search_space.model.width={type: int, low: 8, high: 64}"),
        "search_space.training.learning_rate={type: float, low: 1e-4, high: 1e-2, log: true}",
    ]

    def run(*words: str, code: int = 0, at: str | None = None) -> str:
        own = env if at is None else {**env, "RAY_ADDRESS": at}
        done = subprocess.run(words, cwd=desk, env=own, capture_output=True, text=True, timeout=400)
        assert done.returncode == code, f"{words}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    with two_nodes(str(wheel_bin / "python"), tmp_path / "cluster", env) as address:
        killed = subprocess.Popen(
            sweep,
            cwd=desk,
            env={**env, "RAY_ADDRESS": address},
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        first = _finished(desk / "runs" / "x", killed)
        os.killpg(killed.pid, signal.SIGKILL)
        killed.wait()
        run(*sweep, at=address)
        study = read_study(desk / "runs" / "x" / "study.journal")
        assert {t.state for t in study.trials} == {"complete"}
        assert len(study.trials) == 8
        again = {t.number: (t.params, t.value) for t in study.trials}
        assert {n: again[n] for n in first} == first, "no finished trial was lost or repeated"
        assert study.direction == "minimize"
        runners = {stay.runner for stays in study.stays.values() for stay in stays}
        assert len(runners) >= 2, "a node has one CPU, and so one runner at a time"

    config = json.loads((desk / "runs" / "x" / "best" / "config.json").read_text())
    (named,) = config["plugins"]
    assert re.fullmatch(r"threats@1\.0#[0-9a-f]{12}", named)
    summary = json.loads((desk / "runs" / "x" / "summary.json").read_text())
    cost = summary["best"]["val"]["cost"]
    assert cost["low"] <= cost["value"] <= cost["high"]
    assert (desk / "told.txt").read_text()

    predict = ["jamba-ray", "predict", "runs/x", "flows.csv", "-o", "scored.csv", "overwrite=true"]
    said = run(*predict, code=64)
    assert f"of the plug-in {named}" in said
    assert "give `plugins=[threats]`" in said
    run(*predict, "plugins=[threats]")
    assert pd.read_csv(desk / "scored.csv")["score"].between(0, 1).all()

    (desk / "threats.py").write_text(MODULE.replace("5 * (", "6 * ("))
    said = run(*sweep, code=64)
    assert f"`plugins` must be ['{named}'] as in the run being resumed" in said
    assert "allow_config_change=true" in said
    said = run(*predict, "plugins=[threats]")
    assert f"note: The model was trained with the plug-in {named}" in said

    (desk / "threats.py").unlink()
    shutil.rmtree(desk / "__pycache__", ignore_errors=True)
    for words in (sweep, [*predict, "plugins=[threats]"]):
        said = run(*words, code=64)
        assert said.count("\n") == 1, said
        assert f"`plugins` has 'threats', but there is no such module in {desk}" in said


def _finished(folder: Path, sweep: subprocess.Popen[bytes]) -> dict[int, tuple[object, object]]:
    """What the study holds of finished trials as soon as there are two."""
    deadline = time.monotonic() + 400
    while time.monotonic() < deadline:
        assert sweep.poll() is None, "the sweep ended before it could be killed"
        study = folder / "study.journal"
        if has_study(study):
            done = [t for t in read_study(study).trials if t.state == "complete"]
            if len(done) >= 2:
                return {t.number: (t.params, t.value) for t in done}
        time.sleep(0.2)
    raise AssertionError("no two trials ended")
