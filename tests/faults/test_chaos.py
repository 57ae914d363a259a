"""``python -m jamba_ray.chaos`` as a user runs it, and proof that its checker can fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import pytest

from jamba_ray.chaos.__main__ import main
from jamba_ray.chaos.checker import check
from jamba_ray.chaos.faults import FAULTS
from jamba_ray.chaos.history import History
from tests.study.studies import N_REPORTS, open_study, train

SABOTAGE = """
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.util import find_spec
class Patch(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name != TARGET:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        run = spec.loader.exec_module
        def patched(module):
            run(module)
            sabotage(module)
        spec.loader.exec_module = patched
        return spec
sys.meta_path.insert(0, Patch())
"""

NO_COMMIT = """
TARGET = "jamba_ray.study.journal"
def sabotage(module):
    # Acknowledges at once and commits now and then.
    commit, calls = module.StudyJournal.commit, [0]
    def lazily(self, upto=None):
        calls[0] += 1
        if calls[0] % 12 == 0 or not self.study.get_trials(deepcopy=False):
            commit(self, upto)
    module.StudyJournal.commit = lazily
"""

NO_CHECKSUMS = """
TARGET = "jamba_ray.runs.checked_lines"
def sabotage(module):
    # Whatever checksum a line names is taken for right.
    def line(data, start, previous):
        end = data.find(b"\\n", start) + 1
        if not end:
            return None
        commit = module._LOOKS_WHOLE.search(data, start, end)
        return end, int(commit[1]) if commit else None, data[end - 19:end - 3].decode()
    module._line = line
"""


def chaos(*args: str, sabotage: str | None = None, tmp_path=None) -> subprocess.CompletedProcess:
    env = {**os.environ, "COLUMNS": "120"}
    if sabotage is not None:
        (tmp_path / "sitecustomize.py").write_text(textwrap.dedent(sabotage) + SABOTAGE)
        env["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{env.get('PYTHONPATH', '')}"
    return subprocess.run(
        [sys.executable, "-m", "jamba_ray.chaos", *args],
        capture_output=True,
        text=True,
        timeout=1200,
        env=env,
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_kill_of_the_driver_loses_and_repeats_nothing(capsys, monkeypatch):
    """One; `test_twenty_kills_of_the_driver` kills a sweep that was continued again and again. In
    the default run `tests/driver/test_resume.py` kills one without Ray, and
    `tests/driver/test_sweep.py` interrupts one with it."""
    monkeypatch.setenv("COLUMNS", "120")
    code = main(["--faults", "driver SIGKILL", "--times", "1", "--trials", "4", "--seed", "7"])
    said = capsys.readouterr().out
    assert code == 0, said
    assert "every promise was kept" in said
    row = next(line for line in said.splitlines() if line.startswith("driver SIGKILL"))
    assert row.split()[2:4] == ["1", "1"], row


def test_the_faults_are_listed(capsys):
    assert main(["--list"]) == 0
    assert capsys.readouterr().out.splitlines() == [fault.name for fault in FAULTS]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("fault", [fault.name for fault in FAULTS])
def test_every_fault_is_recovered_from(fault):
    done = chaos("--faults", fault, "--seed", "1")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(5))
def test_twenty_kills_of_the_driver(seed):
    """Four kills each in five sweeps of 16 trials."""
    args = ("--faults", "driver SIGKILL", "--times", "4", "--trials", "16", "--seed", str(seed))
    done = chaos(*args)
    assert done.returncode == 0, done.stdout + done.stderr
    row = next(line for line in done.stdout.splitlines() if line.startswith("driver SIGKILL"))
    assert row.split()[2:4] == ["4", "4"], row
    print(row)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("guard", "fault"), [(NO_COMMIT, "driver SIGKILL"), (NO_CHECKSUMS, "study with one bit")]
)
def test_without_its_guard_chaos_fails(tmp_path, guard, fault):
    done = chaos("--faults", fault, "--times", "1", sabotage=guard, tmp_path=tmp_path)
    assert done.returncode == 70, done.stdout + done.stderr
    assert "BROKEN" in done.stdout


# -- the checker itself: each promise, broken by hand, is seen ---------------------------------


@pytest.fixture
def ended(tmp_path):
    """A study of three trials and a history that agrees with it."""
    history = History(tmp_path / "history.jsonl")
    study = open_study(tmp_path, n_trials=3)
    for n in range(3):
        spec = study.ask(f"s/{n}").spec
        history.note("begin", n, rate=spec.params["training.rate"], step=0)
        train(study, spec)
        (record,) = [r for r in study.records() if r.number == n]
        for step, value in record.curve:
            history.note("step", n, step=step, value=value)
        history.note("finished", n, state=record.state, value=record.value)
    study.close()
    return tmp_path / "study.journal", history


def broken(ended, *, n_trials=3):
    study, history = ended
    return check(history.events(), study, n_trials, interval_steps=2).broken


def test_a_sound_history_is_accepted(ended):
    assert broken(ended) == ()


def test_a_lost_trial_is_seen(ended):
    ended[1].note("finished", 3, state="complete", value=0.5)
    assert any("trial 3 was acknowledged" in b for b in broken(ended))
    assert any("there are 3 trials" in b for b in broken(ended, n_trials=4))


def test_a_changed_value_is_seen(ended):
    ended[1].note("step", 0, step=1, value=0.123)
    assert any("lacks or changed the acknowledged steps [1]" in b for b in broken(ended))


def test_a_lost_step_is_seen(ended):
    ended[1].note("step", 0, step=N_REPORTS + 1, value=0.5)
    assert any("lacks or changed" in b for b in broken(ended))


def test_a_trial_that_runs_again_is_seen(ended):
    ended[1].note("begin", 0, rate=0.5, step=0)
    found = broken(ended)
    assert any("run again after it had finished" in b for b in found)
    assert any("begun with 2 settings" in b for b in found)
    assert any("steps of one trial were done again" in b for b in found)


def test_twins_and_unfinished_trials_are_seen(ended):
    lines = ended[0].read_text().splitlines()
    ended[0].write_text("".join(map(_as_running_twin, lines)))
    found = broken(ended)
    assert any("never ended" in b for b in found)
    assert any("have the same parameters" in b for b in found)


def _as_running_twin(line):
    """An operation of Optuna's without trial 1's end, and with the same parameters for all."""
    operation = json.loads(line)
    if operation["op_code"] == 6 and operation["trial_id"] == 1:
        return ""
    if "params" in operation:
        operation["params"] = dict.fromkeys(operation["params"], 1.0)
    return json.dumps(operation) + "\n"
