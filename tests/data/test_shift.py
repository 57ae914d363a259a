"""Shift and leaks: what is planted is named with its setting, and on clean data nothing is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from jamba_ray.config.data import SplitSection, SyntheticSection, TableSection
from jamba_ray.data import PreparedData, prepare
from jamba_ray.data.adversary import auc, tell_apart
from jamba_ray.data.shift import Apart, Finding, Measured, Roles, findings
from jamba_ray.data.shift_check import checked

FALSE_ALARMS = 0.05


def clean(seed: int, n: int = 2000) -> pd.DataFrame:
    """Rows of one law: numbers that correlate, counts, names, many of them rare, and a label."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n, 6)) @ rng.standard_normal((6, 6))
    threat = rng.random(n) < 1 / (1 + np.exp(-z[:, 0] * z[:, 1] - 0.5 * z[:, 2]))
    names = np.array([f"host-{i}" for i in range(60)])
    return pd.DataFrame(
        {
            **{f"z{j}": z[:, j] for j in range(6)},
            "bytes": np.exp(5 + z[:, 3]).astype(int),
            "packets": rng.poisson(3, n),
            "flag": rng.integers(0, 2, n),
            "service": rng.choice(names, n, p=rng.dirichlet(np.full(60, 0.3))),
            "gaps": np.where(rng.random(n) < 0.1, np.nan, rng.exponential(1, n)),
            "is_threat": threat.astype(int),
        }
    )


def found_in(
    folder: Path, frame: pd.DataFrame, test: pd.DataFrame | None = None, **settings
) -> dict[str, Finding]:
    """Finds by kind what is said of a table; the last of a kind."""
    return {one["kind"]: one for one in checked_of(folder, frame, test, **settings)[1]}


def checked_of(folder, frame, test=None, **settings) -> tuple[PreparedData, list[dict]]:
    path = folder / "t.parquet"
    frame.to_parquet(path, index=False)
    if test is not None:
        test.to_parquet(folder / "test.parquet", index=False)
        settings["test"] = str(folder / "test.parquet")
    section = TableSection(path=str(path), **settings)
    data = checked(prepare(section), section)
    said = data.overview["shift"]["findings"]
    assert [one["sentence"] for one in said] == list(data.notes)[len(data.notes) - len(said) :]
    return data, said


def test_a_leak_is_named(tmp_path):
    rng = np.random.default_rng(0)
    frame = clean(0)
    y = frame["is_threat"].to_numpy()
    frame["score"] = y + rng.normal(0, 0.12, len(y))  # parts all rows but one in 30,000
    frame.loc[0, "score"] = 1 - y[0]
    leak = found_in(tmp_path, frame, drop=("flag",))["leak"]
    assert leak["columns"] == ["score"]
    assert leak["setting"] == "'data.drop=[flag,score]'"
    assert leak["setting"] in leak["sentence"]


@pytest.mark.parametrize("how", ["xor", "difference"])
def test_a_pair_that_tells_the_label_is_named(tmp_path, how):
    rng = np.random.default_rng(0)
    frame = clean(0, 4000)
    y = frame["is_threat"].to_numpy()
    if how == "xor":
        frame["a"] = rng.integers(0, 2, len(y))
        frame["b"] = frame["a"] ^ y
    else:
        frame["a"] = rng.random(len(y))
        frame["b"] = frame["a"] + 0.5 * y
    leak = found_in(tmp_path, frame)["leak"]
    assert sorted(leak["columns"]) == ["a", "b"]
    assert "together tell the label" in leak["sentence"]


