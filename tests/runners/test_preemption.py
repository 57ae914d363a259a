"""A runner whose node will be taken away saves where it stands, and leaves."""

from __future__ import annotations

import pytest

from jamba_ray.runners.preemption import PreemptedError, PreemptionNotice
from jamba_ray.training import Member, fit
from tests.study import trials


def members():
    config = trials.config(
        model={"name": "mlp", "hidden_dim": 8},
        training={"epochs": 15.0, "batch_size": 64, "report_rows": 10_000},
        compile=False,
    )
    return [Member(0, config.trial())]


def test_training_saves_between_two_reports_leaves_and_goes_on_bit_for_bit():
    now = [0.0]

    def drains():
        return now[0] > 1.0

    def clock():
        now[0] += 1.0
        return now[0]

    notice, saved, reports = PreemptionNotice(drains, clock), [], []

    def report(some):
        reports.extend(some)
        return ["continue"] * len(some)

    with pytest.raises(PreemptedError):
        notice.around(fit)(
            members(), trials.data(), report, save=lambda trial, snapshot: saved.append(snapshot)
        )
    assert reports == []  # the first is 10,000 rows away
    rows = int(saved[-1].documents["state"]["rows_seen"])
    assert 0 < rows < 10_000
    (resumed,) = fit(members(), trials.data(), _go_on, resume={0: saved[-1]})
    # A node that stays disturbs nothing.
    stays = PreemptionNotice(lambda: False)
    (straight,) = stays.around(fit)(members(), trials.data(), _go_on)
    assert resumed.value == straight.value


def test_the_notice_is_told_once_and_then_the_runner_leaves():
    notice = PreemptionNotice(lambda: True)
    assert notice.is_urgent()
    with pytest.raises(PreemptedError, match="its node is being taken away"):
        notice.leave()


def _go_on(reports):
    return ["continue"] * len(reports)
