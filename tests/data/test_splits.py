"""Splits: every row has one place, labels and groups are where the rules say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jamba_ray.data import splits
from jamba_ray.errors import DataError

shares = st.floats(0.01, 0.99)
seeds = st.integers(0, 2**31)


def labelled(n: int, seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).random(n) < 0.3).astype(np.float32)


def assert_is_a_division(kept, held, n):
    assert np.array_equal(np.sort(np.concatenate([kept, held])), np.arange(n))
    assert (np.diff(kept) > 0).all()
    assert (np.diff(held) > 0).all()


@given(st.integers(2, 400), shares, seeds)
def test_by_chance_keeps_the_share_of_each_label(n, share, seed):
    y = labelled(n, seed)
    kept, held = splits.by_chance(y, share, seed)
    assert_is_a_division(kept, held, n)
    for label in (0, 1):
        rows = int((y == label).sum())
        assert abs((y[held] == label).sum() - share * rows) <= 1
        if rows > 1:
            assert label in y[held]
            assert label in y[kept]
    again = splits.by_chance(y, share, seed)
    assert np.array_equal(held, again[1])


@given(st.lists(st.integers(0, 30), min_size=2, max_size=200), shares)
def test_by_time_holds_out_the_newest_and_divides_no_instant(times, share):
    time = np.array(times, dtype=np.int64)
    if len(set(times)) == 1:
        with pytest.raises(DataError, match="two different timestamps"):
            splits.by_time(time, share)
        return
    kept, held = splits.by_time(time, share)
    assert_is_a_division(kept, held, len(time))
    assert len(kept)
    assert time[kept].max() < time[held].min()
    # No other boundary between instants comes nearer to the share.
    miss = abs(len(held) - share * len(time))
    assert all(
        abs((time >= t).sum() - share * len(time)) >= miss for t in set(times) - {min(times)}
    )


@given(st.integers(40, 400), st.integers(3, 12), st.floats(0.05, 0.5), seeds)
def test_hosts_are_never_divided(n, n_hosts, share, seed):
    rng = np.random.default_rng(seed)
    host = np.array([f"h{i}" for i in rng.integers(0, n_hosts, n)])
    y = labelled(n, seed)
    y[host == "h0"] = 0.0  # a host that was never attacked, but one of many
    if len(set(host[y == 1])) < 2 or 2 * (host == "h0").sum() > (y == 0).sum():
        return
    kept, held = splits.by_group(host, y, share, seed)
    assert_is_a_division(kept, held, n)
    assert not set(host[kept]) & set(host[held])
    assert 1 in y[held]


def attacks(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    names = ["normal"] * 600 + [f"attack-{i}" for i in range(8) for _ in range(50)]
    group = np.random.default_rng(seed).permutation(names)
    return group, (group != "normal").astype(np.float32)


@given(st.floats(0.1, 0.5), seeds)
def test_attack_classes_are_held_out_whole_and_the_background_by_chance(share, seed):
    group, y = attacks()
    kept, held = splits.by_group(group, y, share, seed)
    assert_is_a_division(kept, held, len(y))
    assert set(group[kept]) & set(group[held]) == {"normal"}
    assert abs((group[held] == "normal").sum() - share * 600) <= 1
    assert abs(y[held].sum() - share * 400) <= 25  # half a class


def test_named_groups_are_held_out_and_no_other():
    group, y = attacks()
    kept, held = splits.by_group(group, y, 0.2, 0, holdout=["attack-3", "attack-5"])
    assert set(group[held]) == {"normal", "attack-3", "attack-5"}
    assert not {"attack-3", "attack-5"} & set(group[kept])


def test_groups_kept_for_later_are_not_drawn():
    group, y = attacks()
    for seed in range(10):
        _, held = splits.by_group(group, y, 0.5, seed, never=["attack-3"])
        assert "attack-3" not in group[held]


def test_a_dominating_class_is_not_drawn_where_a_smaller_one_fits():
    group = np.array(["normal"] * 500 + ["neptune"] * 400 + ["smurf"] * 40 + ["pod"] * 10)
    y = (group != "normal").astype(np.float32)
    for seed in range(10):
        _, held = splits.by_group(group, y, 0.15, seed)
        assert "neptune" not in group[held]
        assert y[held].any()


def test_group_mistakes_are_sentences():
    group, y = attacks()
    with pytest.raises(DataError, match="attack-9 is none; the groups are attack-0"):
        splits.by_group(group, y, 0.2, 0, holdout=["attack-9"])
    with pytest.raises(DataError, match="only 1 of 2 groups"):
        splits.by_group(np.where(y, "bad", "good"), y, 0.2, 0)


@given(st.integers(2, 300), st.integers(1, 60), shares, seeds)
def test_rows_with_the_same_features_stay_together(n, kinds, share, seed):
    rng = np.random.default_rng(seed)
    same = rng.integers(0, kinds, n).astype(np.uint64)
    y = ((same % 3 == 0) ^ (rng.random(n) < 0.1)).astype(np.float32)
    kept, held = splits.by_chance(y, share, seed, same)
    assert_is_a_division(kept, held, n)
    threat = {unit: 2 * y[same == unit].sum() >= (same == unit).sum() for unit in np.unique(same)}
    alone = [
        unit for unit, is_threat in threat.items() if list(threat.values()).count(is_threat) == 1
    ]
    both = np.intersect1d(same[kept], same[held])
    assert set(both) <= set(alone)  # the only unit of its label is divided
    for label in (False, True):
        if list(threat.values()).count(label) > 1:
            assert any(threat[unit] == label for unit in np.unique(same[held]))
            assert any(threat[unit] == label for unit in np.unique(same[kept]))


@given(st.integers(2, 300), shares, seeds)
def test_rows_that_all_differ_are_divided_as_ever(n, share, seed):
    y = labelled(n, seed)
    same = np.random.default_rng(seed).permutation(n).astype(np.uint64)
    assert np.array_equal(
        splits.by_chance(y, share, seed)[1], splits.by_chance(y, share, seed, same)[1]
    )
