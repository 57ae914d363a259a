from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from jamba_ray.errors import TrialError
from jamba_ray.evaluation import value_of
from jamba_ray.models import build
from jamba_ray.training import fit
from jamba_ray.training.engine import Engine
from jamba_ray.training.stack import Stack
from tests.training.trials import Recorder, make_data, member


def predicted(outcome, config, data):
    """Probabilities of all validation rows by a plain module loaded from the checkpoint."""
    module = build(config.model, data.schema).eval()
    weights = {
        name.removeprefix("model/"): torch.from_numpy(array)
        for name, array in outcome.checkpoint.tensors.items()
        if name.startswith("model/")
    }
    module.load_state_dict(weights, strict=True)
    with torch.inference_mode():
        logits = module(torch.from_numpy(data.val.x_num), torch.from_numpy(data.val.x_cat))
    return torch.sigmoid(logits.double()).numpy()


def test_reports_come_by_rows_also_inside_an_epoch(data):
    recorder = Recorder()
    (outcome,) = fit([member(0)], data, recorder)
    assert [r.rows_seen for r in recorder.reports] == [512, 1024, 1536, 1792]
    assert [r.step for r in recorder.reports] == [1, 2, 3, 4]
    assert recorder.reports[0].epoch == pytest.approx(512 / 600)
    assert outcome.rows_seen == 1792
    assert outcome.epochs == pytest.approx(1792 / 600)


def test_it_learns(data):
    recorder = Recorder()
    (outcome,) = fit([member(0, epochs=15, learning_rate=1e-2)], make_data(2000, 600), recorder)
    assert recorder.curve(0)[-1] < 0.8 * recorder.curve(0)[0]
    assert outcome.metrics["val/roc_auc"] > 0.8


@pytest.mark.parametrize("size", [1, 3])
def test_value_is_of_the_best_weights_on_all_validation_rows(size):
    """A high rate makes the objective jump about, so that the best step is not the last."""
    data = make_data(600, 900)
    members = [member(t, epochs=10, val_rows=200, learning_rate=0.2) for t in range(size)]
    recorder = Recorder()
    outcomes = fit(members, data, recorder)
    steps = set()
    for outcome, m in zip(outcomes, members, strict=True):
        curve = recorder.curve(m.trial, "val/average_precision")
        assert outcome.best_step == 1 + int(np.argmax(curve))
        steps.add(outcome.best_step < len(curve))
        p = predicted(outcome, m.config, data)
        assert outcome.value == pytest.approx(value_of("average_precision", data.val.y, p))
        assert outcome.value == outcome.metrics["val/average_precision"]
        assert outcome.value != max(curve), "this would be the sample's value"
    assert True in steps, "the test says nothing where the last step is the best"


def test_patience_ends_a_member_that_no_longer_improves(data):
    recorder = Recorder()
    still = {"norm": "layer"}
    tired = member(0, still, learning_rate=1e-12, patience=3, epochs=8)
    lively = member(1, still, learning_rate=5e-3, patience=3, epochs=8)
    outcomes = fit([tired, lively], data, recorder)
    assert outcomes[0].state == "complete"
    assert outcomes[0].reason == "No improvement in 3 reports (patience)."
    assert len(recorder.of(0)) == outcomes[0].best_step + 3
    assert len(recorder.of(1)) > len(recorder.of(0))


def test_zero_patience_never_ends_a_member(data):
    recorder = Recorder()
    (outcome,) = fit([member(0, {"norm": "layer"}, learning_rate=1e-12, epochs=8)], data, recorder)
    assert outcome.rows_seen == 4800


@pytest.mark.parametrize("size", [1, 2])
def test_a_member_that_diverges_fails_alone(data, size):
    recorder = Recorder()
    bad = member(0, {"norm": "layer"}, learning_rate=1.0, grad_clip=1e30, weight_decay=0.0)
    members = [bad, member(1, {"norm": "layer"})][:size]
    true_gradients = Stack.gradients
    calls = []

    def poisoned(self, loss):
        gradients = true_gradients(self, loss)
        calls.append(1)
        if len(calls) == 12:
            gradients[0] = float("nan")
        return gradients

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stack, "gradients", poisoned)
        outcomes = fit(members, data, recorder)
    assert outcomes[0].state == "failed"
    assert outcomes[0].value is None
    assert outcomes[0].checkpoint is None
    reason = outcomes[0].reason
    assert reason is not None
    assert reason.startswith("The training loss must be finite, but is nan")
    assert [r.step for r in recorder.of(0)] == [1], "the report before the failure stands"
    if size == 2:
        alone = Recorder()
        fit([members[1]], data, alone)
        assert outcomes[1].state == "complete"
        np.testing.assert_allclose(recorder.curve(1), alone.curve(1), atol=1e-5)


@pytest.mark.parametrize(("decision", "state"), [("prune", "pruned"), ("stop", "stopped")])
def test_decisions_end_one_member_and_a_stopped_one_is_kept(data, decision, state):
    recorder = Recorder(lambda r: decision if (r.trial, r.step) == (1, 2) else "continue")
    saved = []
    members = [member(t) for t in (0, 1, 2)]
    outcomes = fit(members, data, recorder, save=lambda t, s: saved.append((t, s)))
    assert [o.state for o in outcomes] == ["complete", state, "complete"]
    assert [len(recorder.of(t)) for t in (0, 1, 2)] == [4, 2, 4]
    ended = outcomes[1]
    assert ended.rows_seen == 1024
    if decision == "prune":
        assert (ended.value, ended.metrics, ended.checkpoint) == (None, {}, None)
    else:
        assert ended.checkpoint is not None
        p = predicted(ended, members[1].config, data)
        assert ended.value == pytest.approx(value_of("average_precision", data.val.y, p))
    steps = [s.documents["state"]["step"] for t, s in saved if t == 1]
    assert steps == ([1] if decision == "prune" else [1, 2]), "an interrupted trial can resume"


