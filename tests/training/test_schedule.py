from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jamba_ray.config.training import TrainingSection
from jamba_ray.training.schedule import Timetable, batch_progress, lr_factor

N_ROWS = 1000
sections = st.builds(
    TrainingSection,
    epochs=st.floats(0.001, 5.0),
    batch_size=st.integers(1, 600),
    report_rows=st.integers(1, 3000),
)
tables = sections.map(lambda section: Timetable.of(section, N_ROWS))


@given(sections)
def test_batches_are_full_and_as_many_as_come_closest_to_the_epochs(section):
    table = Timetable.of(section, N_ROWS)
    ends = [table.rows_after(b) for b in range(table.n_batches + 1)]
    wanted = max(1, round(section.epochs * N_ROWS))
    assert {b - a for a, b in itertools.pairwise(ends)} == {min(section.batch_size, wanted)}
    assert ends[-1] == table.total_rows
    assert abs(table.total_rows - wanted) <= table.batch_rows / 2


@given(tables)
def test_each_report_is_due_at_the_first_batch_that_reaches_its_rows(table):
    step = batches = 0
    while batches < table.n_batches:
        step += 1
        previous, batches = batches, table.next_report(step, batches)
        assert batches > previous
        if batches < table.n_batches and batches > previous + 1:
            due = step * table.report_rows
            assert table.rows_after(batches - 1) < due <= table.rows_after(batches)
    assert step == table.n_reports


def test_reports_fall_inside_an_epoch():
    table = Timetable.of(TrainingSection(epochs=2, batch_size=10, report_rows=30), n_rows=100)
    ends, batches = [], 0
    for step in range(1, table.n_reports + 1):
        batches = table.next_report(step, batches)
        ends.append(table.rows_after(batches))
    assert ends == [30, 60, 90, 120, 150, 180, 200]


@pytest.mark.parametrize("epochs", [0.3, 1.0, 10.0])
def test_without_report_rows_there_are_sixteen_reports(epochs):
    table = Timetable.of(TrainingSection(epochs=epochs, batch_size=32), n_rows=20_000)
    assert table.n_reports == 16


@given(st.floats(0.0, 0.9), st.integers(1, 500))
def test_rate_rises_then_falls_and_is_never_zero(warmup, n_batches):
    factors = [lr_factor(batch_progress(b, n_batches), warmup) for b in range(n_batches)]
    assert all(0.0 < f <= 1.0 for f in factors)
    peak = factors.index(max(factors))
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)


def test_rate_is_half_in_the_middle_of_warmup_and_of_the_cosine():
    assert lr_factor(0.1, 0.2) == pytest.approx(0.5)
    assert lr_factor(0.6, 0.2) == pytest.approx(0.5)
    assert lr_factor(0.2, 0.2) == 1.0
    assert math.isclose(lr_factor(1.0, 0.2), 0.0, abs_tol=1e-12)


def plateau(**fields):
    given = {"epochs": 20, "batch_size": 10, "report_rows": 100, "patience": 3, **fields}
    return Timetable.of(TrainingSection(schedule="plateau", **given), n_rows=100)


def test_a_plateau_holds_the_rate_until_it_cools():
    table = plateau()
    assert not table.cools_now(step=8, stale=2)
    assert table.cools_now(step=8, stale=3)
    assert [table.lr_factor(b, 0.0, None) for b in (0, 79, 199)] == [1.0, 1.0, 1.0]
    assert table.end(8) == table.batches_at(8) + 20, "a quarter of eight reports"
    cooled = [table.lr_factor(b, 0.0, 8) for b in range(80, table.end(8))]
    assert cooled == sorted(cooled, reverse=True)
    assert 0.0 < cooled[-1] < 0.01 < 0.99 < cooled[0] < 1.0


def test_the_rate_of_a_plateau_rises_over_a_share_of_sixteen_reports():
    table = plateau(epochs=100)
    factors = [table.lr_factor(b, 0.5, None) for b in range(table.n_batches)]
    assert factors[39] == pytest.approx(0.5, abs=0.01)
    assert factors[79:] == [pytest.approx(1.0, abs=0.01)] * (table.n_batches - 79)


@given(st.floats(0.01, 5.0), st.integers(5, 500), st.integers(1, 60), st.integers(0, 4))
def test_a_plateau_ends_cooled_at_a_report_and_never_late(epochs, report_rows, batch, patience):
    table = plateau(epochs=epochs, report_rows=report_rows, batch_size=batch, patience=patience)
    step = batches = 0
    cooling_from = None
    while batches < table.end(cooling_from):
        step += 1
        batches = table.next_report(step, batches)
        assert batches == table.batches_at(step)
        if cooling_from is None and table.cools_now(step, stale=0):
            cooling_from = step
    assert batches == table.end(cooling_from) <= table.n_batches
    assert cooling_from is not None or table.n_reports <= 2
    assert 0 < table.usual_batches <= table.n_batches