def test_drift_with_time_is_named_and_split_by_time_proposed(tmp_path):
    frame = clean(0).assign(when=pd.date_range("2026-01-01", periods=2000, freq="min"))
    frame["z0"] += np.linspace(0, 3, 2000) * frame["z0"].std()
    frame["z1"] += np.linspace(0, 2, 2000) * frame["z1"].std()
    shuffled = frame.sample(frac=1.0, random_state=0)
    drift = found_in(tmp_path, shuffled, timestamp="when")["drift"]
    assert drift["columns"][0] == "z0"
    assert drift["setting"] == "data.split.kind=time"
    split = SplitSection(kind="time")
    by_time = found_in(tmp_path, shuffled, timestamp="when", split=split)
    assert "Validation rows differ" in by_time["shift"]["sentence"]
    # Without a timestamp the order of the table is all that is known of time.
    unnamed = found_in(tmp_path, frame.drop(columns="when"))["drift"]
    assert "if rows are in the order of time, name the time" in unnamed["sentence"]
    assert "drift" not in found_in(tmp_path, shuffled.drop(columns="when"))


def test_rows_sorted_by_their_label_do_not_drift(tmp_path):
    frame = clean(0)
    rows = np.random.default_rng(0).permutation(2000)
    frame["z0"] += 3 * frame["is_threat"]
    by_label = frame.iloc[rows].sort_values("is_threat", kind="stable")
    assert not found_in(tmp_path, by_label).keys() & {"drift", "prior"}


def test_a_test_of_other_rows_is_named_with_the_columns(tmp_path):
    rows = clean(0, 4000)
    frame, test = rows[:3000], rows[3000:].copy()
    assert not found_in(tmp_path, frame, test)
    test["packets"] = test["packets"] * 3 + 5
    found = found_in(tmp_path, frame, test, group="service", drop=("flag",))
    assert found["shift"]["columns"] == ["packets"]
    assert found["shift"]["setting"] == "'data.drop=[flag,packets]'"
    assert "Validation does not show what that costs" in found["shift"]["sentence"]
    assert found["unseen"]["columns"] == ["packets"]
    test["z1"], test["z2"] = test["z1"] * 3, test["z2"] + 9
    found = found_in(tmp_path, frame, test, group="service")
    assert found["shift"]["setting"] == "data.split.kind=group"
    more = pd.concat([rows[3000:], rows[3000:][rows[3000:]["is_threat"] == 1]])
    prior = found_in(tmp_path, frame, more)["prior"]
    assert prior["setting"] == f"threat_ratio={more['is_threat'].mean():.3g}"


def test_categories_that_training_never_saw_are_counted(tmp_path):
    rows = clean(0, 4000)
    frame, test = rows[:3000], rows[3000:]
    test = test.assign(service=np.where(np.arange(1000) % 4 == 0, "new", test["service"]))
    unseen = found_in(tmp_path, frame, test)["unseen"]
    assert unseen["columns"] == ["service"]
    assert "25." in unseen["sentence"]


def test_rows_that_nearly_repeat_are_counted(tmp_path):
    rng = np.random.default_rng(0)
    frame = clean(0, 600)
    many = frame.iloc[rng.integers(0, 600, 3000)].reset_index(drop=True)
    many["z0"] += rng.normal(0, 0.3, 3000)
    many["z1"] += rng.normal(0, 1e-5, 3000)
    near = found_in(tmp_path, many)["near"]
    assert near["setting"] == "data.split.kind=group"
    assert "name the host or session in data.group" in near["sentence"]


def test_a_column_that_follows_time_is_named(tmp_path):
    frame = clean(0).assign(when=pd.date_range("2026-01-01", periods=2000, freq="min"))
    frame["uptime"] = np.arange(2000) * 0.5 + np.random.default_rng(0).normal(0, 40, 2000)
    found = found_in(tmp_path, frame.sample(frac=1.0, random_state=0), timestamp="when")
    assert found["time"]["columns"] == ["uptime"]
    assert found["time"]["setting"] == "'data.drop=[uptime]'"
    assert "follows the time" in found["time"]["sentence"]


def test_columns_that_name_the_row_or_the_group_are_named(tmp_path):
    rng = np.random.default_rng(0)
    frame = clean(0)
    frame["session"] = rng.integers(0, 2**40, 2000)
    frame["token"] = [f"{value:016x}z" for value in rng.integers(0, 2**60, 2000)]
    group = rng.integers(0, 20, 2000)
    frame["host"] = [f"10.0.0.{i}" for i in group]
    frame["agent"] = group * 7 + 3
    data, said = checked_of(tmp_path, frame, group="host")
    assert [one["columns"] for one in said if one["kind"] == "group"] == [["agent"]]
    notes = {note.split("'")[1]: note for note in data.notes if note.startswith("Column")}
    assert "identifier" in notes["session"]
    assert "'data.drop=[session]'" in notes["session"]
    assert "left out" in notes["token"]


