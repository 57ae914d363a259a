"""Every command of the README, the tutorials and the how-to pages runs.

Each command is composed in the default run, so that a setting that has gone fails at once. The
README's are also run, in its order and on fewer rows; those of the other pages, which take minutes,
are `slow`. Commands that set up an environment or run the tests themselves are run by the last test
in a fresh virtual environment, as a newcomer would.
"""

import importlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from jamba_ray.data import generate
from jamba_ray.errors import ExitCode
from jamba_ray.runs.run_folder import RunFolder
from tests.commands import run_here
from tests.docs.pages import PAGES, ROOT, blocks, name_of
from tests.docs.run_contract import FILES, SUMMARY, TRIALS
from tests.integration.conftest import SMALL, summary_of
from tests.plugged import forgotten

README = ROOT / "README.md"
RUN = [page for page in PAGES if page != ROOT / "cluster" / "README.md"]
"""The pages whose commands run; ``tests/cluster/`` sees to those of ``cluster/README.md``."""

ELSEWHERE = {
    "python -m jamba_ray.doctor": "cluster/test_ray_up.py",
    "python -m jamba_ray.submit": "cluster/test_submit.py",
    "python -m jamba_ray.chaos --faults": "faults/test_chaos.py",
    "python -m jamba_ray.sync": "tracking/test_wandb.py",
    "RAY_UP_enable_autoscaler_v2=0 ray up": "cluster/test_ray_up.py",
    "export RAY_AUTH_MODE=token": "cluster/test_submit.py",
    "ray dashboard": "cluster/test_ray_up.py",
    "ray down": "cluster/test_ray_up.py",
    "jamba-ray serve ": "serving/test_endpoint_page.py",
    "jamba-ray score ": "serving/test_endpoint_page.py",
    "jamba-ray check ": "serving/test_endpoint_page.py",
    "curl -s -H": "serving/test_endpoint_page.py",
    "prometheus --config.file": "cluster/test_prometheus.py",
}
"""Commands that need a cluster, a W&B server or minutes: where they are run instead."""
SETUP = ("python3 -m venv", "pip install", "pytest", "ruff format")
"""Commands that set up an environment or run these very tests: see the slow test below."""


def commands(page):
    return [line for b in blocks(page) if b.language == "bash" for line in b.commands]


def is_ours(line):
    """Whether the line is a command of jamba_ray."""
    return line.startswith(("python -m jamba_ray.", "jamba-ray "))


def runs_here(line):
    return is_ours(line) and not line.startswith(tuple(ELSEWHERE))


def split(line):
    """(name, arguments) of a command of ours."""
    words = shlex.split(line)
    if words[0] == "jamba-ray":
        return words[1], words[2:]
    return words[2].removeprefix("jamba_ray."), words[3:]


def test_nothing_escapes_these_tests():
    lines = [line for page in RUN for line in commands(page)]
    known = (*SETUP, *ELSEWHERE)
    assert [x for x in lines if not runs_here(x) and not x.startswith(known)] == []
    assert sum(map(runs_here, lines)) >= 25
    assert sum(map(runs_here, commands(README))) >= 4
    for start, place in ELSEWHERE.items():
        assert any(line.startswith(start) for line in lines), f"{start}: no longer there"
        assert (ROOT / "tests" / place).exists(), place


def user_files(folder):
    """The files that the examples name."""
    from jamba_ray.config.data import SyntheticSection

    frame = generate(SyntheticSection(n_samples=1200, n_features=6))
    frame = frame.drop(columns=["bayes", "family"])
    frame.to_csv(folder / "flows.csv", index=False)
    frame.drop(columns="is_threat").tail(200).to_csv(folder / "new.csv", index=False)
    frame.to_parquet(folder / "flows.parquet", index=False)
    return folder


def write_yaml(folder, text):
    """Writes a block of YAML under the name in its first line."""
    name = re.match(r"# ((?:sweeps/)?\w+\.yaml)\n", text)
    assert name, "the first line of a block of YAML names its file: # sweeps/mine.yaml"
    (folder / "sweeps").mkdir(exist_ok=True)
    (folder / name.group(1)).write_text(text)


def write_module(folder, text):
    """Writes a block of Python that is a module, with its name in the first line; returns whether
    it is one."""
    name = re.match(r"# (\w+\.py)\n", text)
    if name:
        (folder / name.group(1)).write_text(text)
    return name is not None


def smaller(line):
    """The same command on fewer rows and trials; the README's first one keeps its promise of time
    in the slow test."""
    name, words = split(line)
    small = list(SMALL) if name in {"sweep", "train", "evaluate"} and "--help" not in words else []
    if any(word.startswith("data.path=") or "=" not in word for word in words):
        small = [s for s in small if not s.startswith("data.")]
    if name == "evaluate":
        small = [s for s in small if s.startswith("data.")]
    if any(word.startswith("model=") for word in words):
        small = [s for s in small if s != "model.hidden_dim=8"]
    if name == "sweep" and small:
        small.append("n_trials=2")
        words = [word for word in words if not word.startswith("n_trials=")]
    given = {word.partition("=")[0] for word in words}
    small = [s for s in small if s.partition("=")[0] not in given]
    return [sys.executable, "-m", f"jamba_ray.{name}", *words, *small]


