"""Preprocessing: fitted on training rows alone, defined for any cell, the same once saved."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from jamba_ray.config.data import PreprocessingSection
from jamba_ray.data import Preprocessor
from jamba_ray.data.columns import detect
from jamba_ray.data.prepared import FeatureSchema
from jamba_ray.errors import DataError

SCALINGS = ("standard", "robust", "quantile")
numbers = st.floats(allow_nan=True, allow_infinity=True)
columns = st.lists(numbers, min_size=2, max_size=60)


def fitted(frame: pd.DataFrame, **options) -> Preprocessor:
    return Preprocessor.fit(frame, detect(frame), PreprocessingSection(**options))[0]


def read_back(preprocessor: Preprocessor) -> Preprocessor:
    return Preprocessor.from_json(json.loads(json.dumps(preprocessor.to_json(), allow_nan=False)))


@settings(max_examples=150, deadline=None)
@given(columns, columns, st.sampled_from(SCALINGS), st.integers(2, 50))
def test_any_numbers_become_finite_ones_and_survive_json(train, other, scaling, n_bins):
    frame = pd.DataFrame({"x": train, "steady": np.arange(len(train))})
    preprocessor = fitted(frame, scaling=scaling, n_bins=n_bins)
    rows = pd.DataFrame({"x": other, "steady": np.arange(len(other))})
    x_num, x_cat = preprocessor.transform(rows)
    assert x_num.dtype == np.float32
    assert np.isfinite(x_num).all()
    assert np.abs(x_num).max(initial=0.0) <= 8.0
    again = read_back(preprocessor)
    assert again.schema == preprocessor.schema
    for matrix, same in zip((x_num, x_cat), again.transform(rows), strict=True):
        assert np.array_equal(matrix, same)
    for edges in preprocessor.schema.bin_edges:
        assert 2 <= len(edges) <= n_bins + 1
        assert (np.diff(np.float32(edges)) > 0).all()


@settings(deadline=None)
@given(st.lists(st.floats(-1e300, 1e300), min_size=3, max_size=60), st.sampled_from(SCALINGS))
def test_scaling_keeps_the_order_of_values(values, scaling):
    assume(len(set(values)) > 1)
    frame = pd.DataFrame({"x": values, "steady": np.arange(len(values))})
    preprocessor = fitted(frame, scaling=scaling)
    assume("x" in preprocessor.schema.numeric)
    x_num, _ = preprocessor.transform(frame.sort_values("x"))
    assert (np.diff(x_num[:, preprocessor.schema.numeric.index("x")]) >= 0).all()


def test_standard_scaling_is_what_it_says():
    x = np.random.default_rng(0).normal(5e6, 300.0, 10_000)
    scaled, _ = fitted(pd.DataFrame({"x": x}), scaling="standard").transform(pd.DataFrame({"x": x}))
    assert scaled.mean() == pytest.approx(0.0, abs=1e-4)
    assert scaled.std() == pytest.approx(1.0, abs=1e-4)


def test_quantile_scaling_makes_a_heavy_tail_normal():
    x = np.random.default_rng(0).lognormal(10, 4, 10_000)
    scaled, _ = fitted(pd.DataFrame({"x": x})).transform(pd.DataFrame({"x": x}))
    assert np.quantile(scaled, [0.16, 0.5, 0.84]) == pytest.approx([-1, 0, 1], abs=0.03)


def test_a_mostly_zero_column_stays_informative():
    """Like NSL-KDD's byte counts: the zeros take the middle of their ranks, not -5."""
    rng = np.random.default_rng(0)
    x = np.where(rng.random(10_000) < 0.8, 0.0, rng.lognormal(6, 3, 10_000))
    preprocessor = fitted(pd.DataFrame({"x": x}))
    probe = pd.DataFrame({"x": [0.0, 1.0, 50.0, 400.0, 1e4, 1e9]})
    scaled = preprocessor.transform(probe)[0][:, 0]
    assert -0.5 < scaled[0] < 0.0
    assert (np.diff(scaled) > 0.1).all()


@settings(deadline=None, max_examples=40)
@given(st.randoms(use_true_random=False), st.sampled_from(SCALINGS))
def test_other_rows_change_nothing(random, scaling):
    """What is fitted is a function of the training rows alone."""
    rng = np.random.default_rng(random.getrandbits(32))
    train = pd.DataFrame({"x": rng.normal(size=50), "c": rng.choice(["a", "b"], 50)})
    before = fitted(train, scaling=scaling)
    strange = pd.DataFrame({"x": [1e30, np.inf, np.nan], "c": ["new", None, "a"]})
    before.transform(strange)
    assert fitted(train, scaling=scaling).to_json() == before.to_json()


