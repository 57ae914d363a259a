"""``python -m jamba_ray.sweep`` in real trouble: its words, its exit code and what it leaves."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jamba_ray.chaos.faults import STOPPED_S
from jamba_ray.config.data import SyntheticSection
from jamba_ray.data import generate
from jamba_ray.driver.head_watch import descendants, is_alive
from tests.faults.disks import fill, small_disk

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SWEEP = [
    "+sweep=learning_rate",
    "model=mlp",
    "n_trials=8",
    "max_concurrent=1",
    "training.epochs=60",
    "training.report_rows=2000",
    "pruner.name=none",
    "rival=false",
]
"""Trials of some seconds each, with a report a second or so."""
SHORT = ["data.n_samples=1500", "training.epochs=20"]
"""Trials of a second or so each."""


class Sweep:
    """A sweep as a user runs it; ``lines`` is what it printed so far."""

    def __init__(self, *settings: str, cwd: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "jamba_ray.sweep", *SWEEP, "run=r", *settings],
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "COLUMNS": "200", "PYTHONUNBUFFERED": "1"},
            process_group=0,
        )
        self.pid = self._process.pid
        self.lines: list[str] = []

    def until(self, words: str) -> str:
        """Read on until a line holds ``words``."""
        for line in self._process.stdout:
            self.lines.append(line.rstrip())
            if words in line:
                return line
        raise AssertionError(f"{words!r} was never said:\n" + "\n".join(self.lines))

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end(self) -> int:
        self.lines += self._process.stdout.read().splitlines()
        return self._process.wait(timeout=300)

    @property
    def said(self) -> str:
        return "\n".join(self.lines)


@contextlib.contextmanager
def sweep(*settings: str, cwd: Path) -> Iterator[Sweep]:
    running = Sweep(*settings, cwd=cwd)
    try:
        yield running
    finally:
        with running._process as process:
            process.kill()


def summary(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


def states(folder: Path) -> dict[int, tuple[str, str | None]]:
    rows = pq.read_table(folder / "trials.parquet").to_pylist()
    return {row["number"]: (row["state"], row["reason"]) for row in rows}


@pytest.mark.parametrize("what", ["changes", "vanishes"])
def test_data_that_change_or_vanish_fail_the_trials_that_run_with_that_reason(tmp_path, what):
    data = tmp_path / "flows.csv"
    generate(SyntheticSection(name="synthetic", n_samples=4000, n_features=6)).to_csv(
        data, index=False
    )
    with sweep("data=table", f"data.path={data}", cwd=tmp_path) as running:
        running.until("1/8 trial 0 (the defaults) complete")
        if what == "changes":
            with data.open("a") as file:
                file.write(data.read_text().splitlines()[1] + "\n")
        else:
            data.unlink()
        code = running.end()
    folder = tmp_path / "runs" / "r"
    found = states(folder)
    assert code == 3, running.said
    assert found[0] == ("complete", None)
    failed = {n: reason for n, (state, reason) in found.items() if state == "failed"}
    assert failed, found
    word = "changed" if what == "changes" else "can no longer be read"
    assert all("flows.csv" in reason and word in reason for reason in failed.values()), failed
    assert len(found) < 8, "trials were begun on data that are no longer what was read"
    assert f"{len(failed)} failed" in running.said
    assert next(iter(failed.values())) in running.said
    assert "flows.csv" in summary(folder)["ended"]


def test_a_disk_that_is_full_for_a_while_is_waited_for_and_said(tmp_path):
    with small_disk(tmp_path / "disk", 60_000) as disk:
        store = f"store={disk}"
        with sweep(store, "store_patience_s=60", "data.n_samples=4000", cwd=tmp_path) as running:
            running.until("1/8 trial 0")
            fill(disk / "ballast")
            refused = running.until("the store refuses")
            assert "trying again" in refused
            assert "of 60 s" in refused
            (disk / "ballast").unlink()
            running.until("the store takes what it is given again")
            assert running.end() == 0, running.said
        assert set(states(disk / "r").values()) == {("complete", None)}


def test_a_disk_that_stays_full_ends_the_sweep_with_74_and_it_resumes(tmp_path):
    with small_disk(tmp_path / "disk", 60_000) as disk:
        store = f"store={disk}"
        with sweep(store, "store_patience_s=3", "data.n_samples=4000", cwd=tmp_path) as running:
            running.until("2/8 trial 1")
            fill(disk / "ballast")
            assert running.end() == 74, running.said
        assert "the store refuses" in running.said
        assert "Traceback" not in running.said
        (disk / "ballast").unlink()
        assert summary(disk / "r")["status"] in ("running", "storage_lost")
        with sweep(store, "data.n_samples=4000", "resume=true", cwd=tmp_path) as again:
            assert again.end() == 0, again.said
        assert set(states(disk / "r").values()) == {("complete", None)}
        assert not [line for line in again.lines if line.startswith(("1/8", "2/8"))], "run again"


def test_ctrl_c_is_heeded_while_a_full_disk_is_waited_for(tmp_path):
    with small_disk(tmp_path / "disk", 60_000) as disk:
        store = f"store={disk}"
        with sweep(store, "store_patience_s=120", "data.n_samples=4000", cwd=tmp_path) as running:
            running.until("2/8 trial 1")
            fill(disk / "ballast")
            running.until("the store refuses")
            sent = time.monotonic()
            running.signal(signal.SIGINT)
            assert running.end() == 75, running.said
            took = time.monotonic() - sent
        print(f"ended after {took:.1f} s")
        assert took < 10, running.said  # not the two minutes that it would have waited
        assert "resume=true run=r" in running.said
        (disk / "ballast").unlink()
        with sweep(store, "data.n_samples=4000", "resume=true", cwd=tmp_path) as again:
            assert again.end() == 0, again.said
        assert set(states(disk / "r").values()) == {("complete", None)}


def to_the_driver(running: Sweep) -> None:
    running.signal(signal.SIGINT)


def to_the_group(running: Sweep) -> None:
    """As ``timeout`` does it: the driver gets it twice."""
    running.signal(signal.SIGTERM)
    os.killpg(running.pid, signal.SIGTERM)


def to_every_process(running: Sweep) -> None:
    """As systemd and Slurm do it: Ray gets it too."""
    for pid in (running.pid, *(pid for pid, _ in descendants(running.pid))):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


def kill_the_head(running: Sweep) -> None:
    (head,) = [pid for pid, line in descendants(running.pid) if "gcs_server" in line.split()[0]]
    os.kill(head, signal.SIGKILL)


@pytest.mark.parametrize(
    ("end", "why"),
    [
        (to_the_driver, "SIGINT"),
        (to_the_group, "SIGTERM"),
        (to_every_process, "SIGTERM"),
        (kill_the_head, "The end of Ray's gcs_server on this machine"),
    ],
)
def test_an_interrupted_sweep_leaves_a_summary_and_its_trials(tmp_path, end, why):
    with sweep(*SHORT, cwd=tmp_path) as running:
        running.until("2/8 trial 1")
        below = [pid for pid, _ in descendants(running.pid)]
        sent = time.monotonic()
        end(running)
        assert running.end() == 75, running.said
        took = time.monotonic() - sent
    folder = tmp_path / "runs" / "r"
    print(f"{end.__name__}: ended after {took:.1f} s")
    assert took < STOPPED_S, running.said
    found = summary(folder)
    assert (found["status"], found["exit_code"]) == ("interrupted", 75)
    rows = states(folder)
    assert [rows[n] for n in (0, 1)] == [("complete", None)] * 2
    assert sum(found["trials"].values()) == len(rows)
    assert f"{why} stopped the sweep with its state saved" in running.said
    assert "resume=true run=r" in running.said
    deadline = time.monotonic() + 10
    while any(is_alive(pid) for pid in below):
        assert time.monotonic() < deadline, "processes of Ray live on"
        time.sleep(0.1)


def test_ctrl_c_on_a_terminal_leaves_a_summary_and_its_trials(tmp_path):
    """It goes to the terminal's whole foreground group."""
    terminal, end = os.openpty()

    def own_terminal() -> None:
        os.setsid()
        fcntl.ioctl(end, termios.TIOCSCTTY, 0)

    words = [sys.executable, "-m", "jamba_ray.sweep", *SWEEP, *SHORT, "run=r"]
    with subprocess.Popen(
        words, cwd=tmp_path, stdin=end, stdout=end, stderr=end, preexec_fn=own_terminal
    ) as process:
        os.close(end)
        shown = b""
        with contextlib.suppress(OSError):  # the terminal's end, as the process leaves it
            while piece := os.read(terminal, 65536):
                before, shown = shown, shown + piece
                if b"2/8 trials" in shown and b"2/8 trials" not in before:
                    os.write(terminal, b"\x03")
        assert process.wait(timeout=60) == 75, shown[-2000:].decode()
    os.close(terminal)
    assert summary(tmp_path / "runs" / "r")["status"] == "interrupted"
    assert len(states(tmp_path / "runs" / "r")) >= 2
    assert b"SIGINT stopped the sweep with its state saved" in shown.replace(b"\r\n", b" ")
