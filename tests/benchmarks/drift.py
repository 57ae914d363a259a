"""False alarms and power of ``watch`` beside PSI > 0.2, KS with Bonferroni and a classifier alone.

``python -m tests.benchmarks.drift alarms|power|performance WINDOWS PART >> lines.jsonl``, part 0,
1 ..., then ``python -m tests.benchmarks.drift table lines.jsonl``; results: ``drift.md``.

A *subject* is a table of its own, a model, and its reference; windows of one subject share the
reference, as a user's do, so that several subjects are needed to say how often it misleads.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import chi2_contingency, ks_2samp

from jamba_ray.config.data import SyntheticSection, TableSection
from jamba_ray.data import generate, prepare
from jamba_ray.data.reference import Reference, reference_of
from jamba_ray.evaluation.metrics import value_of
from jamba_ray.inference import Predictor, score_rows
from jamba_ray.watching.clock import of_times
from jamba_ray.watching.watched import Changes, changes_of, performance_of
from jamba_ray.watching.watched_model import WatchedModel
from jamba_ray.watching.window import Window, seen_in
from tests.exports.conftest import train

ALPHA = 0.05
N_TRAIN = 10_000
FEATURES = 10


@dataclass(frozen=True)
class Subject:
    """Holds a model with its reference, and rows that come later."""

    model: WatchedModel
    later: pd.DataFrame


def subject(seed: int, n_later: int) -> Subject:
    """Makes a table, and trains on its first rows."""
    section = SyntheticSection(
        n_samples=N_TRAIN + n_later,
        n_features=FEATURES,
        n_late_families=0,
        threat_ratio=0.2,
        smoothing=0.0,
        random_state=seed,
    )
    frame = generate(section).drop(columns=["bayes", "family"])
    rng = np.random.default_rng(seed)
    frame["proto"] = rng.choice(["tcp", "udp", "icmp", "gre"], len(frame), p=[0.6, 0.3, 0.09, 0.01])
    frame.loc[rng.random(len(frame)) < 0.05, "feature_03"] = np.nan
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "flows.parquet"
        frame[:N_TRAIN].to_parquet(path, index=False)
        data = prepare(
            TableSection(
                path=str(path),
                timestamp="timestamp",
                check_shift=False,
                split={"val": 0.3, "test": 0.1},
            )
        )
    snapshot = train({"name": "lightgbm", "n_estimators": 40}, data)
    predictor = Predictor(snapshot)
    scores = {"val": score_rows(predictor, data.val)}
    model = WatchedModel(predictor, reference_of(data, scores), f"subject-{seed}")
    return Subject(model, frame[N_TRAIN:].reset_index(drop=True))


def window_of(subject: Subject, frame: pd.DataFrame) -> Window:
    """Returns the rows as ``watch`` has them."""
    preprocessing = subject.model.predictor.preprocessing
    x_num, x_cat = preprocessing.transform(frame)
    score = subject.model.predictor.score_matrices(x_num, x_cat)
    label = frame["is_threat"].to_numpy(np.float32)
    time_of = frame["timestamp"].to_numpy().astype("M8[ns]")
    seen = seen_in(frame, preprocessing)
    return Window(x_num, x_cat, score, seen, (), label, time_of, None, None, None, "")


# --- what is held against it --------------------------------------------------------------------


def psi_over(window: Window, reference: Reference) -> bool:
    """Says whether the PSI of any column, or of the score, is above 0.2 (ten quantile bins of the
    reference)."""
    return any(_psi(w, r) > 0.2 for w, r in _numbers(window, reference)) or any(
        _psi_of(_shares(w, k), _shares(r, k)) > 0.2 for w, r, k in _codes(window, reference)
    )


def _psi(window: np.ndarray, reference: np.ndarray) -> float:
    edges = np.unique(np.quantile(reference, np.linspace(0.1, 0.9, 9)))
    both = (np.searchsorted(edges, one) for one in (window, reference))
    return _psi_of(*(_shares(one, len(edges) + 1) for one in both))


def _shares(bins: np.ndarray, k: int) -> np.ndarray:
    return np.bincount(bins, minlength=k) / len(bins)


def _psi_of(a: np.ndarray, b: np.ndarray) -> float:
    a, b = np.maximum(a, 1e-4), np.maximum(b, 1e-4)
    return float(((a - b) * np.log(a / b)).sum())


def ks_bonferroni(window: Window, reference: Reference) -> bool:
    """Says whether a Kolmogorov-Smirnov test of a column (chi-squared of names) refuses at 5 %,
    divided by the number of tests."""
    p = [ks_2samp(w, r).pvalue for w, r in _numbers(window, reference)]
    for w, r, k in _codes(window, reference):
        table = np.stack([np.bincount(one, minlength=k) for one in (w, r)])
        table = table[:, table.sum(axis=0) > 0]
        p.append(chi2_contingency(table).pvalue if table.shape[1] > 1 else 1.0)
    return min(p) <= ALPHA / len(p)


def _numbers(window: Window, reference: Reference) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    yield window.score, reference.score
    for j in range(reference.x_num.shape[1]):
        yield window.x_num[:, j], reference.x_num[:, j]


def _codes(window: Window, reference: Reference) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    for j, k in enumerate(reference.schema.cardinalities):
        yield window.x_cat[:, j], reference.x_cat[:, j], k


def anything(changes: Changes, window: Window) -> bool:
    """Says whether any change of values, gaps, names or times is found."""
    cells = any(
        share is not None and share.found
        for one in changes.columns
        for share in (one.missing, one.unseen)
    )
    now = pd.Timestamp("2027-01-01").timestamp()
    return changes.any_found or cells or bool(of_times(window.time, None, now, None, None))


METHODS = ("watch", "PSI > 0.2", "KS, Bonferroni", "classifier")


def verdicts(subject: Subject, window: Window) -> dict[str, int]:
    """Returns by method whether it finds anything; of the classifier alone one-sided at 5 %."""
    changes = changes_of(subject.model, window, ALPHA)
    reference = subject.model.reference
    return {
        "watch": int(anything(changes, window)),
        "PSI > 0.2": int(psi_over(window, reference)),
        "KS, Bonferroni": int(ks_bonferroni(window, reference)),
        "classifier": int(changes.rows is not None and changes.rows.p <= ALPHA),
    }


# --- what is done to windows --------------------------------------------------------------------


def covariate(frame: pd.DataFrame, much: float, rng: np.random.Generator) -> pd.DataFrame:
    """Draws rows so that one feature is higher by about ``much`` standard deviations."""
    z = (frame["feature_01"] - frame["feature_01"].mean()) / frame["feature_01"].std()
    weight = np.exp(much * z.clip(-3, 3))
    return frame.sample(len(frame) // 4, weights=weight, random_state=rng.integers(1 << 31))


def prior(frame: pd.DataFrame, much: float, rng: np.random.Generator) -> pd.DataFrame:
    """Leaves out the share ``much`` of the threats."""
    out = (frame["is_threat"] == 1) & (rng.random(len(frame)) < much)
    return frame[~out]


def concept(frame: pd.DataFrame, much: float, rng: np.random.Generator) -> pd.DataFrame:
    """Flips the share ``much`` of the labels: no feature changes."""
    flip = rng.random(len(frame)) < much
    return frame.assign(is_threat=np.where(flip, 1 - frame["is_threat"], frame["is_threat"]))


def missing(frame: pd.DataFrame, much: float, rng: np.random.Generator) -> pd.DataFrame:
    """Empties one column for a run of rows: the share ``much`` of the window."""
    n = round(much * len(frame))
    begin = int(rng.integers(0, len(frame) - n + 1))
    found = frame.reset_index(drop=True)
    found.loc[begin : begin + n - 1, "feature_02"] = np.nan
    return found


def unit(frame: pd.DataFrame, much: float, rng: np.random.Generator) -> pd.DataFrame:
    """Multiplies one column by 1,000 in the share ``much`` of the rows."""
    hit = rng.random(len(frame)) < much
    return frame.assign(feature_01=frame["feature_01"] * np.where(hit, 1000.0, 1.0))


def rename(frame: pd.DataFrame, much: float, rng: np.random.Generator) -> pd.DataFrame:
    """Renames the category ``udp`` in the share ``much`` of its rows."""
    hit = (frame["proto"] == "udp") & (rng.random(len(frame)) < much)
    return frame.assign(proto=frame["proto"].mask(hit, "UDP/17"))


def clock(frame: pd.DataFrame, much: float, rng: np.random.Generator) -> pd.DataFrame:
    """Sets the clocks of the share ``much`` of the rows ten years ahead."""
    hit = rng.random(len(frame)) < much
    ahead = frame["timestamp"] + pd.Timedelta(days=3650)
    return frame.assign(timestamp=frame["timestamp"].mask(hit, ahead))


SHIFTS: dict[str, tuple[Callable[..., pd.DataFrame], tuple[float, ...]]] = {
    "covariate (feature moved by so many sd)": (covariate, (0.05, 0.1, 0.2, 0.4)),
    "prior (share of the threats gone)": (prior, (0.1, 0.2, 0.4, 0.8)),
    "missing burst (share of the rows)": (missing, (0.002, 0.005, 0.02, 0.1)),
    "unit x1000 (share of the rows)": (unit, (0.002, 0.005, 0.02, 0.1)),
    "category renamed (share of its rows)": (rename, (0.01, 0.03, 0.1, 0.5)),
    "clock fault (share of the rows)": (clock, (0.001, 0.01, 0.1)),
    "concept (share of labels flipped)": (concept, (0.05, 0.15, 0.3)),
}


def drawn(subject: Subject, n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Draws a window of ``n`` later rows."""
    at = np.sort(rng.choice(len(subject.later), n, replace=False))
    return subject.later.iloc[at].reset_index(drop=True)


