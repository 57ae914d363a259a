"""Tracking on against off: time and memory of a sweep's trials with and without the W&B follower.

    python -m tests.benchmarks.tracking_overhead [trials] [seconds per trial]

Trials report through the real study and rows at a real trial's pace in one process; with it
runs the follower, to a W&B stub on loopback. Alternated, so that a busy machine hurts both.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import yaml

from jamba_ray.config.tracking import TrackingSection
from jamba_ray.runs.file_writes import write_bytes
from jamba_ray.runs.row_log import RowLog
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.study.records import ReportLine, TrialOutcome
from jamba_ray.tracking.follower_process import Following
from tests.study.studies import N_REPORTS, curve, open_study
from tests.tracking.folders import CONFIG, judge
from tests.tracking.stub_server import Stub


def sweep(path: Path, section: TrackingSection, n_trials: int, trial_s: float):
    """(seconds of the trials, seconds until all is closed, peak MB of the follower and W&B)."""
    folder = RunFolder(path)
    folder.create()
    write_bytes(folder.config, yaml.safe_dump(CONFIG).encode())
    begun = time.monotonic()
    with Following(folder, section) as follower, _Memory(follower) as memory:
        study, rows = open_study(path, n_trials=n_trials), RowLog(path)
        number = 0
        while (spec := study.ask(f"s/{number}").spec) is not None:
            _train(study, rows, spec, trial_s)
            number += 1
        study.close()
        trained = time.monotonic() - begun
        judge(folder)
        folder.report.write_text("<!doctype html>")
    verdict = follower.verdict()
    assert verdict == [], verdict
    return trained, time.monotonic() - begun, memory.peak_mb


def _train(study, rows, spec, trial_s):
    a = np.random.default_rng(0).normal(size=(256, 256))
    values = curve(spec.params, spec.number)
    for step in range(1, N_REPORTS + 1):
        # A fixed amount of work, not of time: what the follower takes away shows.
        for _ in range(round(trial_s / N_REPORTS * _PRODUCTS_PER_S)):
            a = np.tanh(a @ a / 256)
        rows.write(spec.number, step, {"val/average_precision": values[step - 1]}, epoch=step)
        (decision,) = study.report([ReportLine(spec.number, step, values[step - 1])])
        if decision == "prune":
            study.finish(TrialOutcome(spec.number, "pruned", value=values[step - 1]))
            return
    study.finish(TrialOutcome(spec.number, "complete", value=values[-1], rows_seen=900, epochs=9.0))


def _products_per_s() -> float:
    a = np.random.default_rng(0).normal(size=(256, 256))
    begun, n = time.monotonic(), 0
    while time.monotonic() - begun < 1.0:
        a = np.tanh(a @ a / 256)
        n += 1
    return float(n)


class _Memory:
    """Peak resident memory of the follower's process group."""

    def __init__(self, follower):
        self._pid = follower._process.pid if follower._process else None
        self._stop = threading.Event()
        self.peak_mb = 0.0

    def __enter__(self):
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _loop(self):
        while self._pid is not None and not self._stop.wait(0.5):
            self.peak_mb = max(self.peak_mb, sum(map(_pss_mb, _group(self._pid))))


def _group(leader):
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == leader:
            yield int(path.parent.name)


def _pss_mb(pid):
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) / 1e3


def main(n_trials: int, trial_s: float, rounds: int = 3) -> None:
    """Print one line of JSON."""
    stub = Stub()
    os.environ.update(stub.environment())
    off, on = TrackingSection(), TrackingSection(name="wandb", mode="online", close_s=300.0)
    found = {"off": [], "on": []}
    try:
        with tempfile.TemporaryDirectory() as folder:
            for i in range(rounds):
                for name, section in (("off", off), ("on", on)):
                    found[name].append(
                        sweep(Path(folder) / f"{name}-{i}", section, n_trials, trial_s)
                    )
    finally:
        stub.close()
    seconds = {k: [round(r[0], 2) for r in v] for k, v in found.items()}
    before, after = (statistics.median(seconds[k]) for k in ("off", "on"))
    closing = statistics.median(r[1] - r[0] for r in found["on"])
    print(
        json.dumps(
            {
                "trials": n_trials,
                "seconds": seconds,
                "overhead": round(after / before - 1, 4),
                "closing_s": round(closing, 2),
                "closing_off_s": round(statistics.median(r[1] - r[0] for r in found["off"]), 2),
                "follower_peak_mb": round(max(r[2] for r in found["on"])),
                "rows_sent": len(stub.sent_rows),
                "rows_sent_twice": len(stub.sent_rows) - len(set(stub.sent_rows)),
                "load": os.getloadavg()[0],
                "cores": os.cpu_count(),
            }
        )
    )


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    _PRODUCTS_PER_S = _products_per_s()
    given = sys.argv[1:]
    main(int(given[0]) if given else 50, float(given[1]) if given[1:] else 4.0)
