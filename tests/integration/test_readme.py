"""Every command of the README runs: a README that has drifted fails here.

A block that sets up an environment or runs the tests themselves is run by the slow test below, in a
fresh virtual environment, as a newcomer would.
"""

import os
import re
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from jamba_ray.data import generate
from tests.integration.conftest import SMALL

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.M | re.S)


def commands(language="bash"):
    lines = "".join(blocks(language)).splitlines()
    return [line.partition("   #")[0].strip() for line in lines if line.strip()]


ELSEWHERE = {
    "python -m jamba_ray.doctor": "cluster/test_ray_up.py",
    "python -m jamba_ray.submit": "cluster/test_submit.py",
    "python -m jamba_ray.chaos --faults": "faults/test_chaos.py",
    "python -m jamba_ray.sync": "tracking/test_wandb.py",
    "RAY_UP_enable_autoscaler_v2=0 ray up": "cluster/test_ray_up.py",
    "export RAY_AUTH_MODE=token": "cluster/test_submit.py",
    "ray dashboard": "cluster/test_ray_up.py",
}
"""Commands that need a cluster, a W&B server or minutes: where they are run instead."""
SETUP = ("python -m venv", "pip install", "pytest", "ruff format")
"""Commands that set up an environment or run these very tests: see the slow test below."""


def is_ours(line):
    return line.startswith("python -m jamba_ray.") and not line.startswith(tuple(ELSEWHERE))


OURS = [line for line in commands() if is_ours(line)]


def test_nothing_in_the_readme_escapes_these_tests():
    known = (*SETUP, *ELSEWHERE)
    assert [line for line in commands() if not is_ours(line) and not line.startswith(known)] == []
    assert len(OURS) >= 12
    for start, place in ELSEWHERE.items():
        assert any(line.startswith(start) for line in commands()), f"{start}: no longer there"
        assert (ROOT / "tests" / place).exists(), place


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory):
    """A folder with the files that the README's examples name."""
    from jamba_ray.config.data import SyntheticSection

    folder = tmp_path_factory.mktemp("newcomer")
    frame = generate(SyntheticSection(n_samples=1200, n_features=6))
    frame = frame.drop(columns=["bayes", "family"])
    frame.to_csv(folder / "flows.csv", index=False)
    frame.to_parquet(folder / "flows.parquet", index=False)
    return folder


def smaller(line):
    """The same command on fewer rows, so that all of them take a minute; the first keeps its
    promise of time in the slow test."""
    words = shlex.split(line)
    small = list(SMALL)
    if "data=table" in words:
        small = [s for s in small if not s.startswith("data.")]
    name = words[2].removeprefix("jamba_ray.")
    if name == "evaluate":
        small = [s for s in small if s.startswith("data.")]
    if "model=mlp" in words:
        small = [s for s in small if s != "model.hidden_dim=8"]
    if name == "sweep":
        small.append("n_trials=2")
    if name not in {"sweep", "train", "evaluate"} or "--help" in words:
        small = []
    given = {w.partition("=")[0] for w in words}
    return [sys.executable, *words[1:], *(s for s in small if s.partition("=")[0] not in given)]


def runs_named(line):
    return set(re.findall(r"[\w-]+", " ".join(re.findall(r"runs?[=/]\[?([\w,-]+)", line))))


def needs(line, earlier):
    """Which of ``earlier`` must have ended: those of its runs; all, where it looks for runs."""
    if line.split()[2] == "jamba_ray.report" and not runs_named(line):
        return list(earlier)
    return [e for e in earlier if runs_named(e) & runs_named(line)]


def test_what_a_command_needs_is_found_in_the_readme():
    (both,) = [line for line in OURS if "runs=[" in line]
    assert runs_named(both) == {"rivals-1", "one"}
    assert needs(both, ["sweep run=rivals-1 seed=1", "train run=one", "train run=other"]) == [
        "sweep run=rivals-1 seed=1",
        "train run=one",
    ]


@pytest.mark.timeout(600)
def test_every_command_of_ours_runs_in_the_order_of_the_readme(newcomer):
    """Two at a time, where the second needs nothing of the first: most of each is waiting."""
    running = {}

    def run(line, awaited):
        wait(awaited)
        return subprocess.run(
            smaller(line), cwd=newcomer, capture_output=True, text=True, timeout=300
        )

    with ThreadPoolExecutor(2) as pool:
        for line in OURS:
            awaited = [running[e] for e in needs(line, running)]
            running[line] = pool.submit(run, line, awaited)
    for line, future in running.items():
        done = future.result()
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"


def test_the_python_of_the_readme_runs(newcomer):
    if not (newcomer / "runs" / "rivals-1").exists():
        for line in OURS:
            if "run=one" in line.split() or "run=rivals-1" in line.split():
                subprocess.run(smaller(line), cwd=newcomer, capture_output=True, timeout=300)
    for code in blocks("python"):
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=newcomer, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr


def test_the_yaml_of_the_readme_is_a_sweep(newcomer, monkeypatch):
    from jamba_ray.cli.composition import compose_section
    from jamba_ray.config.run import SweepConfig
    from jamba_ray.config.sweep_space import parse_space

    (text,) = blocks("yaml")
    (newcomer / "sweeps").mkdir(exist_ok=True)
    (newcomer / "sweeps" / "mine.yaml").write_text(text)
    monkeypatch.chdir(newcomer)
    config = compose_section(SweepConfig, "config", ["+sweep=mine"])
    assert len(parse_space(config).parameters) == 4


def test_exit_codes_are_those_of_the_code():
    from jamba_ray.errors import ExitCode

    documented = {int(n) for n in re.findall(r"^\| (\d+) \| ", README, flags=re.M)}
    assert documented == {int(code) for code in ExitCode}


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_two_commands_in_a_fresh_environment(tmp_path):
    """The first block as a stranger runs it, from a copy of the checkout."""
    copy = tmp_path / "checkout"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(copy)], check=True)
    first = blocks("bash")[0]
    environment = {k: v for k, v in os.environ.items() if k != "VIRTUAL_ENV"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", first],
        cwd=copy,
        capture_output=True,
        text=True,
        timeout=3000,
        env=environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Winner: trial" in done.stdout
