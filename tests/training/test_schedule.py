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
