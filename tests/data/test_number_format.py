"""How numbers in text are written is decided from a whole column, and said."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jamba_ray.data.cells import Distinct, to_numbers
from jamba_ray.data.columns import Roles, detect
from jamba_ray.data.number_format import PLAIN, NumberFormat, Recognised, recognise


def recognised(cells: list[str]) -> Recognised:
    found = Distinct.of(pd.Series(cells, dtype=object))
    return recognise(found.values, found.counts.tolist(), found.numbers(PLAIN))


def read(cells: list[str]) -> list[float]:
    return to_numbers(pd.Series(cells, dtype=object), recognised(cells).format).tolist()


STYLES = {
    "plain": ("{:.2f}", lambda text: text),
    "thousands": ("{:,.2f}", lambda text: text),
    "decimal comma": ("{:.2f}", lambda text: text.replace(".", ",")),
    "german": ("{:,.2f}", lambda text: text.translate(str.maketrans(",.", ".,"))),
    "french": ("{:,.2f}", lambda text: text.translate(str.maketrans(",.", "\u202f,"))),
    "swiss": ("{:,.2f}", lambda text: text.replace(",", "\u2019")),
    "underscore": ("{:_.2f}", lambda text: text),
    "right-aligned": ("{:12.2f}", lambda text: text),
    "plus": ("{:+,.2f}", lambda text: text.replace("-", "\u2212")),
}


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=30), st.sampled_from([*STYLES]))
def test_every_style_is_read_back(values, style):
    pattern, change = STYLES[style]
    # One value that shows both signs: which of them is written decides nothing else.
    numbers = [v / 100 for v in (*values, 1234567)]
    assert read([change(pattern.format(v)) for v in numbers]) == numbers


@pytest.mark.parametrize(
    ("cells", "numbers"),
    [
        (["1,234", "987", "12,345"], [1234, 987, 12345]),
        (["1,234", "0,123"], [1.234, 0.123]),  # no thousands begin with 0
        (["1,234", "2,5"], [1.234, 2.5]),
        (["1,234", "1234,567"], [1.234, 1234.567]),
        (["1,234", "1,234,567"], [1234, 1234567]),
        (["1,234", "1,234.5"], [1234, 1234.5]),
        (["1.234", "1.234.567"], [1234, 1234567]),
        (["12,34,567", "7,654"], [1234567, 7654]),
        (["0x000b", "80", "0xFFFF"], [11, 80, 65535]),
        (["2.1 M", "987", "10 KB", "3GiB"], [2.1e6, 987, 10e3, 3 * 2**30]),
        (["1.5Mbps", "20 kbit/s"], [1.5e6, 20e3]),
        (["10 ms", "2s", "5m", "1.5 h"], [0.01, 2, 300, 5400]),
        (["5m", "7k"], [5e6, 7e3]),
        (["5%", "12.5 %"], [5, 12.5]),
        (["1,5e3", "2,25"], [1500, 2.25]),
        (["2,1 M", "1.000.000"], [2.1e6, 1e6]),
    ],
)
def test_the_whole_column_decides(cells, numbers):
    assert read(cells) == pytest.approx(numbers, rel=1e-12)


@pytest.mark.parametrize(
    "cells",
    [
        ["192.168.100.101", "192.168.100.102"],
        ["1.2.3", "1.10.0"],
        ["22,443", "80,8080,53"],
        ["1,23,4"],
        ["12:30", "14:00"],
        ["14/02/2018"],
        ["00:1a:2b:3c:4d:5e"],
        ["tcp", "udp"],
        ["k", "M", "%"],
        ["", " "],
        ["1_0"],
    ],
)
def test_what_looks_like_numbers_and_is_none(cells):
    assert np.isnan(read(cells)).any()


@given(st.text(max_size=30))
def test_any_text_is_a_number_or_none(text):
    for form in (PLAIN, NumberFormat(",", ".", "bytes", True), recognised([text]).format):
        form.number(text)


def test_a_minority_does_not_decide():
    found = recognised(["1,234,567"] * 98 + ["1,5", "oops"])
    assert found.format == NumberFormat(".", ",")


class TestColumns:
    """The roles of columns and the sentence on each."""

    def roles(self, cells: list[str], **options) -> tuple[Roles, str]:
        steady = np.arange(len(cells)) % 7
        roles = detect(pd.DataFrame({"x": cells, "steady": steady}), **options)
        return roles, " ".join(note for note in roles.notes if "'x'" in note)

    def test_unset_marks_do_not_outvote_numbers(self):
        roles, note = self.roles(["-"] * 660 + [str(i / 7) for i in range(340)])
        assert "x" in roles.numeric
        assert "660 cells that are unset (such as '-')" in note

    def test_an_ambiguous_comma_is_said(self):
        _, note = self.roles([f"{i:,}" for i in range(900, 1900)])
        assert "',' between thousands ('1,000' is 1000, assumed since every comma" in note

    def test_few_words_among_many_numbers(self):
        roles, note = self.roles([str(i) for i in range(600)] + ["ERR", "timeout"] * 200)
        assert "x" in roles.numeric
        assert "400 cells that are no number (such as 'ERR'), taken as missing" in note

    def test_many_values_that_are_no_numbers_are_shown(self):
        roles, note = self.roles([f"${i}" for i in range(1000)])
        assert "x" in roles.categorical
        assert "1000 different values in 1000 training rows (such as '$0')" in note

    def test_half_numbers_are_no_identifier(self):
        _, note = self.roles([str(i) if i % 3 else f"id-{i}" for i in range(1000)])
        assert "if it holds numbers, as 666 of its cells do, name it in data.numeric" in note

    def test_forced_numbers_are_counted(self):
        roles, note = self.roles(["7", "8"] * 170 + ["x"] * 660, numeric=["x"])
        assert "x" in roles.numeric
        assert "660 cells that are no number (such as 'x'), taken as missing" in note

    def test_forced_text_is_left_out_for_the_true_reason(self):
        roles, note = self.roles(["a", "b"] * 50, numeric=["x"])
        assert roles.numeric == ("steady",)
        assert "none of its 100 cells is a number (such as 'a')" in note

    def test_a_few_hexadecimal_flags_stay_names(self):
        roles, _ = self.roles(["0x02", "0x12", "0x18"] * 50)
        assert "x" in roles.categorical
        roles, note = self.roles([hex(i * 977) for i in range(300)])
        assert "x" in roles.numeric
        assert "'0x' as hexadecimal" in note

    def test_clean_numbers_take_the_short_way(self, monkeypatch):
        monkeypatch.setattr(Distinct, "of", None)
        self.roles([1.5, 2.5] * 50)


def test_json_survives_and_what_is_no_format_is_refused():
    form = NumberFormat(",", ".", "bytes", True)
    assert NumberFormat.from_json(form.to_json()) == form
    for wrong in ({"decimal": "x"}, {"units": "miles"}, {"hex": 1}, {"thousands": ","}):
        with pytest.raises(ValueError, match="no number is written as"):
            NumberFormat.from_json({**form.to_json(), **wrong})
