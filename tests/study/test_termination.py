"""A sweep ends where nothing is to be gained, at the same trial after a resume."""

from __future__ import annotations

from typing import Any

import pytest

from jamba_ray.config.search import SamplerSection
from jamba_ray.study.records import TrialOutcome
from tests.study.studies import open_study

TREE = {"training": {"rate": {"type": "float", "low": 0.0, "high": 1.0}}}


def run(folder, *, reopens: bool = False, slope: float = 0.0, **changes: Any):
    """How many trials were run, and why no more."""
    given = {"tree": TREE, "n_trials": 25, "sampler": SamplerSection(name="random"), **changes}
    study, n = open_study(folder, **given), 0
    while (answer := study.ask(f"s/{n}")).spec is not None:
        rate = float(answer.spec.params["training.rate"])
        value = 0.8 + slope * rate + (n % 3) * 1e-6
        study.finish(TrialOutcome(answer.spec.number, "complete", value=value))
        n += 1
        if reopens and n > 18:
            study.close()
            study = open_study(folder, **given)
    study.close()
    return n, answer.ended


@pytest.mark.slow
def test_it_ends_where_nothing_is_to_be_gained_also_after_a_resume(tmp_path):
    n, why = run(tmp_path / "a", terminate=0.01)
    assert n == 20
    assert "less than `terminate` (0.01)" in why
    assert run(tmp_path / "b", terminate=0.01, reopens=True) == (n, why)


def test_it_goes_on_without_the_setting(tmp_path):
    assert run(tmp_path)[1] == "all 25 trials are done"


@pytest.mark.slow
def test_it_goes_on_while_there_is_something_to_gain(tmp_path):
    assert run(tmp_path, terminate=1e-9, slope=0.1)[1] == "all 25 trials are done"
