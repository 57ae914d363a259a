"""The pruners decide as Optuna's own do, over random histories, and so do they after a resume."""

from __future__ import annotations

import random

import optuna
import pytest
from optuna.trial import TrialState

from jamba_ray.config.plugins import PRUNERS
from jamba_ray.config.search import PrunerSection
from jamba_ray.study import sampling
from jamba_ray.study.pruners import Median
from jamba_ray.study.recovery import STUDY_NAME
from tests.study.studies import open_study, run_to_end, settings

FIRST, LAST, FACTOR = 2, 20, 3
THEIRS = {
    "hyperband": lambda: optuna.pruners.HyperbandPruner(FIRST, LAST, FACTOR),
    "median": lambda: optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=FIRST),
    "patient": lambda: optuna.pruners.PatientPruner(None, 3),
}


def histories_agree(name: str, seed: int, make=sampling.make_pruner) -> bool:
    """Whether ours and Optuna's decide alike while trials report in random order; now and then
    ours is made anew from the study, as on resume."""
    rng = random.Random(seed)
    direction = rng.choice(["maximize", "minimize"])
    study = optuna.create_study(direction=direction, study_name=STUDY_NAME)
    theirs, storage = THEIRS[name](), study._storage
    section = PrunerSection(name=name, min_rows=FIRST, reduction_factor=FACTOR)
    given = settings(pruner=section, direction=direction, n_reports=LAST)
    ours = make(given)
    live = [study.ask() for _ in range(4)]
    for _ in range(250):
        trial = rng.choice(live)
        step = (storage.get_trial(trial._trial_id).last_step or 0) + 1
        trial.report(rng.randint(0, 20) / 20 + trial.number % 3 / 10, step)
        frozen = storage.get_trial(trial._trial_id)
        prunes, reached = ours.judge(frozen)
        if prunes != theirs.prune(study, frozen):
            return False
        ours.reached(trial.number, reached)
        if prunes or step == LAST:
            end = {"state": TrialState.PRUNED} if prunes else {"values": rng.random()}
            ours.ended(study.tell(trial, **end))
            live[live.index(trial)] = study.ask()
        if rng.random() < 0.05:
            ours = make(given, study.get_trials(deepcopy=False))
    return True


@pytest.mark.parametrize("name", THEIRS)
@pytest.mark.filterwarnings("ignore:PatientPruner is experimental")
def test_decisions_are_optunas_and_survive_a_resume(name):
    assert all(histories_agree(name, seed) for seed in range(4))


@pytest.mark.parametrize("name", ["hyperband", "median"])
def test_a_pruner_that_forgets_on_resume_is_found_out(name):
    def forgets(given, trials=()):
        return sampling.make_pruner(given)

    assert not all(histories_agree(name, seed, forgets) for seed in range(4))


def test_first_trials_are_judged_by_no_pruner():
    trial = optuna.trial.create_trial(
        value=0.1, intermediate_values=dict.fromkeys(range(1, 20), 0.1), user_attrs={"origin": "x"}
    )
    for name in [*THEIRS, "asha"]:
        pruner = sampling.make_pruner(settings(pruner=PrunerSection(name=name)))
        assert pruner.judge(trial) == (False, {})
    median = Median(1, "maximize", [trial] * 9)
    poor = optuna.trial.create_trial(state=TrialState.PRUNED, intermediate_values={1: 0.0})
    assert median.judge(poor) == (False, {})


def test_a_plug_ins_pruner_is_asked_and_one_that_raises_is_noted(tmp_path, monkeypatch):
    asked = optuna.pruners.SuccessiveHalvingPruner(min_resource=3, reduction_factor=3)
    monkeypatch.setitem(PRUNERS, "theirs", lambda: asked)
    monkeypatch.setitem(PRUNERS, "raises", lambda: None)
    states = {}
    for name in ("asha", "theirs", "raises"):
        study = open_study(tmp_path / name, pruner=PrunerSection(name=name))
        run_to_end(study)
        states[name] = [trial.state for trial in study.records()]
        assert bool(study.notes()) == (name == "raises")
        study.close()
    assert states["theirs"] == states["asha"]
    assert set(states["raises"]) == {"complete"}


def test_a_name_alone_is_a_pruner():
    assert PrunerSection.model_validate("median") == PrunerSection(name="median")