def test_a_stop_at_the_last_report_is_a_complete_trial(data):
    (outcome,) = fit([member(0)], data, Recorder(lambda r: "stop" if r.step == 4 else "continue"))
    assert outcome.state == "complete"


def test_snapshots_are_strict_json_and_never_change_afterwards(data):
    saved, copies = [], []

    def save(trial, snapshot):
        saved.append(snapshot)
        copies.append({n: a.copy() for n, a in snapshot.tensors.items()})

    (outcome,) = fit([member(0)], data, Recorder(), save=save)
    for snapshot, copy in zip(saved, copies, strict=True):
        json.dumps(snapshot.documents, allow_nan=False)
        for name, array in snapshot.tensors.items():
            assert np.array_equal(array, copy[name])
    assert outcome.checkpoint is not None
    documents = outcome.checkpoint.documents
    assert documents["state"]["precision"] == "fp32"
    assert documents["metrics"]["threshold"] > 0.0
    assert documents["fingerprints"]["data"] == data.fingerprint
    assert documents["config"]["model"]["name"] == "mlp"


def test_a_model_that_raises_alone_raises_and_in_a_stack_fails_its_members(data, monkeypatch):
    def broken(self, x_num, x_cat):
        if calls and len(calls) > 10:
            raise RuntimeError("shapes do\nnot fit.")
        calls.append(1)
        return true_forward(self, x_num, x_cat)

    true_forward = Stack.forward
    monkeypatch.setattr(Stack, "forward", broken)
    calls: list[int] = []
    with pytest.raises(TrialError, match=r"Trial 4: .*RuntimeError: shapes do not fit\.$"):
        fit([member(4)], data, Recorder())
    calls.clear()
    rule = Recorder(lambda r: "prune" if r.trial == 2 else "continue")
    outcomes = fit([member(t) for t in (1, 2, 3)], data, rule)
    assert [o.state for o in outcomes] == ["failed", "pruned", "failed"]
    assert outcomes[0].reason is not None
    assert outcomes[0].reason.startswith("Trial 1, 3: the model must run")


def test_goodput_is_part_of_the_time_and_shared_by_a_stack(data):
    recorder = Recorder()
    outcomes = fit([member(t) for t in range(3)], data, recorder)
    wall = max(o.seconds for o in outcomes)
    assert 0 < sum(o.goodput_s for o in outcomes) < wall
    for trial in range(3):
        seconds = [r.seconds for r in recorder.of(trial)]
        assert seconds == sorted(seconds)


def test_an_outcome_is_told_when_its_member_ends(data):
    events = []
    recorder = Recorder(lambda r: "prune" if (r.trial, r.step) == (0, 1) else "continue")

    def report(reports):
        events.append(tuple(r.trial for r in reports))
        return recorder(reports)

    members = [member(0), member(1)]
    outcomes = fit(members, data, report, finish=lambda o: events.append(o))
    assert events == [(0, 1), outcomes[0], (1,), (1,), (1,), outcomes[1]]


def test_a_stopped_trial_that_patience_would_end_is_complete(data):
    """Else its resume would go on where the uninterrupted trial ended."""
    saved = []
    fields = {"learning_rate": 1e-12, "patience": 1, "epochs": 8}
    quiet = member(0, {"norm": "layer"}, **fields)
    recorder = Recorder(lambda r: "stop" if r.step == 2 else "continue")
    (outcome,) = fit([quiet], data, recorder, save=lambda t, s: saved.append(s))
    assert outcome.state == "complete"
    assert [s.documents["state"]["step"] for s in saved] == [1]


def test_a_reporter_must_answer_every_report(data):
    with pytest.raises(ValueError, match="2 reports, but gave 1"):
        fit([member(0), member(1)], data, lambda reports: ["continue"])


def test_training_touches_no_global_state(data):
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    numpy_state = np.random.get_state()[1].copy()
    fit([member(0), member(1)], data, Recorder())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)
    assert torch.get_num_threads() == threads


def test_training_has_no_host_sync_between_reports(data, monkeypatch):
    """``item``, ``tolist``, ``cpu`` and ``bool`` would each wait for a GPU."""
    inside: list[str] = []
    for name in ("item", "tolist", "cpu", "__bool__", "__float__", "__int__", "numpy"):
        true = getattr(torch.Tensor, name)

        def spy(self, *args, _true=true, _name=name, **kwargs):
            if running:
                inside.append(_name)
            return _true(self, *args, **kwargs)

        monkeypatch.setattr(torch.Tensor, name, spy)
    running: list[int] = []
    true_batch = Engine._train_batch

    def batch(self, *args):
        running.append(1)
        try:
            return true_batch(self, *args)
        finally:
            running.clear()

    monkeypatch.setattr(Engine, "_train_batch", batch)
    fit([member(0, precision="fp16"), member(1, precision="fp16")], data, Recorder())
    assert inside == []
