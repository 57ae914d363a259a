"""Offers the data sets of ``tests.benchmarks.field``: each is rows to train on and later rows.

A folder given by ``--data`` holds ``train.parquet``, ``test.parquet`` and ``meta.json``::

    {"target": "is_threat", "positive": "malicious", "timestamp": "time", "group": "host",
     "drop": ["difficulty"]}

where only ``target`` is needed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from jamba_ray.config.data import SyntheticSection
from jamba_ray.data.synthetic import BAYES, GROUP, TARGET, TIMESTAMP, generate

AT_MOST = 20_000
"""Training rows; more are drawn from by chance."""
Generator = np.random.Generator


@dataclass(frozen=True)
class FieldSet:
    """Holds the rows of one data set; labels are 0 and 1 in ``target``."""

    name: str
    shifted: bool
    """Whether the test is later, of another day, or of attacks that training never saw."""
    train: pd.DataFrame
    test: pd.DataFrame
    target: str
    timestamp: str | None = None
    group: str | None = None

    @property
    def features(self) -> list[str]:
        """Names the columns that a model may see."""
        kept_out = {self.target, self.timestamp, self.group}
        return [c for c in self.train.columns if c not in kept_out]

    def drawn(self, seed: int, at_most: int = AT_MOST) -> FieldSet:
        """Returns the set with at most ``at_most`` training rows, drawn by ``seed``, in order."""
        if len(self.train) <= at_most:
            return self
        rows = np.random.default_rng(seed).choice(len(self.train), at_most, replace=False)
        return FieldSet(**{**vars(self), "train": self.train.iloc[np.sort(rows)]})


def sets_of(folders: Sequence[str], names: Sequence[str], seed: int) -> list[FieldSet]:
    """Returns the sets that were asked for: those of ``folders``, else all or the named ones."""
    if folders:
        return [from_folder(Path(folder)).drawn(seed) for folder in folders]
    chosen = names or [n for n in SETS if n != "nsl_kdd" or nsl_kdd_folder() is not None]
    return [SETS[name](seed).drawn(seed) for name in chosen]


def from_folder(folder: Path) -> FieldSet:
    """Reads a data set that is kept elsewhere."""
    meta = json.loads((folder / "meta.json").read_text())
    target, positive = meta["target"], meta.get("positive")
    parts = {}
    for part in ("train", "test"):
        frame = pd.read_parquet(folder / f"{part}.parquet").drop(columns=meta.get("drop", []))
        label = frame[target]
        threat = label.astype(float) == 1.0 if positive is None else label.astype(str) == positive
        parts[part] = frame.assign(**{target: threat.astype(int)})
    shifted = bool(meta.get("shifted", True))
    roles = {"timestamp": meta.get("timestamp"), "group": meta.get("group")}
    return FieldSet(folder.name, shifted, parts["train"], parts["test"], target, **roles)


def nsl_kdd_folder() -> Path | None:
    """Returns the folder with NSL-KDD's Parquet files, if there is one."""
    beside = Path(__file__).parents[4] / "shared" / "data" / "nsl_kdd"
    folder = Path(os.environ.get("NSL_KDD", beside))
    return folder if (folder / "train.parquet").exists() else None


def _nsl_kdd(seed: int) -> FieldSet:
    folder = nsl_kdd_folder()
    if folder is None:
        raise SystemExit("NSL-KDD is not here; set NSL_KDD to the folder of its Parquet files.")
    parts = {}
    for part in ("train", "test"):
        frame = pd.read_parquet(folder / f"{part}.parquet")
        parts[part] = frame.drop(columns=["difficulty"], errors="ignore")
    group = "attack_class"
    return FieldSet("nsl_kdd", True, parts["train"], parts["test"], TARGET, None, group)


def _generated(name: str, seed: int, n_late: int = 0, ratio: float = 0.2) -> FieldSet:
    section = SyntheticSection(
        n_samples=14_000, random_state=seed, n_late_families=n_late, threat_ratio=ratio
    )
    frame = generate(section).drop(columns=BAYES)
    by_time = n_late > 0
    order = (
        np.arange(len(frame)) if by_time else np.random.default_rng(seed).permutation(len(frame))
    )
    cut = round(0.75 * len(frame))
    train, test = frame.iloc[np.sort(order[:cut])], frame.iloc[np.sort(order[cut:])]
    return FieldSet(name, by_time, train, test, TARGET, TIMESTAMP, GROUP)


def _same(seed: int) -> FieldSet:
    return _generated("generated, by chance", seed)


def _late(seed: int) -> FieldSet:
    return _generated("generated, new attacks later", seed, n_late=2)


def _drifting(seed: int) -> FieldSet:
    """Adds a slow drift to a third of the columns, as a changing network does."""
    base = _generated("generated, drifting columns", seed)
    rng = np.random.default_rng([seed, 1])
    whole = pd.concat([base.train, base.test]).sort_values(TIMESTAMP, ignore_index=True)
    columns = [c for c in whole if c.startswith("feature_")]
    share = np.linspace(0.0, 1.0, len(whole))
    for column in rng.choice(columns, len(columns) // 3, replace=False):
        spread = float(whole[column].std())
        whole[column] += rng.choice((-1.0, 1.0)) * 1.5 * spread * share
    cut = len(base.train)
    return FieldSet(**{**vars(base), "shifted": True, "train": whole[:cut], "test": whole[cut:]})


def _held_out_family(seed: int) -> FieldSet:
    """Leaves two attack families out of training; the test holds them and benign rows."""
    base = _generated("generated, unseen attack families", seed)
    whole = pd.concat([base.train, base.test], ignore_index=True)
    rng = np.random.default_rng([seed, 2])
    families = sorted(set(whole[GROUP]) - {"benign"})
    unseen = whole[GROUP].isin(rng.choice(families, 2, replace=False))
    benign_test = (whole[GROUP] == "benign") & (rng.random(len(whole)) < 0.25)
    test = unseen | benign_test
    return FieldSet(**{**vars(base), "shifted": True, "train": whole[~test], "test": whole[test]})


def _shipped(
    name: str, load: Callable[[], tuple[pd.DataFrame, npt.NDArray[np.int64]]]
) -> Callable[[int], FieldSet]:
    def make(seed: int) -> FieldSet:
        frame, y = load()
        whole = frame.assign(is_threat=y)
        order = np.random.default_rng(seed).permutation(len(whole))
        cut = round(0.7 * len(whole))
        train, test = whole.iloc[order[:cut]], whole.iloc[order[cut:]]
        return FieldSet(name, False, train, test, TARGET)

    return make


def _breast_cancer() -> tuple[pd.DataFrame, npt.NDArray[np.int64]]:
    from sklearn.datasets import load_breast_cancer

    found = load_breast_cancer(as_frame=True)
    return found.data, (found.target.to_numpy() == 0).astype(np.int64)


def _digits() -> tuple[pd.DataFrame, npt.NDArray[np.int64]]:
    from sklearn.datasets import load_digits

    found = load_digits(as_frame=True)
    return found.data, (found.target.to_numpy() == 8).astype(np.int64)


SETS: dict[str, Callable[[int], FieldSet]] = {
    "nsl_kdd": _nsl_kdd,
    "generated": _same,
    "late": _late,
    "drifting": _drifting,
    "unseen": _held_out_family,
    "breast_cancer": _shipped("breast cancer (scikit-learn)", _breast_cancer),
    "digits": _shipped("digit 8 (scikit-learn)", _digits),
}
