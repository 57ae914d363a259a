from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jamba_ray.config.training import TrainingSection
from jamba_ray.config.training_length import (
    as_begun,
    length_of,
    most_rows,
    settled,
    settled_sweep,
    usual_rows,
)

rows = st.integers(1, 10**9)
TEN_EPOCHS = {"training.epochs": 10.0, "training.batch_size": 256, "training.patience": 0}
"""What every run of earlier versions was begun with, where nothing was given."""


def test_small_tables_take_hundreds_of_epochs_and_large_ones_two():
    epochs = {n: length_of(TrainingSection(), n).epochs for n in (350, 3_500, 24_500, 10**7)}
    assert epochs == {350: 200, 3_500: 200, 24_500: 43, 10**7: 2}


def test_batches_and_reports_follow_the_rows():
    found = {n: length_of(TrainingSection(), n) for n in (350, 24_500, 10**7)}
    assert [found[n].batch_size for n in found] == [43, 256, 256]
    assert [found[n].report_rows for n in found] == [43 * 32, 9216, 65_536]


@given(rows)
def test_more_rows_never_make_smaller_batches_or_more_epochs(n):
    for less, more in pairwise(length_of(TrainingSection(), m) for m in (n, n + n // 2 + 1)):
        assert more.epochs <= less.epochs
        assert more.batch_size >= less.batch_size
        assert more.report_rows >= less.report_rows - less.batch_size


@given(rows, st.floats(0.01, 100.0))
def test_what_is_given_holds_as_it_always_did(n, epochs):
    length = length_of(TrainingSection(epochs=epochs), n)
    assert (length.epochs, length.batch_size, length.patience) == (epochs, 256, 0)
    assert (length.schedule, length.report_rows, length.is_open) == (None, None, False)
    given = TrainingSection(batch_size=8, report_rows=7, patience=0, schedule="cosine")
    length = length_of(given, n)
    assert (length.batch_size, length.report_rows, length.patience) == (8, 7, 0)
    assert length.schedule == "cosine"


@given(rows, rows)
def test_a_settled_length_is_the_same_on_other_rows(n, other):
    section = settled(TrainingSection(), n)
    assert settled(section, other) == section
    assert most_rows(section, n) == most_rows(TrainingSection(), n) >= usual_rows(section, n)


def test_parts_of_a_batch_fit_into_the_batch_that_is_chosen():
    section = settled(TrainingSection(accumulate=16), 100)
    assert TrainingSection.model_validate(section.model_dump()) == section


def test_a_sweep_over_the_epochs_trains_each_trial_for_its_own():
    section = settled_sweep(TrainingSection(), 1000, frozenset({"training.epochs"}))
    assert (section.epochs, section.schedule, section.patience) == (10.0, None, 0)
    assert settled_sweep(TrainingSection(), 1000, frozenset()).schedule == "plateau"


@pytest.mark.parametrize("n", [300, 24_500])
def test_a_run_of_an_earlier_version_goes_on_for_ten_epochs(n):
    section = settled(as_begun(TrainingSection(), TEN_EPOCHS), n)
    assert section == settled(TrainingSection(epochs=10.0), n)
    assert section.batch_size == 256


def test_a_run_goes_on_with_its_own_length_whatever_the_rows_are_now():
    begun = settled(TrainingSection(), 350)
    stored = {f"training.{name}": value for name, value in begun.model_dump().items()}
    assert settled(as_begun(TrainingSection(), stored), 99_999) == begun
    given = TrainingSection(epochs=3)
    assert as_begun(given, stored) is given, "it is refused where the run is continued"
