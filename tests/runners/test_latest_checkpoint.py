"""A checkpoint that is gone or damaged is missed, walked back from, and said; nothing else is."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import pytest

from jamba_ray.checkpoints import CheckpointStore, Snapshot
from jamba_ray.config.run import TrialConfig
from jamba_ray.driver import monitor as monitor_file
from jamba_ray.driver.head_watch import HeadWatch
from jamba_ray.driver.monitor import Monitor
from jamba_ray.driver.open_runner import open_runner
from jamba_ray.runners import runner as runner_file
from jamba_ray.runners.latest_checkpoint import LatestCheckpoints, went_back
from jamba_ray.runners.runner import Runner
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.study.records import SweepProgress, TrialSpec
from jamba_ray.training import Report
from tests.study.trials import data

METRICS = {"val/average_precision": 0.5}


def snapshot(step: int) -> Snapshot:
    return Snapshot(documents={"state": {"step": step}})


@pytest.mark.parametrize(
    ("saved", "there", "found", "damaged", "said"),
    [
        (12, 12, 12, [], None),
        (0, 0, 0, [], None),
        (8, 12, 12, [], None),  # the study was not told of the newest one any more
        (12, 8, 8, [], "(step 12) is gone. It goes on from step 8: 4 steps of it must be done"),
        (2, 1, 1, [], "(step 2) is gone. It goes on from step 1: 1 step of it must be done again."),
        (12, 0, 0, [], "(step 12) is gone. It is begun anew: 12 steps of it must be done again."),
        (12, 12, 8, ["A."], "trial 3: A. It goes on from step 8: 4 steps of it"),
        (12, 12, 0, ["A.", "B."], "trial 3: A. B. It is begun anew: 12 steps of it"),
        (12, 8, 4, ["A."], "(step 12) is gone. A. It goes on from step 4: 8 steps of it"),
        (0, 12, 8, ["A."], "trial 3: A. It goes on from step 8: 4 steps of it"),
    ],
)
def test_what_is_said(saved, there, found, damaged, said):
    sentence = went_back(3, saved, there, found, damaged)
    assert sentence is None if said is None else said in sentence


def test_what_was_saved_is_told_and_missed_when_it_is_gone(tmp_path):
    store, notes, told = CheckpointStore(tmp_path), [], []
    newest = LatestCheckpoints(store, notes.append, lambda *what: told.append(what))
    for step in (2, 4, 6):
        store.save(3, step, snapshot(step))
        newest.saved(3, step)
    assert told == [(3, 2), (3, 4), (3, 6)]
    assert newest.read(3).documents["state"]["step"] == 6
    assert notes == []
    shutil.rmtree(tmp_path / "trial-0003" / "step-000006")
    (tmp_path / "trial-0003" / "step-000004" / "state.json").write_text("{}")
    # Another process, which has it from the study.
    later = LatestCheckpoints(store, notes.append)
    later.expect(3, 6)
    assert later.read(3).documents["state"]["step"] == 2
    (note,) = notes
    assert "its newest checkpoint (step 6) is gone. Passed over a damaged checkpoint: " in note
    assert note.endswith("It goes on from step 2: 4 steps of it must be done again.")
    shutil.rmtree(tmp_path / "trial-0003")
    assert later.read(3) is None
    assert "It is begun anew: 6 steps of it must be done again." in notes[1]


def test_a_checkpoint_of_another_run_is_passed_over_where_an_older_one_is_the_trials_own(tmp_path):
    store, notes = CheckpointStore(tmp_path), []
    for step in (2, 4, 6):
        store.save(3, step, snapshot(step))
    newest = LatestCheckpoints(store, notes.append)
    later_than = lambda n: lambda found: ["data"] if found.documents["state"]["step"] > n else []  # noqa: E731
    assert newest.read(3, later_than(3)).documents["state"]["step"] == 2
    (note,) = notes
    assert note.count("another run wrote it (its data differs).") == 2
    assert note.endswith("It goes on from step 2: 4 steps of it must be done again.")
    # All are: the settings have changed, and training says so itself.
    assert newest.read(3, later_than(0)).documents["state"]["step"] == 6
    assert len(notes) == 1


def test_a_runner_tells_of_resumable_checkpoints_and_misses_the_one_that_is_gone(
    tmp_path, monkeypatch
):
    import jamba_ray.models  # noqa: F401  (registers the families)

    monkeypatch.setattr(runner_file, "SAVE_EVERY_S", 0.0)
    folder = RunFolder(tmp_path / "run").create()
    base = TrialConfig.model_validate({"model": {"name": "mlp"}})
    told, notes, begun = [], [], []

    def fit(members, rows, report, *, save, resume, **_):
        begun.append({n: s.documents["state"]["step"] for n, s in (resume or {}).items()})
        for step in (1, 2, 3):
            report([Report(4, step, step, 0.1, 0.1, METRICS, 0.0)])
            save(4, snapshot(step))
        raise MemoryError

    def runner():
        tell = lambda *what: told.append(what)  # noqa: E731
        return Runner(folder, data(), fit=fit, note=notes.append, saved=tell)

    runner().train([TrialSpec(4, {})], base, lambda reports: ["continue"])
    assert told == [(4, 1), (4, 2), (4, 3)]
    shutil.rmtree(folder.checkpoints / "trial-0004" / "step-000003")
    runner().train([TrialSpec(4, {}, True, step=3, saved=3)], base, lambda reports: ["continue"])
    assert begun == [{}, {4: 2}]
    assert notes == [
        "trial 4: its newest checkpoint (step 3) is gone. It goes on from step 2: 1 step of it "
        "must be done again."
    ]
    assert notes[0] in "".join(path.read_text() for path in folder.logs.iterdir())


def test_a_training_keeps_its_two_newest_checkpoints_and_no_more(tmp_path, monkeypatch):
    import jamba_ray.models  # noqa: F401  (registers the families)

    monkeypatch.setattr(runner_file, "SAVE_EVERY_S", 0.0)
    folder = RunFolder(tmp_path / "run").create()
    base = TrialConfig.model_validate({"model": {"name": "mlp"}})

    def fit(members, rows, report, *, save, **_):
        for step in range(1, 7):
            report([Report(0, step, step, 0.1, 0.1, METRICS, 0.0)])
            save(0, snapshot(step))
        raise MemoryError

    with open_runner(folder, data(), alone=fit) as runner:
        runner.train([TrialSpec(0, {})], base, lambda reports: ["continue"])
    assert [entry.step for entry in CheckpointStore(folder.checkpoints).entries()] == [5, 6]


def test_a_sweep_deletes_old_checkpoints_also_while_nothing_finishes(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path / "run").create()
    store = CheckpointStore(folder.checkpoints)
    for step in range(1, 7):
        store.save(0, step, snapshot(step))
    nothing_yet = SweepProgress(1, {"running": 1}, None, (), (), {}, 0.0, 0.0, 1, None)
    monkeypatch.setattr(monitor_file, "call", lambda method, *_, **__: method)
    server = SimpleNamespace(progress=nothing_yet, standing=([], []))
    poll = Monitor(server, folder, (5, 0), None, 0, lambda: (), lambda: False, HeadWatch({}, print))
    poll.look()
    assert len(store.entries()) == 6, "not at every look"
    monkeypatch.setattr(monitor_file, "_TIDY_S", 0.0)
    poll.look()
    assert [entry.step for entry in store.entries()] == [5, 6]
