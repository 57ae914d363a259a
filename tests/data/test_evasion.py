"""Tests that no change of an attacker leaves its limits."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from jamba_ray.config.data import SyntheticSection, TableSection
from jamba_ray.config.mutable import MutableColumn
from jamba_ray.config.run import TrainConfig
from jamba_ray.data import evasion, prepare
from jamba_ray.data.evasion import FIXED
from jamba_ray.errors import DataError

COLUMNS = {
    "bytes": MutableColumn(direction="up", budget=2.0),
    "duration": MutableColumn(budget=0.5, low=0.0),
    "ttl": MutableColumn(direction="down", budget=3.0, low=1.0, high=64.0),
    "rate": MutableColumn(integer=True),
}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    rng = np.random.default_rng(0)
    n = 400
    y = rng.permutation(n) < 120
    frame = pd.DataFrame(
        {
            "bytes": np.exp(rng.normal(6 + y, 2, n)).astype(int),
            "duration": np.where(rng.random(n) < 0.1, np.nan, rng.exponential(1 + y)),
            "ttl": rng.integers(1, 256, n),
            "rate": rng.normal(y, 2, n),
            "proto": rng.choice(["tcp", "udp"], n),
            "is_threat": y.astype(int),
        }
    )
    path = tmp_path_factory.mktemp("evasion") / "rows.csv"
    frame.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def data(table):
    mutable = {name: one.model_dump() for name, one in COLUMNS.items()}
    return prepare(TableSection(path=str(table), mutable=mutable, check_shift=False))


def broken(attacker, raw, changed):
    """Returns which limits the changed values [N, M] break."""
    found = set()
    for j, one in enumerate(attacker.limits):
        old, new, asked = raw[:, j], changed[:, j], one.asked
        missing = ~np.isfinite(old)
        if not np.array_equal(old[missing], new[missing], equal_nan=True):
            found.add("missing")
        old, new = old[~missing], new[~missing]
        moved = new != old
        reach = asked.budget * one.spread
        found |= {"up"} if asked.direction == "up" and (new < old).any() else set()
        found |= {"down"} if asked.direction == "down" and (new > old).any() else set()
        found |= {"budget"} if (np.abs(new - old) > reach * (1 + 1e-12)).any() else set()
        found |= {"whole"} if one.is_whole and (new[moved] % 1 != 0).any() else set()
        low = one.column.low if asked.low is None else asked.low
        high = one.column.high if asked.high is None else asked.high
        beyond = ((new < low) & (new < old)) | ((new > high) & (new > old))
        found |= {"ends"} if beyond.any() else set()
    return found


@pytest.mark.parametrize("seed", range(5))
def test_any_wish_is_brought_within_every_limit(data, seed):
    rng = np.random.default_rng(seed)
    attacker, raw = data.attacker, data.val.raw
    low, high = attacker.box(raw)
    for size in (0.1, 1.0, 1e3, 1e300):
        wanted = raw + rng.normal(size=raw.shape) * size
        wanted[rng.random(raw.shape) < 0.1] = rng.choice([np.nan, np.inf, -np.inf])
        assert broken(attacker, raw, attacker.within(wanted, raw, low, high)) == set()
    for changed in attacker.fixed(raw):
        assert broken(attacker, raw, changed) == set()


def test_limits_that_are_not_kept_are_seen(data, monkeypatch):
    monkeypatch.setattr(evasion.Attacker, "within", lambda self, wanted, *_: wanted)
    attacker, raw = data.attacker, data.val.raw
    wanted = raw + np.random.default_rng(0).normal(size=raw.shape) * 1e4
    found = broken(attacker, raw, attacker.within(wanted, raw, *attacker.box(raw)))
    assert {"up", "down", "budget", "whole", "ends"} <= found


def test_what_is_not_mutable_stays_and_the_rest_is_scaled_as_ever(data):
    attacker, rows = data.attacker, data.val
    assert np.array_equal(attacker.applied(rows.x_num, rows.raw), rows.x_num)
    changed = attacker.applied(rows.x_num, attacker.fixed(rows.raw)[1])
    own = [one.feature for one in attacker.limits]
    others = [j for j in range(rows.x_num.shape[1]) if j not in own]
    assert np.array_equal(changed[:, others], rows.x_num[:, others])
    assert (changed[:, own] != rows.x_num[:, own]).any()
    assert attacker.whole == ["bytes", "ttl", "rate"]


def test_a_list_of_names_is_enough():
    section = TableSection(path="x", mutable=["bytes", "duration"])
    assert section.mutable == {"bytes": MutableColumn(), "duration": MutableColumn()}


def test_a_column_that_is_no_number_is_refused(table):
    for name, words in (("proto", "a column of names"), ("durations", "mean")):
        with pytest.raises(DataError, match=f"numeric features.*{name}.*") as found:
            prepare(TableSection(path=str(table), mutable=[name], check_shift=False))
        assert words in found.value.message.lower()


def test_rows_on_disk_have_the_same_values(table, data, tmp_path):
    mutable = {name: one.model_dump() for name, one in COLUMNS.items()}
    section = TableSection(
        path=str(table), mutable=mutable, check_shift=False, rows_in="disk", cache=str(tmp_path)
    )
    mapped = prepare(section)
    assert np.array_equal(mapped.val.raw, data.val.raw, equal_nan=True)
    assert mapped.attacker.limits == data.attacker.limits


def test_robustness_needs_columns():
    with pytest.raises(ValueError, match=r"data\.mutable="):
        TrainConfig(
            data=SyntheticSection().model_dump(), model={"name": "mlp"}, objective="robustness"
        )
    assert FIXED >= 4
