"""What TPE and the Gaussian process are shown of a long study."""

from __future__ import annotations

import random

import optuna
import pytest
from optuna.samplers._tpe.sampler import _split_trials, default_gamma
from optuna.trial import TrialState, create_trial

from jamba_ray.config.search import SamplerSection
from jamba_ray.study import sampler_history, suggestions
from jamba_ray.study.records import TrialOutcome
from jamba_ray.study.sampler_history import SamplerHistory
from jamba_ray.study.study_view import view
from tests.study.studies import TREE, line, open_study, train

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


def window_of(study: optuna.Study, sampler: str, order: list[int] | None = None) -> SamplerHistory:
    shown = SamplerHistory(sampler, 8, study.direction.name.lower())
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
    assert set(finished[-sampler_history.NEWEST["tpe"] :]) <= numbers
    assert len(numbers - running) <= sampler_history.NEWEST["tpe"] + 25


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
    patient = SamplerHistory("tpe", 5000, "maximize")
    longer = study_of(1500, "maximize", seed=3).trials
    for trial in longer:
        patient.note(trial)
    assert patient.of(longer) is None


def sweep_in_the_middle() -> optuna.Study:
    """Twenty trials that a rung pruned; two that passed it and one that came to none run still."""
    study = optuna.create_study(direction="maximize")
    for number in range(23):
        passed = number in (20, 21)
        steps = dict.fromkeys(range(1, 2 if number == 22 else 4), 0.5 + number / 100)
        study.add_trial(
            create_trial(
                state=TrialState.PRUNED if number < 20 else TrialState.RUNNING,
                params={"rate": 1e-4 * (1 + number)},
                distributions={"rate": RATE},
                intermediate_values={**steps, **({4: 0.6} if passed else {})},
                system_attrs={} if number == 22 else {"completed_rung_0": steps[3]},
            )
        )
    return study


def test_what_passed_a_rung_and_runs_is_better_than_what_it_pruned():
    study = sweep_in_the_middle()
    trials = study.get_trials(deepcopy=False)
    shown = window_of(study, "tpe").of(trials)
    good, bad = _split_trials(study, shown, 3)
    assert [t.number for t in good] == [19, 20, 21]
    assert 22 in {t.number for t in bad}, "no rung has judged it: others keep away from it"
    assert [t.state for t in trials[20:]] == [TrialState.RUNNING] * 3, "only what is shown differs"
    assert window_of(study, "gp").of(trials) is None
    as_they_are, _ = _split_trials(study, trials, 3)
    assert [t.number for t in as_they_are] == [17, 18, 19], "what Optuna alone would learn"


def test_proposals_are_made_from_what_was_judged_so_far(tmp_path, monkeypatch):
    """Through the study, from the reports on."""
    shown = []

    def spy(study, storage, trials=None):
        if trials is not None:
            shown.append(trials)
        return view(study, storage, trials)

    monkeypatch.setattr(suggestions, "view", spy)
    study = open_study(tmp_path, tree={"training": TREE["training"]}, n_trials=64, stack=4)
    study.ask("s/a")
    specs = study.fill("s/a", 4)
    for step in (1, 2, 3):
        decisions = study.report([line(s.number, step, 0.9 - s.number / 100) for s in specs])
    assert decisions == ["continue", "prune", "prune", "prune"]
    for spec in specs[1:]:
        study.finish(TrialOutcome(spec.number, "pruned"))
    study.fill("s/a", 4)
    assert [t.state for t in shown[-3]] == [TrialState.PRUNED] * 4
    assert [t.state for t in shown[-1][4:]] == [TrialState.RUNNING] * 2
    good, _ = _split_trials(study._study, shown[-3], 1)
    assert [t.number for t in good] == [0]
    study.close()


def test_a_sampler_sees_only_what_it_is_shown():
    study = study_of(1500, "maximize", seed=4, complete=0.5)
    shown = window_of(study, "gp").of(study.get_trials(deepcopy=False))
    seen = view(study, study._storage, shown)
    assert [t.number for t in seen.get_trials(deepcopy=False)] == [t.number for t in shown]
    complete = seen.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    assert 250 < len(complete) <= 275
    seen._storage.set_trial_system_attr(0, "note", 1)
    assert "note" not in study.trials[0].system_attrs


def test_proposals_go_on_as_they_were_after_reopening(tmp_path, monkeypatch):
    """With a window of a few trials, which every trial moves."""
    monkeypatch.setitem(sampler_history.NEWEST, "tpe", 10)
    given = {"n_trials": 40, "sampler": SamplerSection(name="tpe")}
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    whole = open_study(tmp_path / "whole", **given)
    proposed = []
    while (spec := whole.ask(f"s/{len(proposed)}").spec) is not None:
        proposed.append(spec.params)
        train(whole, spec)
    whole.close()
    for n in range(40):
        study = open_study(tmp_path / "cut", session=f"s{n}", **given)
        spec = study.ask(f"s{n}/0").spec
        assert spec.params == proposed[n], n
        train(study, spec)
        study.close()
