"""Times in text: one order of day and month for a column, or a sentence."""

from __future__ import annotations

import datetime as dt
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jamba_ray.data.time_fields import looks_like_time
from jamba_ray.data.time_text import format_of, read_as, read_times
from jamba_ray.errors import DataError


def read(texts: list[str], order: str = ""):
    return read_times(texts, np.ones(len(texts), dtype=np.int64), "'ts' of f.csv", order)


def refusal(texts: list[str]) -> str:
    with pytest.raises(DataError) as caught:
        read(texts)
    assert "\n" not in caught.value.message
    assert caught.value.message.endswith(".")
    return caught.value.message


FORMATS = (
    "%d/%m/%Y %H:%M:%S",
    "%m/%d/%Y %I:%M:%S %p",
    "%m-%d-%Y %I:%M:%S%p",
    "%d.%m.%Y %H:%M:%S.%f",
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S.%fZ",
    "%Y/%m/%d %H:%M:%S",
    "%Y-%d-%m %H:%M:%S",
    "%Y-%m-%d %H:%M:%S,%f",
    "%Y%m%dT%H%M%SZ",
    "%d/%b/%Y:%H:%M:%S +0000",
    "%a, %d %b %Y %H:%M:%S GMT",
    "%a %b %d %H:%M:%S %Y",
    "%a %b %d %H:%M:%S UTC %Y",
    "%B %d, %Y %H:%M:%S",
    "%d-%b-%y %H:%M:%S",
    "%Y-%j %H:%M:%S",
    "%G-W%V-%u %H:%M:%S",
    "[%d/%m/%Y %H:%M:%S]",
)
seconds = st.integers(0, 2**31 - 1)  # to 2038


@settings(deadline=None, max_examples=60)
@given(st.lists(seconds, min_size=1, max_size=30, unique=True), st.sampled_from(FORMATS))
def test_every_format_is_read_to_the_second(values, form):
    # A day above 12, which settles the order of day and month.
    times = [dt.datetime(1970, 1, 1) + dt.timedelta(seconds=s) for s in (*values, 1518602400)]
    found = read([t.strftime(form) for t in times]).instants
    assert found.tolist() == np.array(times, dtype="M8[ns]").tolist()


@pytest.mark.parametrize(
    ("texts", "order"),
    [
        (["14/02/2018", "02/03/2018"], "dmy"),
        (["02/03/2018", "02/14/2018"], "mdy"),
        (["14/02/18", "15/02/18", "02/03/18"], "dmy"),  # the year changes least
        (["17/06/99", "31/12/01"], "dmy"),
        (["99/06/17", "01/12/31"], "ymd"),
        (["2018-02-03", "2018-03-02"], "ymd"),
        (["03.03.2018", "04.04.2018"], "dmy"),  # the same in every order
    ],
)
def test_all_cells_settle_the_order(texts, order):
    assert read(texts).order == order
    assert not np.isnat(read(texts).instants).any()


def test_where_nothing_settles_the_order_the_setting_is_named():
    message = refusal(["02/03/2018 10:00 AM", "05/03/2018 10:00 PM"])
    assert "no cell does (such as '02/03/2018 10:00 AM')" in message
    assert "here to '%d/%m/%Y %I:%M %p' or '%m/%d/%Y %I:%M %p'" in message
    assert "timestamp_format" in refusal(["17/06/09 20:10:40", "17/07/10 20:10:40"])
    # Days decided on other rows hold for these.
    assert read(["02/03/2018"], "mdy").instants[0] == np.datetime64("2018-02-03")


def test_formats_that_are_proposed_read_the_cell():
    for text in ("02/03/2018 10:00 AM", "2/3/18", "02.03.2018 10:00:01.5", "1-2-2018 10:00 +0100"):
        one, other = (read_as([text], format_of(text, order)) for order in ("dmy", "mdy"))
        assert not np.isnat(one).any()
        assert (one != other).all()


def test_two_orders_in_one_column():
    message = refusal(["14/02/2018", "02/15/2018"])
    assert "'14/02/2018' and '02/15/2018' have not" in message
    read_most = read(["14/02/2018", "15/02/2018", "02/15/2018"])
    assert np.isnat(read_most.instants).tolist() == [False, False, True]


def test_zones_are_one_order():
    found = read(["2018-02-14T10:00:00Z", "2018-02-14T10:00:00+05:30", "2018-02-14 10:00:00 PST"])
    assert np.argsort(found.instants).tolist() == [1, 0, 2]
    assert "without a zone" in read(["2018-02-14 10:00:00", "2018-02-14T10:00:00+01:00"]).how
    assert "without a zone" in read(["14/02/2018 10:00", "14/02/2018 10:00+01:00"]).how


@pytest.mark.parametrize(
    "text", ["Feb 14 10:00:00", "Feb  4 10:00:00 host", "02/14-10:00:00.123456"]
)
def test_no_year(text):
    assert "must have a year" in refusal([text])
    assert "data.timestamp_format" in refusal([text])


def test_no_date():
    assert "must have a date" in refusal(["10:30:00", "11:30:00"])


def test_afternoons_as_mornings_are_said():
    """As in CICIDS2017, whose clock shows 8 to 12 and then 1 to 5."""
    texts = [f"14/02/2018 {h}:30" for h in (8, 9, 10, 11, 12, 1, 2, 3, 4, 5)]
    assert "afternoons" in read(texts).how
    assert "afternoons" not in read([*texts, "14/02/2018 17:30"]).how


@pytest.mark.parametrize(
    "text",
    ["31/02/2018", "14/13/2018", "14/02/2018 25:00", "14/02/2018 13:00 PM", "14 Foo 2018", "14/2/8",
     "14/02/2018 10:00 XYZ", "0000-00-00", "14/02/9999", ""],
)  # fmt: skip
def test_what_is_no_time(text):
    assert np.isnat(read(["14/02/2018", "15/02/2018", text]).instants)[2]


@given(st.lists(st.text(max_size=25), min_size=1, max_size=5, unique=True))
def test_any_text_is_read_or_refused(texts):
    with suppress(DataError):
        assert len(read(texts).instants) == len(texts)


@pytest.mark.parametrize(
    "text",
    [
        "1.10.0",
        "10.0.0.1",
        "tcp",
        "12",
        "0x12",
        "1.5",
        "22/80",
        "20180214",
        "12abc34",
        "2018-123",
        "abc 12 2018",
    ],
)
def test_what_does_not_look_like_a_time(text):
    assert not looks_like_time(text)