class TestCategories:
    def test_unknown_rare_and_missing_share_code_0(self):
        train = pd.DataFrame({"c": ["a"] * 30 + ["b"] * 20 + ["rare"] * 9})
        preprocessor = fitted(train)
        assert preprocessor.schema.cardinalities == (3,)
        probe = pd.DataFrame({"c": ["a", "b", "rare", "never seen", None, ""]})
        assert preprocessor.transform(probe)[1][:, 0].tolist() == [1, 2, 0, 0, 0, 0]

    def test_at_most_max_categories_the_most_frequent(self):
        train = pd.DataFrame({"c": ["a"] * 3 + ["b"] * 5 + ["c"] * 4 + ["d"] * 4})
        preprocessor = fitted(train, rare_below=0, max_categories=2)
        assert preprocessor.categorical[0].categories == ("b", "c")

    def test_a_category_is_the_same_in_every_type(self):
        train = pd.DataFrame({"port": [80] * 20 + [443] * 20})
        roles = detect(train, categorical=["port"])
        preprocessor, _ = Preprocessor.fit(train, roles, PreprocessingSection())
        for values in (
            [80, 443],
            [80.0, 443.0],
            ["80", " 443 "],
            pd.Categorical(["80", "443"]),
            pd.array([80, 443], dtype="Int64"),
        ):
            codes = preprocessor.transform(pd.DataFrame({"port": values}))[1][:, 0]
            assert codes.tolist() == [2, 1]  # equally frequent: in the order of their names

    def test_large_integers_are_told_apart_as_categories(self):
        ids = [2**53, 2**53 + 1]
        train = pd.DataFrame({"id": ids * 20})
        roles = detect(train, categorical=["id"])
        preprocessor, _ = Preprocessor.fit(train, roles, PreprocessingSection())
        codes = preprocessor.transform(pd.DataFrame({"id": ids}))[1][:, 0]
        assert sorted(codes.tolist()) == [1, 2]


class TestDirtyRows:
    def test_a_gap_is_filled_and_told_where_training_had_gaps(self):
        train = pd.DataFrame({"x": [1.0, 2.0, 3.0, np.nan], "full": [1.0, 2.0, 3.0, 4.0]})
        preprocessor = fitted(train)
        assert preprocessor.schema.categorical == ("x (missing)",)
        assert preprocessor.schema.cardinalities == (2,)
        x_num, x_cat = preprocessor.transform(pd.DataFrame({"x": [2, None], "full": [2.0, None]}))
        assert x_cat[:, 0].tolist() == [1, 0]
        assert np.array_equal(x_num[0], x_num[1])  # the fill is the median, 2

    def test_infinity_is_the_largest_finite_value(self):
        frame = pd.DataFrame({"x": [1.0, 2.0, np.inf, -np.inf]})
        preprocessor, notes = Preprocessor.fit(frame, detect(frame), PreprocessingSection())
        x_num, _ = preprocessor.transform(frame)
        assert x_num[2] == x_num[1]
        assert x_num[3] == x_num[0]
        assert "infinite in 2 training rows" in notes[0]

    @pytest.mark.parametrize(
        "cells",
        [
            ["1.5", " 2 ", "oops", None],
            [True, False, "x", 3],
            pd.Categorical(["1", "2", "x", None]),
            pd.array([1, 2, None, 3], dtype="Int64"),
            pd.date_range("2026", periods=4),
            [b"1", 1j, None, object()],
            [10**400, -(10**400), "1e999", "-inf"],
            np.array([1, 2, 3, 4], dtype="timedelta64[s]"),
        ],
        ids=lambda cells: type(cells).__name__,
    )
    def test_any_cells_in_a_numeric_column(self, cells):
        preprocessor = fitted(pd.DataFrame({"x": [1.0, 2.0, 3.0]}))
        frame = pd.DataFrame({"x": cells})
        x_num, _ = preprocessor.transform(frame)
        assert np.isfinite(x_num).all()

    @pytest.mark.parametrize("cell", [[1], {}, {1}])
    def test_lists_and_mappings_are_refused(self, cell):
        preprocessor = fitted(pd.DataFrame({"x": [1.0, 2.0, 3.0]}))
        with pytest.raises(DataError, match="'x' must hold plain values"):
            preprocessor.transform(pd.DataFrame({"x": [1.0, cell]}))

    def test_missing_columns_are_named(self):
        preprocessor = fitted(pd.DataFrame({"src_bytes": [1.0, 2.0], "dst": [1.0, 2.0]}))
        with pytest.raises(DataError, match=r"lacks 'src_bytes'\. Did you mean `src_byte`\?"):
            preprocessor.transform(pd.DataFrame({"src_byte": [1.0], "dst": [1.0]}))

    def test_repeated_columns_are_refused(self):
        preprocessor = fitted(pd.DataFrame({"x": [1.0, 2.0]}))
        with pytest.raises(DataError, match="'x' comes twice"):
            preprocessor.transform(pd.DataFrame([[1.0, 2.0]], columns=["x", "x"]))

    def test_other_columns_and_their_order_do_not_matter(self):
        preprocessor = fitted(pd.DataFrame({"x": [1.0, 2.0], "y": [5.0, 6.0]}))
        plain = preprocessor.transform(pd.DataFrame({"x": [1.5], "y": [5.5]}))
        mixed = preprocessor.transform(pd.DataFrame({"y": [5.5], "z": [["?"]], "x": [1.5]}))
        assert np.array_equal(plain[0], mixed[0])

    def test_no_rows(self):
        x_num, x_cat = fitted(pd.DataFrame({"x": [1.0, 2.0]})).transform(pd.DataFrame({"x": []}))
        assert x_num.shape == (0, 1)
        assert x_cat.shape == (0, 0)


