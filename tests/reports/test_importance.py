"""Which parameters mattered, in short sweeps too."""

import numpy as np
import pytest
from optuna.distributions import FloatDistribution

from jamba_ray.reports.importance import compared, importance
from jamba_ray.study.records import TrialRecord

SPACE = {name: FloatDistribution(0.0, 1.0) for name in ("matters", "other", "third")}


def trial(number, state, curve, params):
    last = curve[-1][1] if curve else None
    return TrialRecord(
        number=number, state=state, params=params, value=last, metrics={}, best_step=1,
        rows_seen=1, epochs=1.0, seconds=1.0, goodput_s=1.0, reason=None, checkpoint=None,
        curve=tuple(curve),
    )  # fmt: skip


def sweep(seed, n=12, complete=3):
    """As ASHA leaves it: all come to report 3, the best few to report 9."""
    rng = np.random.default_rng(seed)
    params = [{name: float(rng.uniform()) for name in SPACE} for _ in range(n)]
    scores = [-abs(p["matters"] - 0.5) for p in params]
    best = np.argsort(scores)[-complete:]
    return [
        trial(
            i,
            "complete" if i in best else "pruned",
            [(s, score + 0.01 * s) for s in range(1, 10 if i in best else 4)],
            p,
        )
        for i, (p, score) in enumerate(zip(params, scores, strict=True))
    ]


def test_a_short_sweep_is_compared_where_all_its_trials_came_to():
    found = compared(sweep(0))
    assert found.step == 3
    assert len(found.values) == 12
    assert "report 3" in found.words
    assert compared(sweep(0)[:7]) is None


def test_enough_complete_trials_are_compared_by_their_final_values():
    found = compared(sweep(0, n=30, complete=9))
    assert found.step is None
    assert len(found.values) == 9


def test_the_parameter_that_decides_comes_first_in_most_short_sweeps():
    shares = [importance(sweep(seed), SPACE, "average_precision") for seed in range(20)]
    assert np.mean([next(iter(share)) == "matters" for share in shares]) >= 0.8
    assert sum(shares[0].values()) == pytest.approx(1.0)


def test_too_few_trials_say_nothing():
    assert importance(sweep(0, n=7), SPACE, "average_precision") == {}
    failed = [trial(i, "failed", [], dict.fromkeys(SPACE, 0.5)) for i in range(20)]
    assert importance(failed, SPACE, "average_precision") == {}
