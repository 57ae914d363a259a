"""A runner of stacks: trials that come and go, each told of once, none paying for another's
fault."""

from __future__ import annotations

import numpy as np
import pytest

from jamba_ray.config.run import TrialConfig
from jamba_ray.runners import runner as runner_file
from jamba_ray.runners.stack_runner import StackRunner
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.study.records import TrialSpec
from jamba_ray.training import fit
from tests.study.trials import data

RATES = (1e-3, 3e-3, 1e-2, 2e-2, 5e-3)


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "run").create()


@pytest.fixture
def base():
    import jamba_ray.models  # noqa: F401  (registers the families)

    return TrialConfig.model_validate(
        {
            "model": {"name": "mlp", "hidden_dim": 8, "norm": "layer"},
            "training": {"batch_size": 64, "epochs": 1.0, "report_rows": 128},
        }
    )


def job(number, step=0):
    return TrialSpec(number, {"training.learning_rate": RATES[number]}, step > 0, step)


class Study:
    """Takes reports and ends, and gives trials to join; prunes ``pruned`` at (trial, step)."""

    def __init__(self, waiting=(), pruned=()):
        self.waiting, self.pruned = list(waiting), set(pruned)
        self.told, self.curves, self.calls = [], {}, 0

    def report(self, reports):
        self.calls += 1
        for r in reports:
            self.curves.setdefault(r.trial, {})[r.step] = r.metrics["val/loss"]
        return ["prune" if (r.trial, r.step) in self.pruned else "continue" for r in reports]

    def ended(self, outcome):
        self.told.append((outcome.number, outcome.state))
        self.reasons = {**getattr(self, "reasons", {}), outcome.number: outcome.reason}

    def more(self):
        taken = self.waiting[:1]
        del self.waiting[:1]
        return taken


def train(folder, base, study, jobs, size=2, fit=fit):
    runner = StackRunner(folder, data(), fit=fit)
    runner.train_stack(jobs, base, study.report, size=size, ended=study.ended, more=study.more)
    return study


def alone(tmp_path, base, number):
    study = train(RunFolder(tmp_path / f"alone-{number}").create(), base, Study(), [job(number)], 1)
    return study.curves[number]


def test_each_end_is_told_at_once_and_its_slot_is_filled(folder, base, tmp_path):
    study = Study([job(2), job(3)], pruned={(1, 1), (2, 2)})
    train(folder, base, study, [job(0), job(1)])
    assert study.told == [(1, "pruned"), (2, "pruned"), (0, "complete"), (3, "complete")]
    for number in (0, 3):
        whole = alone(tmp_path, base, number)
        assert list(study.curves[number]) == list(whole)
        np.testing.assert_allclose(
            list(study.curves[number].values()), list(whole.values()), atol=1e-5
        )
    assert study.calls < sum(map(len, study.curves.values())), "reports of a stack go together"


def test_a_study_that_has_no_room_now_is_asked_again(folder, base):
    """Stacks grow with the trials begun: that none may join at one report does not mean never."""

    class Hesitant(Study):
        def more(self):
            self.asked = getattr(self, "asked", 0) + 1
            return super().more() if self.asked > 2 else []

    study = Hesitant([job(1), job(2)])
    train(folder, base, study, [job(0)])
    assert sorted(study.told) == [(0, "complete"), (1, "complete"), (2, "complete")]
    assert study.calls < sum(map(len, study.curves.values())), "they trained together"


def test_trials_that_were_interrupted_go_on_in_step(folder, base, tmp_path, monkeypatch):
    """Checkpoints at different reports: both stand at the study's last one before anything new."""
    monkeypatch.setattr(runner_file, "SAVE_EVERY_S", 0.0)
    saved = {0: 2, 1: 1}

    class Killed(BaseException):
        pass

    def until_killed(members, rows, report, *, save, **rest):
        def some(trial, snapshot):
            if snapshot.documents["state"]["step"] <= saved[trial]:
                save(trial, snapshot)

        def dies(reports):
            if reports[0].step == 4:
                raise Killed
            return report(reports)

        return fit(members, rows, dies, save=some, **rest)

    with pytest.raises(Killed):
        train(folder, base, Study(), [job(0), job(1)], fit=until_killed)
    study, batches = Study(), []
    true = study.report
    study.report = lambda reports: (
        batches.append([(r.trial, r.step) for r in reports]) or true(reports)
    )
    train(folder, base, study, [job(0, 3), job(1, 3)])
    behind = batches[: batches.index([(0, 4), (1, 4)])]
    assert {step for batch in behind for step in batch} == {(0, 3), (1, 2), (1, 3)}
    assert [number for number, _ in study.told] == [0, 1]
    for number in (0, 1):
        whole = alone(tmp_path, base, number)
        for step, loss in study.curves[number].items():
            assert loss == pytest.approx(whole[step], abs=1e-5)


def test_one_that_was_to_be_pruned_leaves_its_slot_before_the_stack_goes_on(folder, base):
    study = Study([job(2)], pruned={(1, 1)})
    train(folder, base, study, [job(0, 1), job(1, 1)])
    assert study.told[0] == (1, "pruned")
    assert sorted(study.told[1:]) == [(0, "complete"), (2, "complete")]
    assert min(study.curves[2]) == 1


def test_of_a_stack_that_falls_over_only_the_guilty_one_fails(folder, base):
    def guilty(members, *rest, **more):
        if 2 in {m.trial for m in members}:
            raise MemoryError
        return fit(members, *rest, **more)

    study = train(folder, base, Study(), [job(0), job(2), job(1)], size=3, fit=guilty)
    assert sorted(study.told) == [(0, "complete"), (1, "complete"), (2, "failed")]
    assert study.reasons[2] == "out of memory (MemoryError)"


def test_one_with_wrong_settings_fails_alone(folder, base):
    wrong = TrialSpec(4, {"training.learning_rate": -1.0})
    study = train(folder, base, Study([wrong, job(3)]), [job(0), job(1)], size=3)
    assert sorted(study.told)[-1] == (4, "failed")
    assert [state for _, state in sorted(study.told)[:2]] == ["complete", "complete"]
