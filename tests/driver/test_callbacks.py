"""Callbacks of plug-ins: one that raises, cannot be made or hangs costs a note and nothing else."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import ClassVar

import pytest

from jamba_ray.config.plugins import CALLBACKS
from jamba_ray.driver import callbacks as callbacks_file
from jamba_ray.driver.callbacks import Callbacks
from jamba_ray.study.records import SweepProgress, TrialRecord
from tests.plugged import forgotten

TRIAL = TrialRecord(3, "complete", {}, 0.5, {}, 1, 1, 1.0, 1.0, 1.0, None, None, ())
NONE = SweepProgress(4, {}, None, (), (), {}, 1.0, 1.0, 1, None)


class Careless:
    def on_trial_end(self, trial):
        raise ValueError(f"no room for {trial.number}\nand more")

    def on_sweep_end(self, summary):
        raise KeyError(summary["status"])


class Careful:
    told: ClassVar[list] = []

    def on_trial_end(self, trial):
        self.told.append(("end", trial.number))

    def on_best(self, trial):
        self.told.append(("best", trial.number))

    def on_sweep_end(self, summary):
        self.told.append(("over", summary["status"]))


def unmakeable():
    raise RuntimeError("no licence")


@pytest.fixture
def registered():
    Careful.told = []
    with forgotten():
        CALLBACKS.clear()
        yield CALLBACKS


def test_one_that_raises_becomes_a_note_and_the_others_are_told(registered):
    registered |= {"own.Broken": unmakeable, "own.Careless": Careless, "own.Careful": Careful}
    shown = []
    found = Callbacks()
    watch = found.around(shown.append)
    watch(replace(NONE, finished=(TRIAL,), best=TRIAL))
    watch(replace(NONE, finished=(replace(TRIAL, number=4),), best=TRIAL))
    notes = found.end({"status": "ok"})
    assert len(shown) == 2, "the display sees every progress"
    assert Careful.told == [("end", 3), ("best", 3), ("end", 4), ("over", "ok")]
    assert notes == [
        "The callback own.Broken cannot be made: RuntimeError: no licence.",
        "The callback own.Careless raised ValueError: no room for 3 in `on_trial_end`.",
        "The callback own.Careless raised ValueError: no room for 4 in `on_trial_end`.",
        "The callback own.Careless raised KeyError: 'ok' in `on_sweep_end`.",
    ]


def test_one_that_hangs_is_left_there(registered, monkeypatch):
    monkeypatch.setattr(callbacks_file, "_LAST_S", 0.05)
    release = threading.Event()
    registered["own.Slow"] = lambda: type(
        "Slow", (), {"on_trial_end": lambda s, t: release.wait()}
    )()
    found = Callbacks()
    found.look(replace(NONE, finished=(TRIAL,)))
    (note,) = found.end({"status": "ok"})
    release.set()
    assert note.startswith("The callbacks were still at work 0.05 s after the sweep's end")
