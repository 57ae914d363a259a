"""A runner: each trial's faults are its own, progress is saved and taken up again."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import numpy as np
import pytest

from jamba_ray.checkpoints import CheckpointStore, Snapshot
from jamba_ray.config.run import TrialConfig
from jamba_ray.config.store_uri import StoreUri
from jamba_ray.errors import ConfigError, StorageError, TrialError
from jamba_ray.runners import runner as runner_file
from jamba_ray.runners.runner import (
    SAVE_EVERY_S,
    SAVE_SHARE,
    DetachedError,
    Runner,
    root_cause,
    save_every_s,
)
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.study.records import TrialSpec
from jamba_ray.training import Outcome, Report
from tests.checkpoints.s3_server import s3_server
from tests.study.trials import data

METRICS = {"val/average_precision": 0.5}


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "run").create()


@pytest.fixture
def base():
    import jamba_ray.models  # noqa: F401  (registers the families)

    return TrialConfig.model_validate({"model": {"name": "attention"}, "seed": 5})


def carry_on(reports):
    return ["continue"] * len(reports)


def outcome(member, step=3, value=0.5):
    snapshot = Snapshot(tensors={"model/w": np.ones(2)}, documents={"state": {"step": step}})
    return Outcome(
        member.trial, "complete", None, value, {"val/f1": 0.1}, step, 9, 1.0, 2.0, 1.0, snapshot
    )


def runner(folder, fit):
    return Runner(folder, data(), fit=fit)


def test_each_trial_has_its_own_seed_and_an_invalid_one_fails_alone(folder, base):
    seen = []

    def fit(members, *_, **__):
        seen.extend((m.trial, m.config.seed, m.config.model.n_heads) for m in members)
        return [outcome(m) for m in members]

    jobs = [
        TrialSpec(0, {"model.n_heads": 8}),
        TrialSpec(1, {"model.n_heads": 7}),
        TrialSpec(2, {"seed": 77}),
    ]
    ends = runner(folder, fit).train(jobs, base, carry_on)
    assert seen == [(0, 5, 8), (2, 77, base.model.n_heads)]
    assert [e.state for e in ends] == ["complete", "failed", "complete"]
    assert "`model.n_heads` must divide" in ends[1].reason
    assert ends[0].checkpoint == "trial-0000/best-000003"


def test_of_a_stack_that_falls_over_only_the_guilty_member_fails(folder, base):
    calls = []

    def fit(members, data, report, **_):
        calls.append([m.trial for m in members])
        if 2 in calls[-1]:
            raise ZeroDivisionError("no rows")
        return [outcome(m) for m in members]

    ends = runner(folder, fit).train([TrialSpec(n, {}) for n in (1, 2, 3)], base, carry_on)
    assert calls == [[1, 2, 3], [1], [2], [3]]
    assert [e.state for e in ends] == ["complete", "failed", "complete"]
    assert ends[1].reason.startswith("ZeroDivisionError: no rows (test_runner.py:")
    (log,) = folder.logs.iterdir()
    assert "trial 2 failed" in log.read_text()
    assert "Traceback" in log.read_text()


@pytest.mark.parametrize("error", [DetachedError("gone"), KeyboardInterrupt()])
def test_what_is_no_fault_of_the_trial_passes_through(folder, base, error):
    def fit(*_, **__):
        raise error

    with pytest.raises(type(error)):
        runner(folder, fit).train([TrialSpec(0, {})], base, carry_on)


def test_progress_is_saved_and_taken_up_again(folder, base, monkeypatch):
    monkeypatch.setattr(runner_file, "SAVE_EVERY_S", 0.0)
    resumed = {}

    def fit(members, data, report, *, device, save, resume):
        resumed.update(resume or {})
        for step in (1, 2, 3):
            report([Report(members[0].trial, step, step, 0.1, 0.1, METRICS, 0.0)])
            save(members[0].trial, Snapshot(documents={"state": {"step": step}}))
        raise MemoryError

    first = runner(folder, fit).train([TrialSpec(4, {})], base, carry_on)
    assert first[0].reason == "out of memory (MemoryError)"
    newest, _ = CheckpointStore(folder.checkpoints).latest(4)
    assert (newest.entry.step, newest.snapshot.documents["state"]["step"]) == (3, 3)
    # A damaged newest checkpoint is passed over.
    (folder.checkpoints / newest.entry.path / "state.json").write_text('{"step": 9}')
    runner(folder, fit).train([TrialSpec(4, {}, resumed=True)], base, carry_on)
    assert resumed[4].documents["state"]["step"] == 2
    text = "".join(p.read_text() for p in folder.logs.iterdir())
    assert "damaged checkpoint" in text


def test_saving_is_not_done_at_every_report(folder, base):
    def fit(members, data, report, *, save, **_):
        for step in range(1, 6):
            report([Report(0, step, step, 0.1, 0.1, METRICS, 0.0)])
            save(0, Snapshot(documents={"state": {"step": step}}))
        return [outcome(members[0])]

    runner(folder, fit).train([TrialSpec(0, {})], base, carry_on)
    kinds = [(e.kind, e.step) for e in CheckpointStore(folder.checkpoints).entries(0)]
    assert sorted(kinds) == [("best", 3), ("step", 1)]


def test_a_runner_of_many_trials_saves_as_often_as_its_share_allows():
    assert save_every_s(0.01, []) == SAVE_EVERY_S
    assert save_every_s(0.01, [1.0, 3.0]) == SAVE_EVERY_S
    sixteen = save_every_s(0.01, [1.0] * 16)
    assert sixteen == pytest.approx(16 * 0.01 / SAVE_SHARE)
    assert save_every_s(0.01, [1.0] * 16 + [100.0] * 50) == sixteen, "ended trials count"
    assert save_every_s(100.0, [1.0]) == save_every_s(SAVE_EVERY_S, [1.0]), "a disk that hung once"


def test_pruned_trials_leave_no_checkpoint(folder, base):
    def fit(members, *_, **__):
        import dataclasses

        return [dataclasses.replace(outcome(members[0]), state="pruned")]

    (end,) = runner(folder, fit).train([TrialSpec(0, {})], base, carry_on)
    assert (end.state, end.checkpoint) == ("pruned", None)
    assert CheckpointStore(folder.checkpoints).entries() == []


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (None, "the training code reported None, which is no report"),
        ({}, "the training code reported no `val/average_precision`"),
        ({"val/average_precision": "0.5"}, "`val/average_precision` was reported as '0.5'"),
        ({"val/average_precision": None}, "`val/average_precision` was reported as None"),
        ({"val/average_precision": True}, "`val/average_precision` was reported as True"),
        ("silence", "the training code ended without saying how the trial did"),
        ("word", "the training code gave 'good' as value, which is no number"),
    ],
)
def test_nonsense_fails_the_trial_that_says_it(folder, base, said, reason):
    def fit(members, data, report, **_):
        if said == "silence":
            return None
        if said == "word":
            return [outcome(members[0], value="good")]
        report([said if said is None else Report(0, 1, 1, 0.1, 0.1, said, 0.0)])
        return [outcome(members[0])]

    (end,) = runner(folder, fit).train([TrialSpec(0, {})], base, carry_on)
    assert end.state == "failed"
    assert end.reason.startswith(reason)


def test_a_store_that_refuses_for_long_is_no_fault_of_the_trial(folder, base, monkeypatch):
    def fit(members, *_, **__):
        return [outcome(members[0])]

    refused = []

    def full(*_):
        refused.append(1)
        raise StorageError("Disk full.")

    unlucky = Runner(folder, data(), fit=fit, patience_s=0.5)
    monkeypatch.setattr(unlucky._store, "save", full)
    with pytest.raises(DetachedError, match="Disk full"):
        unlucky.train([TrialSpec(0, {})], base, carry_on)
    assert len(refused) > 1


@pytest.mark.parametrize(
    ("refusal", "patience_s", "least_s"),
    [((503, "SlowDown"), 1.0, 1.0), ((403, "AccessDenied"), 60.0, 0.0)],
    ids=["throttles", "refuses for good"],
)
def test_a_bucket_is_asked_again_for_the_patience_and_no_longer(
    tmp_path, base, monkeypatch, refusal, patience_s, least_s
):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    told = []

    def fit(members, *_, **__):
        return [outcome(members[0])]

    with s3_server() as (endpoint, faults):
        folder = RunFolder(tmp_path / "run", StoreUri("s3", "bucket/run"), endpoint).create()
        there = Runner(folder, data(), fit=fit, patience_s=patience_s, waiting=told.append)
        faults.plan = lambda method, path: refusal
        begun = time.monotonic()
        with pytest.raises(DetachedError) as caught:
            there.train([TrialSpec(0, {})], base, carry_on)
    assert least_s <= time.monotonic() - begun < least_s + 2.0
    assert bool(told) == bool(least_s), "what is waited for is said, and only then"
    assert ("times in 1 s)" in str(caught.value)) == bool(least_s)


def test_a_run_folder_that_is_gone_is_a_lost_store_and_is_not_made_anew(folder, base):
    def fit(members, data, report, **_):
        folder.path.rename(folder.path.with_name("elsewhere"))
        report([Report(0, 1, 1, 0.1, 0.1, METRICS, 0.0)])

    with pytest.raises(DetachedError, match=r"is gone\. .*\(tried \d+ times in 0 s\)"):
        Runner(folder, data(), fit=fit, patience_s=0.3).train([TrialSpec(0, {})], base, carry_on)
    assert not folder.path.exists()


def test_what_another_run_wrote_over_the_newest_checkpoint_costs_steps_and_not_the_trial(
    folder, base, monkeypatch
):
    monkeypatch.setattr(runner_file, "SAVE_EVERY_S", 0.0)
    monkeypatch.setattr(runner_file, "save_every_s", lambda *_: 0.0)
    base = base.model_copy(update={"training": base.training.model_copy(update={"epochs": 3})})
    store, notes = CheckpointStore(folder.checkpoints), []

    def killed(reports):
        if reports[0].step == 3:
            raise KeyboardInterrupt
        return carry_on(reports)

    def opened():
        return Runner(folder, data(), note=notes.append)

    jobs = [TrialSpec(0, {"model.name": "mlp"})]
    with pytest.raises(KeyboardInterrupt):
        opened().train(jobs, base, killed)
    steps = [entry.step for entry in store.entries(0)]
    assert len(steps) > 1
    taken = store.latest(0)[0].snapshot
    taken.documents["fingerprints"]["config"] = "another's"
    store.save(0, steps[-1], taken)
    (end,) = opened().train([replace(jobs[0], resumed=True)], base, carry_on)
    assert (end.state, end.reason) == ("complete", None)
    assert "another run wrote it (its config differs). It goes on from step" in notes[0]
    rows = (folder.path / "rows" / "trial-0000.jsonl").read_text().splitlines()
    seen = [json.loads(row)["step"] for row in rows]
    assert seen == sorted(set(seen)), "a step was written twice"


def _chained() -> BaseException:
    try:
        try:
            raise OSError("cable cut")
        except OSError as error:
            raise RuntimeError("wrapped") from error
    except RuntimeError as error:
        return error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (_chained(), "OSError: cable cut (test_runner.py:"),
        (SystemExit(3), "the training code called sys.exit(3)"),
        (MemoryError(), "out of memory (MemoryError)"),
        (ConfigError(["One.", "Two."]), "One. Two."),
        (TrialError("Trial 12: the loss is nan."), "the loss is nan."),
        (StorageError("Disk full."), "Disk full."),
        (ValueError("first\nsecond"), "ValueError: first"),
        (KeyError(), "KeyError"),
    ],
)
def test_root_causes_are_one_line(error, reason):
    assert root_cause(error).startswith(reason)
    assert "\n" not in root_cause(error)
