"""A timestamp column of any type becomes instants, or is refused in one sentence."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from jamba_ray.data.times import read_column, span_note
from jamba_ray.errors import DataError

START = pd.Timestamp("2018-02-14 08:00")
TIMES = pd.Series(pd.date_range(START, periods=200, freq="4h"))


def read(cells, form: str | None = None):
    return read_column(pd.Series(cells, name="ts"), "f.csv", form)


def refusal(cells, form: str | None = None) -> str:
    with pytest.raises(DataError) as caught:
        read(cells, form)
    assert "\n" not in caught.value.message
    assert caught.value.message.endswith(".")
    return caught.value.message


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("kind", ["int", "float", "text", "decimal text", "nullable"])
def test_epochs_of_one_unit(unit, kind):
    whole = TIMES.astype(f"M8[{unit}]").astype("int64")
    cells = {
        "int": whole,
        "float": whole.astype(float),
        "text": whole.astype(str),
        "decimal text": [f"{x}.0" for x in whole],
        "nullable": whole.astype("UInt64"),
    }[kind]
    read_times = read(cells)
    assert (read_times.values == TIMES.to_numpy()).all()
    assert "since 1970" in read_times.how


@pytest.mark.parametrize(
    "cells",
    [
        TIMES,
        TIMES.dt.tz_localize("Asia/Kolkata"),
        TIMES.dt.date,
        [dt.datetime(2018, 2, 14, tzinfo=dt.UTC), dt.datetime(2018, 2, 15)],
        TIMES.dt.strftime("%d/%m/%Y %H:%M").astype("category"),
        range(1000),
        [43145.5, 43146.25],
        [20180214, 20180215, 20180301],
        [0.0, 1e9, 2e10, 1e12],  # a counter passes through every range
    ],
    ids=str,
)
def test_what_is_ordered(cells):
    values = read(cells).values
    assert (np.diff(values).astype(float) >= 0).all()
    assert values[0] < values[-1]


@pytest.mark.parametrize(
    ("cells", "sentence"),
    [
        ([1.76e12, 1.76e9, 1.7e9], "1 milliseconds (such as 1760000000000); convert them to one"),
        (["1760000000000", "1760000000"], "must have one unit"),
        ([43145.5, 1.76e9], "1 days since 1899 (Excel) (such as 43145.5)"),
        ([14022018, 2032018], "data.timestamp_format, for example to '%d%m%Y' or '%m%d%Y'"),
        ([14022018103000, 2032018103000], "whose year comes last"),
        ([1.76e9, None], "1 of 2 rows of f.csv have none in 'ts'; correct or remove them."),
        (["14/02/2018", "oops", "15/02/2018"], "(read as day/month/year; such as 'oops')"),
        (["-", "1760000000", "1760000001"], "1 of 3 rows of f.csv have none in 'ts'"),
        ([dt.time(10), dt.time(11)], "must have a date"),
        ([True, False], "must be times, numbers or text, but are bool"),
    ],
)
def test_what_is_refused(cells, sentence):
    assert sentence in refusal(cells)


class TestFormat:
    """data.timestamp_format."""

    def test_it_decides(self):
        texts = ["02/03/2018", "03/02/2018"]
        assert np.argsort(read(texts, "%d/%m/%Y").values).tolist() == [1, 0]
        assert np.argsort(read(texts, "%m/%d/%Y").values).tolist() == [0, 1]
        numbers = read([14022018, 2032018], "%d%m%Y").values
        assert numbers.tolist() == np.array(["2018-02-14", "2018-03-02"], "M8[ns]").tolist()
        assert len(read(["Feb 14 10:00:00", "Feb 15 10:00:00"], "%b %d %H:%M:%S").values) == 2

    def test_cells_of_another_format_are_counted(self):
        message = refusal(["14/02/2018", "2018-02-14"], "%d/%m/%Y")
        assert "1 of 2 rows" in message
        assert "'2018-02-14'" in message

    def test_what_is_no_format(self):
        assert "'Q' is a bad directive" in refusal(["14/02/2018"], "%Q")

    def test_a_day_first_cannot_hold_for_what_is_read_already(self):
        assert "month before the day" in refusal(TIMES, "%Y-%d-%m")
        assert len(read(TIMES, "%Y-%m-%d %H:%M:%S").values) == len(TIMES)


def test_the_note_says_from_when_to_when():
    times = TIMES.to_numpy()
    note = span_note("ts", "read as day/month/year", {"train": times[:9], "test": None})
    assert note == (
        "Rows follow 'ts' (read as day/month/year): train 2018-02-14 08:00:00 to "
        "2018-02-15 16:00:00, test unknown."
    )
    assert "train 0 to 2.5." in span_note("ts", "", {"train": np.array([0, 2.5])})