def alarms(windows: int, part: int) -> Iterator[dict[str, Any]]:
    """Yields what is found in windows in which nothing has changed, ten of a subject."""
    for seed in range(part * windows // 10, (part + 1) * windows // 10):
        one = subject(1000 + seed, 10 * 22_200)
        begin = 0
        for n in (200, 2_000, 20_000):
            for _ in range(10):
                some = one.later.iloc[begin : begin + n].reset_index(drop=True)
                begin += n
                yield {"case": f"{n:,} rows", **verdicts(one, window_of(one, some))}


def power(windows: int, part: int, n: int = 1_000) -> Iterator[dict[str, Any]]:
    """Yields what is found in windows in which something has changed."""
    subjects = [subject(seed, 20_000) for seed in range(part * 5, part * 5 + 5)]
    for name, (shift, sizes) in SHIFTS.items():
        for much in sizes:
            for i in range(part * windows, (part + 1) * windows):
                rng = np.random.default_rng([i, round(much * 1e4)])
                one = subjects[i % len(subjects)]
                some = drawn(one, 4 * n if shift is covariate else n, rng)
                window = window_of(one, shift(some, much, rng).sort_index())
                yield {"case": f"{name}: {much:g}", **verdicts(one, window)}


METRICS = ("average_precision", "roc_auc", "f1", "recall", "precision", "fpr")


def performance(windows: int, part: int, n: int = 3_000) -> Iterator[dict[str, Any]]:
    """Yields whether real metrics lie in the interval that is estimated without labels."""
    cases: dict[str, Callable[..., pd.DataFrame]] = {
        "none": lambda f, rng: f,
        "covariate 0.4 sd": lambda f, rng: covariate(f, 0.4, rng),
        "prior, 80 % of threats gone": lambda f, rng: prior(f, 0.8, rng),
        "concept, 15 % of labels flipped": lambda f, rng: concept(f, 0.15, rng),
    }
    subjects = [subject(seed, 30_000) for seed in range(part * 5, part * 5 + 5)]
    for case, change in cases.items():
        for i in range(part * windows, (part + 1) * windows):
            rng = np.random.default_rng([i, 7])
            one = subjects[i % len(subjects)]
            frame = change(drawn(one, 4 * n if "covariate" in case else n, rng), rng).sort_index()
            window = window_of(one, frame)
            changes = changes_of(one.model, window, ALPHA)
            found, regime = performance_of(one.model, window, 0.5, changes)
            y, p = frame["is_threat"].to_numpy() == 1, window.score
            flagged = p >= 0.5
            real = {
                **{k: value_of(k, y, p, 0.5) for k in METRICS[:3]},
                "recall": flagged[y].mean(),
                "precision": y[flagged].mean(),
                "fpr": flagged[~y].mean(),
            }
            held = {
                k: int(one["low"] <= real[k] <= one["high"])
                for k, one in found.metrics.items()
                if k in METRICS
            }
            yield {"case": case, "taken for": regime, **held}


def table(files: Sequence[str]) -> None:
    """Prints what the files of several parts say together."""
    rows = [json.loads(line) for name in files for line in Path(name).read_text().splitlines()]
    keys = list(dict.fromkeys(k for row in rows for k in row if k not in ("case", "taken for")))
    print(f"| | windows | {' | '.join(keys)} |")
    print(f"| --- | ---: |{' ---: |' * len(keys)}")
    for case in dict.fromkeys(row["case"] for row in rows):
        of_case = [row for row in rows if row["case"] == case]
        shares = [[row[k] for row in of_case if k in row] for k in keys]
        cells = " | ".join(f"{np.mean(one):.1%}" if one else "-" for one in shares)
        taken = Counter(row["taken for"] for row in of_case if "taken for" in row)
        words = f" ({', '.join(f'{k} {v}' for k, v in taken.items())})" if taken else ""
        print(f"| {case}{words} | {len(of_case)} | {cells} |")


if __name__ == "__main__":
    torch.set_num_threads(1)
    what, *rest = sys.argv[1:]
    if what == "table":
        table(rest)
        sys.exit()
    made = {"alarms": alarms, "power": power, "performance": performance}[what]
    for line in made(int(rest[0]), int(rest[1])):
        print(json.dumps(line), flush=True)
