"""Tune's trials are started as its own scheduler would, without a look at those that ended."""

from __future__ import annotations

import random
from types import SimpleNamespace

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

from jamba_ray.driver.tune_loop import InOrder


class Stub:
    """What a scheduler asks of a Tune trial; counts how often it is looked at."""

    def __init__(self, trial_id, status):
        self.trial_id, self.now, self.looks = trial_id, status, 0

    @property
    def status(self):
        self.looks += 1
        return self.now


def test_the_choice_is_tunes_over_a_random_history():
    rng = random.Random(0)
    ours, theirs, trials = InOrder(), FIFOScheduler(), []
    controller = SimpleNamespace(get_trials=lambda: trials)
    states = [Trial.PENDING, Trial.PAUSED, Trial.RUNNING, Trial.TERMINATED, Trial.ERROR]
    for n in range(300):
        trials.append(Stub(trial_id=str(n), status=Trial.PENDING))
        ours.on_trial_add(controller, trials[-1])
        for trial in trials:
            if trial.now not in (Trial.TERMINATED, Trial.ERROR) and rng.random() < 0.6:
                trial.now = rng.choice(states)
        assert ours.choose_trial_to_run(controller) is theirs.choose_trial_to_run(controller)


def test_what_has_ended_is_not_looked_at_again():
    ours = InOrder()
    first = Stub(trial_id="0", status=Trial.TERMINATED)
    ours.on_trial_add(None, first)
    for _ in range(3):
        assert ours.choose_trial_to_run(None) is None
    assert first.looks == 1
