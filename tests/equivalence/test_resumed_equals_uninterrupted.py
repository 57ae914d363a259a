"""Killed and resumed equals uninterrupted, bit for bit on a CPU with one thread."""

from __future__ import annotations

import copy
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jamba_ray.checkpoints import Snapshot
from jamba_ray.errors import CheckpointError
from jamba_ray.training import engine, fit
from tests.equivalence import killed_trial
from tests.training.trials import Recorder, make_data, member

ROOT = Path(__file__).parents[2]


def test_after_two_sigkills_with_checkpoints_on_disk(tmp_path):
    """Killed in batch 12 and again 13 batches later, each time inside a report interval."""
    killed_trial.main(str(tmp_path / "a"), str(tmp_path / "whole.npz"), None)
    none, rest = tmp_path / "none.npz", tmp_path / "rest.npz"
    command = [sys.executable, "-m", "tests.equivalence.killed_trial", str(tmp_path / "b")]
    command += [f"{none}:12", f"{none}:13", str(rest)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    killed = str(-signal.SIGKILL)
    assert done.stdout.split() == [killed, killed, "0"], done.stderr
    assert not (tmp_path / "none.npz").exists()
    whole, rest = np.load(tmp_path / "whole.npz"), np.load(tmp_path / "rest.npz")
    assert 0 < len(rest["steps"]) < len(whole["steps"]), "the last attempt began in the middle"
    assert np.array_equal(rest["curve"], whole["curve"][-len(rest["curve"]) :])
    assert set(whole.files) == set(rest.files)
    for name in set(whole.files) - {"steps", "curve"}:
        assert np.array_equal(whole[name], rest[name]), name


FIELDS = {"epochs": 6, "learning_rate": 1e-2}


def members_of(size, precision="fp32"):
    model = {"name": "mlp", "hidden_dim": 16, "token_dim": 4, "dropout_rate": 0.2, "norm": "batch"}
    return [member(t, model, precision=precision, **FIELDS) for t in range(size)]


def interrupted(members, data, step, change=lambda snapshot: None, fresh_members=None):
    """Curves and outcomes after going on from the snapshots of report ``step``."""
    saved: dict[int, Snapshot] = {}

    def save(trial, snapshot):
        if snapshot.documents["state"]["step"] == step:
            saved[trial] = copy.deepcopy(snapshot)
            change(saved[trial])

    whole, rest = Recorder(), Recorder()
    expected = fit(members, data, whole, save=save)
    outcomes = fit(fresh_members or members, data, rest, resume=saved)
    return whole, expected, rest, outcomes


def is_bit_equal(members, data, step, change=lambda snapshot: None):
    whole, expected, rest, outcomes = interrupted(members, data, step, change)
    for m in members:
        after = [r.metrics for r in whole.of(m.trial)][step:]
        assert [r.step for r in rest.of(m.trial)] == [r.step for r in whole.of(m.trial)][step:]
        if [r.metrics for r in rest.of(m.trial)] != after:
            return False
    return all(
        a.value == b.value
        and a.best_step == b.best_step
        and all(np.array_equal(b.checkpoint.tensors[n], t) for n, t in a.checkpoint.tensors.items())
        for a, b in zip(expected, outcomes, strict=True)
    )


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("step", [1, 4])
def test_from_a_snapshot(data, size, precision, step):
    assert is_bit_equal(members_of(size, precision), data, step)


def test_a_family_with_heads_from_a_snapshot(data):
    model = {"name": "tabm", "hidden_dim": 8, "token_dim": 2, "n_networks": 2, "dropout_rate": 0.2}
    assert is_bit_equal([member(t, model, **FIELDS) for t in range(2)], data, 2)


def from_between_reports(data, size, monkeypatch, change=lambda snapshot: None):
    """Curves and weights, uninterrupted and gone on from what was saved urgently after report 2."""
    monkeypatch.setattr(engine, "_CHUNK", 3)
    reports, saved = Recorder(), {}

    def save(trial, snapshot):
        if snapshot.documents["state"]["loss_rows"]:
            saved[trial] = copy.deepcopy(snapshot)
            change(saved[trial].documents["state"])

    members = members_of(size)
    plain = Recorder()
    fit(members, data, plain)
    whole = fit(
        members, data, reports, save=save, urgent=lambda: len(reports.of(0)) == 2 and not saved
    )
    assert len(saved) == size
    rest = Recorder()
    outcomes = fit(members, data, rest, resume=saved)
    curves = [[(r.step, r.metrics) for r in one.of(0)] for one in (plain, reports, rest)]
    assert curves[0] == curves[1], "to save is not to change"
    assert curves[2][0][0] == 3
    tensors = [[o.checkpoint.tensors for o in some] for some in (whole, outcomes)]
    return curves[1][2:], curves[2], tensors


@pytest.mark.parametrize("size", [1, 3])
def test_from_an_urgent_snapshot_between_reports(data, size, monkeypatch):
    expected, got, tensors = from_between_reports(data, size, monkeypatch)
    assert got == expected
    for a, b in zip(*tensors, strict=True):
        assert all(np.array_equal(b[name], tensor) for name, tensor in a.items())


def test_without_the_loss_since_the_last_report_the_next_one_differs(data, monkeypatch):
    forget = {"loss_sum": 0.0, "loss_rows": 0}
    expected, got, _ = from_between_reports(data, 1, monkeypatch, lambda s: s.update(forget))
    assert got[0] != expected[0]
    assert got[1:] == expected[1:]


PLATEAU = {"schedule": "plateau", "patience": 1, "epochs": 8, "report_rows": 200}


def cooling_members():
    return [member(t, {"norm": "layer"}, learning_rate=0.02 / 4**t, **PLATEAU) for t in range(2)]


def test_where_rates_stay_and_where_they_fall(data):
    """A member goes back to its best weights at the report from which on its rate is lowered."""
    outcomes = fit(cooling_members(), data, Recorder())
    began = [o.checkpoint.documents["state"]["cooling_from"] for o in outcomes]
    assert len(set(began)) == 2, "they begin apart"
    for step in (min(began), min(began) + 1):
        assert is_bit_equal(cooling_members(), data, step), step


def test_without_the_report_at_which_it_began_to_cool_the_rest_differs(data):
    def forget(snapshot):
        del snapshot.documents["state"]["cooling_from"]

    whole, _, rest, _ = interrupted(cooling_members()[:1], data, 5, forget)
    assert [r.metrics for r in rest.reports] != [r.metrics for r in whole.reports[5:]]


def test_when_the_best_step_was_before_the_interruption():
    """Best weights, patience and its count are part of the state."""
    model = {
        "name": "mlp",
        "hidden_dim": 16,
        "token_dim": 4,
        "norm": "batch",
        "feature_masking": 0.0,
    }
    worse = [member(0, model, learning_rate=0.3, patience=4, epochs=20)]
    data = make_data(600, 200)
    whole = Recorder()
    (plain,) = fit(worse, data, whole)
    assert plain.reason is not None, "patience ran out"
    assert is_bit_equal(worse, data, plain.best_step + 2)


def test_members_from_different_positions_each_go_on_exactly(data):
    """As after a kill between the checkpoints of two members: they go on one after the other."""
    members, saved = members_of(2), {}

    def save(trial, snapshot):
        if snapshot.documents["state"]["step"] == (2 if trial == 0 else 3):
            saved[trial] = snapshot

    whole, rest = Recorder(), Recorder()
    fit(members, data, whole, save=save)
    outcomes = fit(members, data, rest, resume=saved)
    assert [o.trial for o in outcomes] == [0, 1]
    for trial, step in ((0, 2), (1, 3)):
        np.testing.assert_allclose(rest.curve(trial), whole.curve(trial)[step:], atol=1e-5)


# --- sabotage ---------------------------------------------------------------------------------


def forget_moments(snapshot):
    for name, array in snapshot.tensors.items():
        if name.startswith("optimizer/"):
            array[...] = 0.0


def forget_step_count(snapshot):
    snapshot.documents["state"]["optimizer"]["steps"] = 0


def forget_batch_statistics(snapshot):
    for name, array in snapshot.tensors.items():
        if "running_" in name:
            array[...] = 0.5


def go_on_from_the_best_weights(snapshot):
    """A resume that loaded what a predictor loads would pass where the last step is the best."""
    for name in [n for n in snapshot.tensors if n.startswith("current/")]:
        best = snapshot.tensors["model/" + name.removeprefix("current/")]
        snapshot.tensors[name] = (best * 1.001).astype(best.dtype)


@pytest.mark.parametrize(
    "sabotage",
    [forget_moments, forget_step_count, forget_batch_statistics, go_on_from_the_best_weights],
)
def test_sabotage_forgotten_state(data, sabotage):
    assert not is_bit_equal(members_of(1), data, 2, sabotage)


def test_sabotage_order_and_masks_start_over(data):
    """The position says where in the data order, the schedule and the masks a trial stands."""

    def forget(snapshot):
        snapshot.documents["state"]["batches"] -= 1

    assert not is_bit_equal(members_of(1), data, 2, forget)


def test_sabotage_forgotten_loss_scale(data):
    def forget(snapshot):
        snapshot.documents["state"]["scaler"]["scale"] = 2.0**-10

    assert not is_bit_equal(members_of(1, "fp16"), data, 2, forget)


# --- refusals ---------------------------------------------------------------------------------


def test_another_configuration_or_other_data_are_refused(data):
    members, saved = members_of(1), {}
    fit(members, data, Recorder(), save=lambda t, s: saved.setdefault(t, s))
    changed = [member(0, learning_rate=5e-3)]
    with pytest.raises(CheckpointError, match="but the config changed"):
        fit(changed, data, Recorder(), resume=saved)
    with pytest.raises(CheckpointError, match="but the data changed"):
        fit(members, make_data(500, 300), Recorder(), resume=saved)


def test_a_snapshot_that_lacks_an_array_is_refused(data):
    members, saved = members_of(1), {}
    fit(members, data, Recorder(), save=lambda t, s: saved.setdefault(t, s))
    del saved[0].tensors["current/head.weight"]
    with pytest.raises(CheckpointError, match="must fit the model that is configured"):
        fit(members, data, Recorder(), resume=saved)


@pytest.mark.parametrize("prefix", ["current/", "model/", "optimizer/exp_avg/"])
@pytest.mark.parametrize(
    "change", [lambda a: a.astype("int32"), lambda a: a.astype("float64"), lambda a: a[:1] * 0 + 1]
)
def test_an_array_of_another_type_or_shape_is_refused(data, prefix, change):
    """torch would convert the type and spread one row over all without a word."""
    members, saved = members_of(1), {}
    fit(members, data, Recorder(), save=lambda t, s: saved.setdefault(t, s))
    name = next(n for n, a in saved[0].tensors.items() if n.startswith(prefix) and len(a) > 1)
    saved[0].tensors[name] = change(saved[0].tensors[name])
    with pytest.raises(CheckpointError, match=f"`{name}` must be float32 .*, but is"):
        fit(members, data, Recorder(), resume=saved)
