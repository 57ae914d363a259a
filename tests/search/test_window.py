"""What TPE and the Gaussian process are shown of a long study."""

from __future__ import annotations

import random

import optuna
import pytest
from optuna.samplers._tpe.sampler import _split_trials, default_gamma
from optuna.trial import TrialState, create_trial

from jamba_ray.config.search import SamplerSection
from jamba_ray.search import window
from jamba_ray.search.overlay import view
from jamba_ray.search.window import Window
from tests.search.studies import open_book, train

RATE = optuna.distributions.FloatDistribution(1e-4, 1e-1, log=True)


def study_of(n: int, direction: str, seed: int, complete: float = 0.1) -> optuna.Study:
    """A study whose trials ended in every way; every 97th runs still."""
    rng = random.Random(seed)
    study = optuna.create_study(direction=direction)
    for number in range(n):
        state = rng.choices(
            [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL],
            [complete, 0.97 - complete, 0.03],
        )[0]
        if number % 97 == 50:
            state = TrialState.RUNNING
        steps = {s: rng.randint(0, 200) / 200 for s in range(1, rng.choice([0, 3, 9, 16]) + 1)}
        study.add_trial(
            create_trial(
                state=state,
                value=rng.randint(0, 200) / 200 if state == TrialState.COMPLETE else None,
                params={"rate": rng.uniform(1e-4, 1e-1)},
                distributions={"rate": RATE},
                intermediate_values=steps,
            )
        )
    return study


def window_of(study: optuna.Study, sampler: str, order: list[int] | None = None) -> Window:
    shown = Window(sampler, 8, study.direction.name.lower())
    trials = study.get_trials(deepcopy=False)
    for number in order or range(len(trials)):
        shown.note(trials[number])
    return shown


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
@pytest.mark.parametrize("complete", [0.1, 0.005])
def test_the_good_trials_are_those_that_tpe_would_take_of_all(direction, complete):
    study = study_of(1600, direction, seed=1, complete=complete)
    everything = study.get_trials(deepcopy=False)
    shown = window_of(study, "tpe").of(everything)
    learnt = [t for t in everything if t.state != TrialState.FAIL]
    good, bad = _split_trials(study, learnt, default_gamma(len(learnt)))
    some_good, some_bad = _split_trials(study, shown, default_gamma(len(shown)))
    assert [t.number for t in some_good] == [t.number for t in good]
    assert {t.number for t in some_bad} < {t.number for t in bad}
    running = {t.number for t in everything if t.state == TrialState.RUNNING}
    numbers = {t.number for t in shown}
    finished = [t.number for t in learnt if t.number not in running]
    assert running <= numbers
    assert set(finished[-window.NEWEST["tpe"] :]) <= numbers
    assert len(numbers - running) <= window.NEWEST["tpe"] + 25


def test_it_does_not_matter_in_which_order_trials_ended():
    study = study_of(1500, "maximize", seed=2, complete=0.5)
    trials = study.get_trials(deepcopy=False)
    order = random.Random(0).sample(range(1500), 1500)
    for sampler in ("tpe", "gp"):
        shown = window_of(study, sampler, order).of(trials)
        assert [t.number for t in shown] == [t.number for t in window_of(study, sampler).of(trials)]


def test_a_study_that_is_not_long_is_shown_whole():
    study = study_of(900, "maximize", seed=3)
    trials = study.get_trials(deepcopy=False)
    assert window_of(study, "tpe").of(trials) is None
    assert window_of(study, "qmc").of(trials) is None
    patient = Window("tpe", 5000, "maximize")
    for trial in study_of(1500, "maximize", seed=3).trials:
        patient.note(trial)
    assert patient.of(trials) is None


def test_a_sampler_sees_only_what_it_is_shown():
    study = study_of(1500, "maximize", seed=4, complete=0.5)
    shown = window_of(study, "gp").of(study.get_trials(deepcopy=False))
    seen = view(study, shown)
    assert [t.number for t in seen.get_trials(deepcopy=False)] == [t.number for t in shown]
    complete = seen.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    assert 250 < len(complete) <= 275
    seen._storage.set_trial_system_attr(0, "note", 1)
    assert "note" not in study.trials[0].system_attrs


def test_proposals_go_on_as_they_were_after_reopening(tmp_path, monkeypatch):
    """With a window of a few trials, which every trial moves."""
    monkeypatch.setitem(window.NEWEST, "tpe", 10)
    given = {"n_trials": 40, "sampler": SamplerSection(name="tpe")}
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    whole = open_book(tmp_path / "whole", **given)
    proposed = []
    while (spec := whole.ask(f"s/{len(proposed)}").spec) is not None:
        proposed.append(spec.params)
        train(whole, spec)
    whole.close()
    for n in range(40):
        book = open_book(tmp_path / "cut", session=f"s{n}", **given)
        spec = book.ask(f"s{n}/0").spec
        assert spec.params == proposed[n], n
        train(book, spec)
        book.close()
