"""The sorted rungs decide as Optuna's own pruner does, over random histories."""

from __future__ import annotations

import random

import optuna
import pytest

from jamba_ray.config.search import PrunerSection
from jamba_ray.study import sampling
from jamba_ray.study.rungs import Rungs
from tests.study.studies import line, open_study, plain, settings


def histories_agree(seed: int, make: type[Rungs]) -> bool:
    """Whether ``make`` and Optuna decide and note alike while 60 trials report in random order.

    Values are drawn from few, so that ties are frequent; steps jump, so that a report passes
    several rungs at once; now and then the rungs are read anew from the study, as on resume.
    """
    rng = random.Random(seed)
    direction = rng.choice(["maximize", "minimize"])
    first, factor = rng.randint(1, 4), rng.randint(2, 5)
    study = optuna.create_study(direction=direction)
    judge = optuna.pruners.SuccessiveHalvingPruner(
        min_resource=first, reduction_factor=factor, min_early_stopping_rate=0
    )
    storage = study._storage
    rungs = make(first, factor, direction)
    live = [study.ask() for _ in range(5)]
    for _ in range(60 * 6):
        trial = rng.choice(live)
        step = (storage.get_trial(trial._trial_id).last_step or 0) + rng.choice([1, 1, 1, 2, 20])
        trial.report(rng.randint(0, 12) / 10, step)
        frozen = storage.get_trial(trial._trial_id)
        prunes, reached = rungs.judge(frozen)
        theirs = judge.prune(study, frozen)
        noted = storage.get_trial(trial._trial_id).system_attrs
        if (prunes, {**frozen.system_attrs, **reached}) != (theirs, noted):
            return False
        for key, value in reached.items():
            rungs.note(key, value)
        if theirs or step > 200:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            live[live.index(trial)] = study.ask()
        if rng.random() < 0.05:
            rungs = make(first, factor, direction, study.get_trials(deepcopy=False))
    return True


class OneMore(Rungs):
    """A saboteur: one better trial more is allowed."""

    def _goes_on(self, value, others):
        return super()._goes_on(value, others[1:])


class TiesStop(Rungs):
    """A saboteur: a value that equals another counts as worse."""

    def _goes_on(self, value, others):
        nudge = -1e-9 if self._direction == "maximize" else 1e-9
        return super()._goes_on(value + nudge, others)


def test_decisions_are_optunas_over_random_histories():
    assert all(histories_agree(seed, Rungs) for seed in range(40))


@pytest.mark.parametrize("saboteur", [OneMore, TiesStop])
def test_a_rule_that_is_slightly_other_is_found_out(saboteur):
    assert not all(histories_agree(seed, saboteur) for seed in range(40))


def test_without_pruner_there_are_no_rungs():
    rungs = sampling.make_pruner(settings(pruner=PrunerSection(name="none")))
    study = optuna.create_study()
    trial = study.ask()
    trial.report(0.1, 1000)
    assert rungs.judge(study.trials[0]) == (False, {})


def test_a_study_of_ours_is_judged_alike_by_optuna(tmp_path):
    """What the study's file holds is all that Optuna's pruner needs to decide as ours did."""
    study = open_study(tmp_path, n_trials=9)
    specs = [study.ask(f"s/{i}").spec for i in range(9)]
    rng, pruned = random.Random(3), {}
    for step in (1, 2, 3):
        for spec in specs:
            value = rng.randint(0, 20) / 20
            (decision,) = study.report([line(spec.number, step, value)])
            pruned[spec.number] = decision == "prune"
    study.close()
    assert len(set(pruned.values())) == 2
    study = plain(tmp_path / "study.journal")
    judge = optuna.pruners.SuccessiveHalvingPruner(min_resource=3, reduction_factor=3)
    replayed = optuna.create_study(direction="maximize")
    for trial in study.trials:
        # In the order of the reports at the third step, which is that of the numbers.
        again = replayed.ask()
        again.report(trial.intermediate_values[3], 3)
        assert judge.prune(replayed, replayed.trials[again.number]) == pruned[trial.number]
        assert trial.system_attrs == replayed.trials[again.number].system_attrs