def test_old_runs_and_small_tables_are_not_measured(tmp_path):
    assert not found_in(tmp_path, clean(0, 120))
    section = SyntheticSection(n_samples=600, check_shift=False)
    data = prepare(section)
    assert checked(data, section) is data


def alarms(tmp_path: Path, seeds: range) -> list[tuple[int, str]]:
    """Counts what is said of clean data: a random split, and a test file of the same law."""
    found = []
    for seed in seeds:
        rows = clean(seed, 2600)
        cut = {"timestamp": "when"} if seed % 2 else {}
        frame = rows[:2000].assign(when=pd.date_range("2026-01-01", periods=2000, freq="min"))
        frame = frame if cut else frame.drop(columns="when")
        test = rows[2000:].assign(when=pd.NaT) if cut else rows[2000:]
        data, said = checked_of(tmp_path, frame, test, **cut)
        notes = [note for note in data.notes if "identifier" in note or "data.drop" in note]
        if said or notes:
            found.append((seed, " ".join([*(one["sentence"] for one in said), *notes])))
    return found


def test_nothing_is_said_of_clean_data(tmp_path):
    assert not alarms(tmp_path, range(3))


def test_neighbours_that_are_alike_are_no_drift(tmp_path):
    """Rows follow a moving average: with folds by chance a row is recognised by its neighbour."""
    for kind in ("time", "random"):
        section = SyntheticSection(n_samples=1500, n_late_families=0, split={"kind": kind})
        assert checked(prepare(section), section).overview["shift"]["findings"] == []


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_nothing_is_said_of_clean_data_in_95_of_100_draws(tmp_path):
    found = alarms(tmp_path, range(100))
    assert len(found) <= 100 * FALSE_ALARMS, found


def test_the_interval_holds_one_half_where_rows_are_alike():
    held = 0
    for seed in range(10):
        x = np.random.default_rng(seed).standard_normal((1000, 5)).astype(np.float32)
        told = tell_apart(x, np.arange(1000) % 2 == 0)
        held += told.low <= 0.5 <= told.high
    assert held >= 8


def test_rows_that_repeat_are_not_told_apart_from_memory():
    """With folds by chance, the repeats of one side would be recognised."""
    x = np.random.default_rng(0).standard_normal((60, 5)).astype(np.float32)
    side = np.arange(60) < 30
    many = np.random.default_rng(1).integers(0, 60, 4000)
    assert tell_apart(x[many], side[many]).low < 0.6


def test_auc_is_the_share_of_pairs_in_order():
    scores, side = np.array([0.1, 0.4, 0.4, 0.9]), np.array([False, True, False, True])
    assert auc(scores, side) == pytest.approx((1 + 0.5 + 1 + 1) / 4)


def test_limits_decide_what_is_said():
    """Pure: at each limit one side is silent."""
    roles = Roles(timestamp="when")
    far, near = Apart("test", 0.7, 0.65, 0.75), Apart("test", 0.59, 0.56, 0.62)
    assert [one.kind for one in findings(Measured(apart=[far]), roles)] == ["shift"]
    assert not findings(Measured(apart=[near]), roles)
    assert not findings(Measured(apart=[Apart("test", 0.7, 0.5, 0.9)]), roles)
    alike = Measured(threats={"train": (500, 1000), "test": (430, 1000)})
    assert not findings(alike, roles)
    other = Measured(threats={"train": (500, 1000), "test": (300, 1000)})
    assert [one.kind for one in findings(other, roles)] == ["prior"]
    assert not findings(Measured(near={"val": (0.2, 0.1)}), roles)
    assert (
        findings(Measured(near={"val": (0.2, 0.01)}), roles)[0].setting == "data.split.kind=group"
    )