def test_a_command_is_made_smaller_and_stays_itself():
    line = "python -m jamba_ray.sweep +sweep=rivals n_trials=12 data=table data.path=flows.csv"
    module, *words = smaller(line)[2:]
    assert module == "jamba_ray.sweep"
    assert {"+sweep=rivals", "data.path=flows.csv", "n_trials=2", "training.epochs=1"} <= set(words)
    assert not any(w.startswith("data.n_") or w == "n_trials=12" for w in words)
    assert split("jamba-ray train model=mlp") == ("train", ["model=mlp"])


@pytest.mark.parametrize("page", RUN, ids=name_of)
def test_each_command_composes(page, tmp_path, monkeypatch):
    """Settings and options that a page names exist and take the values that it gives."""
    monkeypatch.chdir(user_files(tmp_path))
    own = [m.split(".")[0] for m in re.findall(r"^# (\w+\.py)$", page.read_text(), re.MULTILINE)]
    with forgotten(*own):
        compose_page(page, tmp_path)


def compose_page(page, folder):
    """Composes each command of a page."""
    from jamba_ray.cli.composition import compose_section
    from jamba_ray.cli.flags import split_flags
    from jamba_ray.cli.positional import as_settings
    from jamba_ray.cli.split_settings import split_settings
    from jamba_ray.config.run import SweepConfig
    from jamba_ray.config.submit import DoctorSection, SubmitSection
    from jamba_ray.config.sweep_space import parse_space

    of_sweep = {"submit": SubmitSection, "doctor": DoctorSection}
    for block in blocks(page):
        if block.language == "yaml":
            write_yaml(folder, block.text)
        elif block.language == "python":
            write_module(folder, block.text)
        for line in filter(is_ours, block.commands if block.language == "bash" else []):
            name, words = split(line)
            if name == "chaos":
                continue
            if name in of_sweep:
                overrides = split_flags(words)[1]
                _, overrides = split_settings(of_sweep[name], name, overrides)
                config = compose_section(SweepConfig, "config", overrides)
            else:
                command = importlib.import_module(f"jamba_ray.{name}").COMMAND
                flags, words = split_flags(words, others=command.short)
                if flags.help is not None:
                    continue
                overrides = as_settings(words, command.positional, command.short)
                config = compose_section(command.section, command.primary, overrides)
            if isinstance(config, SweepConfig) and config.search_space:
                assert parse_space(config).parameters


def run_page(page, folder, run):
    """Runs what a page says, from top to bottom, each command by ``run``."""
    user_files(folder)
    for block in blocks(page):
        lines = []
        if block.language == "yaml":
            write_yaml(folder, block.text)
        elif block.language == "python" and not write_module(folder, block.text):
            lines = [[sys.executable, "-c", block.text]]
        elif block.language == "bash":
            lines = [smaller(line) for line in block.commands if runs_here(line)]
        for words in lines:
            done = run(words, folder)
            # The last rows that are made differ from the others, which `watch` says by 6.
            fine = (0, ExitCode.FOUND) if "jamba_ray.watch" in words else (0,)
            assert done.returncode in fine, f"{shlex.join(words)}\n{done.stdout}\n{done.stderr}"


def as_process(words, folder):
    environment = {**os.environ, "COLUMNS": "120", "MPLBACKEND": "agg"}
    return subprocess.run(
        words, cwd=folder, capture_output=True, text=True, timeout=600, env=environment
    )


def in_this_process(words, folder):
    """For the default run: those of the other pages run as processes."""
    if words[1] == "-c":
        return as_process(words, folder)
    return run_here(words[2].removeprefix("jamba_ray."), *words[3:], cwd=folder)


@pytest.mark.timeout(900)
@pytest.mark.slow
def test_the_readme_runs_from_top_to_bottom(tmp_path):
    run_page(README, tmp_path, in_this_process)
    assert "rivals" in (tmp_path / "runs" / "flows-1" / "config.yaml").read_text()


def has_something_to_run(page):
    return any(b.language == "python" for b in blocks(page)) or any(map(runs_here, commands(page)))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "page", [p for p in RUN if p != README and has_something_to_run(p)], ids=name_of
)
def test_a_page_runs_from_top_to_bottom(page, tmp_path):
    run_page(page, tmp_path, as_process)
    if page.name == "analyst.md":
        scored = pd.read_csv(tmp_path / "scored.csv")
        assert len(scored) == 200
        assert (scored["alert"] == (scored["score"] >= scored["threshold"])).all()
        assert scored["score"].between(0, 1).all()


@pytest.mark.slow
def test_a_run_holds_what_the_reference_says(swept):
    folder = RunFolder(swept[1])
    assert set(summary_of(folder.path)) == set(SUMMARY)
    names = pq.read_schema(folder.trials).names
    kinds = [re.sub(r"^(params\.|val/).*", r"\1*", name) for name in names]
    assert set(kinds) == set(TRIALS)
    for name in set(FILES) - {
        "wandb",
        "tensorboard",
        "tracking.json",
        "tracking-mlflow.json",
        "dashboard.json",
    }:
        path = getattr(folder, name) if hasattr(RunFolder, name) else folder.path / name
        assert Path(path).exists(), name


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_two_commands_in_a_fresh_environment(tmp_path):
    """The first block as a stranger runs it, from a copy of the checkout."""
    copy = tmp_path / "checkout"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(copy)], check=True)
    first, second = (b.text for b in blocks(README)[:2])
    assert second.split(" && ")[:-1] == first.split(" && ")[:-1]
    assert second.split(" && ")[-1].strip() == "pytest"
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
