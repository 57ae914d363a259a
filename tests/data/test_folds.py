"""Folds: each row is held out once, threats and groups are spread, nothing leaks into a fold."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from jamba_ray.config.cv import CvSection
from jamba_ray.config.data import TableSection
from jamba_ray.data import folds as folds_file
from jamba_ray.data import prepare
from jamba_ray.data.folds import by_chance, by_group, by_time
from jamba_ray.errors import DataError

RNG = np.random.default_rng(0)
Y = (RNG.random(1000) < 0.1).astype(np.float32)


def held_once(folds, n):
    return np.array_equal(np.sort(np.concatenate([held for _, held in folds])), np.arange(n))


def disjoint(folds):
    return all(not np.isin(held, kept).any() for kept, held in folds)


@pytest.mark.parametrize("n", [2, 5, 7])
def test_by_chance_each_row_is_held_out_once_and_threats_are_spread(n):
    folds = by_chance(Y, n, [1])
    assert held_once(folds, len(Y))
    assert disjoint(folds)
    threats = [int(Y[held].sum()) for _, held in folds]
    sizes = [len(held) for _, held in folds]
    assert max(threats) - min(threats) <= 1
    assert max(sizes) - min(sizes) <= 1
    assert all(
        np.array_equal(a, b) for (_, a), (_, b) in zip(folds, by_chance(Y, n, [1]), strict=False)
    )
    assert not np.array_equal(folds[0][1], by_chance(Y, n, [2])[0][1])


def test_rows_with_the_same_features_stay_in_one_fold():
    same = RNG.integers(0, 200, len(Y)).astype(np.uint64)
    folds = by_chance(Y, 4, [1], same)
    assert held_once(folds, len(Y))
    assert all(not np.isin(same[held], same[kept]).any() for kept, held in folds)
    # The sabotage twin: without looking for them, some are on both sides.
    assert any(np.isin(same[held], same[kept]).any() for kept, held in by_chance(Y, 4, [1]))


def test_whole_groups_are_held_out_and_the_background_is_divided():
    names = np.array([*(f"attack{i}" for i in range(9)), "normal"])
    group = names[RNG.choice(10, 2000, p=[*[0.05] * 9, 0.55])]
    y = (group != "normal").astype(np.float32)
    folds = by_group(group, y, 3, [0])
    assert held_once(folds, len(y))
    for kept, held in folds:
        attacks = set(group[held]) - {"normal"}
        assert len(attacks) == 3
        assert not attacks & set(group[kept])
        assert 0.2 < (group[held] == "normal").sum() / (group == "normal").sum() < 0.45
    with pytest.raises(DataError, match=r"cv.folds must be at most 9 here.*but is 10"):
        by_group(group, y, 10, [0])


def test_by_time_each_fold_trains_on_what_came_before():
    time = RNG.integers(0, 500, 1000)
    folds = by_time(time, 4)
    for kept, held in folds:
        assert time[kept].max() < time[held].min()
    for (_, a), (b, _) in itertools.pairwise(folds):
        assert np.isin(a, b).all()  # and the next one on these too
    assert all(150 < len(held) < 250 for _, held in folds)
    with pytest.raises(DataError, match=r"cv.folds must be at most 2 here, but is 3"):
        by_time(np.array([1, 1, 2, 3, 3]), 3)
    # One instant with most rows: the others are still five spans.
    heavy = np.sort(np.concatenate([np.zeros(900, dtype=int), np.arange(1, 11)]))
    assert [len(held) > 0 for _, held in by_time(heavy, 5)] == [True] * 5


def test_a_fold_of_one_label_is_refused(tmp_path):
    def rare(frame):
        frame["label"] = (np.arange(600) % 100 == 0).astype(int)

    with pytest.raises(DataError, match=r"cv.folds must leave both labels.*has no threat. Lower"):
        prepare(table(tmp_path, rare), cv=CvSection(folds=8))


def table(tmp_path, change=None):
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({f"f{i}": rng.normal(size=600) for i in range(4)})
    frame["proto"] = rng.choice(["tcp", "udp", "icmp"], 600)
    frame["label"] = (frame["f0"] + rng.normal(size=600) > 0.8).astype(int)
    if change is not None:
        change(frame)
    path = tmp_path / "rows.parquet"
    frame.to_parquet(path)
    return TableSection(path=str(path), target="label")


def test_what_a_fold_fits_it_fits_on_its_own_training_rows(tmp_path, monkeypatch):
    """Held-out rows of a fold are changed: what was fitted in it stays. Its sabotage twin fits on
    all rows, and does not."""
    section, cv = table(tmp_path), CvSection(folds=3)
    before = prepare(section, cv=cv)
    held = held_rows(section, cv, 0)

    def wild(frame):
        frame.loc[held, ["f1", "f2"]] = frame.loc[held, ["f1", "f2"]] * 1000.0

    after = prepare(table(tmp_path, wild), cv=cv)
    assert after.folds[0].preprocessing == before.folds[0].preprocessing
    assert after.folds[1].preprocessing != before.folds[1].preprocessing
    assert after.preprocessing != before.preprocessing  # what all training rows fit would leak

    kept_of = folds_file.by_chance
    monkeypatch.setattr(
        folds_file, "by_chance", lambda *a: [(np.arange(len(a[0])), h) for _, h in kept_of(*a)]
    )
    leaking = prepare(table(tmp_path, wild), cv=cv).folds[0].preprocessing
    assert leaking != before.folds[0].preprocessing


def held_rows(section, cv, fold):
    """The positions in the table of the rows that a fold holds out."""
    from jamba_ray.data import raw_sources
    from jamba_ray.data.prepare import _parts

    place, extents = raw_sources.place_of(section)
    parts, _ = _parts(section, place, extents)
    return folds_file.divide_folds(parts, cv, section.split)[fold].val.rows


def test_validation_and_test_rows_are_in_no_fold_and_folds_are_the_same_again(tmp_path):
    section, cv = table(tmp_path), CvSection(folds=3, repeats=2)
    data = prepare(section, cv=cv)
    plain = prepare(section)
    assert plain.folds == ()
    assert plain.searched is plain
    assert plain.fingerprint == data.fingerprint
    assert len(data.folds) == 6
    assert all(len(f.train) + len(f.val) == len(data.train) for f in data.folds)
    prints = [f.fingerprint for f in data.folds]
    assert len(set(prints)) == 6
    assert [f.fingerprint for f in prepare(section, cv=cv).folds] == prints
    assert data.searched is data.folds[0]


def test_rows_on_disk_have_no_folds(tmp_path):
    section = table(tmp_path).model_copy(
        update={"rows_in": "disk", "cache": str(tmp_path / "cache")}
    )
    with pytest.raises(
        DataError, match=r"cv.folds needs the rows in memory.*Set data.rows_in=host"
    ):
        prepare(section, cv=CvSection(folds=3))