class TestDetection:
    def test_roles_and_notes(self):
        n = 400
        frame = pd.DataFrame(
            {
                "float": np.linspace(0, 1, n),
                "flag": np.arange(n) % 2 == 0,
                "few": np.arange(n) % 3,
                "text": np.where(np.arange(n) % 2, "a", "b"),
                "text_numbers": [str(i / 7) for i in range(n)],
                "dirty_numbers": ["?" if i % 50 == 0 else str(i) for i in range(n)],
                "constant": 1.0,
                "same_text": "x",
                "empty": [None] * n,
                "time": pd.date_range("2026", periods=n),
                "uuid": [f"{i:032x}z" for i in range(n)],
                "row": np.arange(n),
                "big": np.arange(n)[::-1] + 2**53,
                "is_threat": np.arange(n) % 2,
            }
        )
        roles = detect(frame, exclude=["is_threat"])
        assert roles.numeric == (
            "float",
            "flag",
            "few",
            "text_numbers",
            "dirty_numbers",
        )
        assert roles.categorical == ("text", "uuid")
        noted = {note.split("'")[1]: note for note in roles.notes}
        assert noted.keys() == {
            "dirty_numbers", "constant", "same_text", "empty", "time", "uuid", "row", "big",
        }  # fmt: skip
        assert "8 cells" in noted["dirty_numbers"]
        assert "identifier" in noted["uuid"]
        assert "rises from row to row" in noted["row"]
        assert "falls from row to row" in noted["big"]
        kept = detect(frame, exclude=["is_threat"], keep=["row", "big"])
        assert kept.numeric[-2:] == ("row", "big")
        assert "2^53" in kept.notes[-1]

    def test_overrides(self):
        frame = pd.DataFrame({"port": [80, 443], "code": ["7", "x"]})
        roles = detect(frame, numeric=["code"], categorical=["port"])
        assert roles.categorical == ("port",)
        assert roles.numeric == ("code",)

    def test_nothing_to_learn_from(self):
        with pytest.raises(DataError, match="at least one feature that varies"):
            detect(pd.DataFrame({"x": [1, 1], "is_threat": [0, 1]}), exclude=["is_threat"])


def test_json_of_another_version_is_refused():
    value = fitted(pd.DataFrame({"x": [1.0, 2.0]})).to_json()
    with pytest.raises(DataError, match="must have version 1 or 2, but has 3"):
        Preprocessor.from_json({**value, "version": 3})


class TestNumberFormats:
    """How numbers are written is part of the preprocessing."""

    frame = pd.DataFrame(
        {"x": ["1.234,5", "0,25", "-", "7"], "y": ["2.1 M", "10 K", "5", "6"], "z": [1, 2, 3, 4.0]}
    )

    def test_what_training_decided_holds_for_any_rows(self):
        preprocessor = read_back(fitted(self.frame))
        of_numbers = fitted(self.frame.assign(x=[1234.5, 0.25, None, 7], y=[2.1e6, 1e4, 5, 6]))
        rows = pd.DataFrame({"x": ["1,234", "7"], "y": ["3 M", "4"], "z": [1, 2]})
        same = pd.DataFrame({"x": [1.234, 7], "y": [3e6, 4], "z": [1, 2]})
        for matrix, other in zip(
            preprocessor.transform(rows), of_numbers.transform(same), strict=True
        ):
            assert np.array_equal(matrix, other)

    def test_some_columns_alone_are_read_the_same(self):
        preprocessor = fitted(self.frame)
        whole, _ = preprocessor.transform(self.frame)
        numbers, _, some = preprocessor.of_columns(["x", "z"])
        assert np.array_equal(some.transform(self.frame)[0], whole[:, numbers])

    def test_only_what_needs_formats_has_the_later_version(self):
        assert fitted(self.frame).to_json()["version"] == 2
        assert fitted(self.frame[["z"]]).to_json()["version"] == 1


def test_schema_json_round_trip():
    schema = fitted(pd.DataFrame({"x": [0.1, 0.2, None], "c": ["a"] * 3})).schema
    assert FeatureSchema.from_json(json.loads(json.dumps(schema.to_json()))) == schema
