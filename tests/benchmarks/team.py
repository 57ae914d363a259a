"""Measures what a team gains over the best single trial on test rows.

``python -m tests.benchmarks.team [nsl_kdd=FOLDER] [seeds=3]`` prints a table; see ``team.md``. A
pool of configurations of several families is trained without Ray, and the team is sought among them
by the code of a sweep; beside it the other ways to combine scores.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit
from scipy.stats import rankdata

from jamba_ray.checkpoints import CheckpointStore
from jamba_ray.config.ensemble import EnsembleSection
from jamba_ray.config.run import SweepConfig, TrialConfig
from jamba_ray.data import prepare
from jamba_ray.data.prepared import PreparedData
from jamba_ray.driver.team import seek_team
from jamba_ray.evaluation.greedy import greedy
from jamba_ray.evaluation.metrics import value_of
from jamba_ray.inference import Predictor
from jamba_ray.study.records import TrialRecord
from jamba_ray.training import Member, fit

OBJECTIVE = "average_precision"
POOL: list[dict[str, Any]] = [
    {"name": "lightgbm"},
    {"name": "lightgbm", "num_leaves": 15, "learning_rate": 0.05, "n_estimators": 200},
    {"name": "lightgbm", "num_leaves": 63, "subsample": 0.7, "colsample_bytree": 0.6},
    {"name": "mlp"},
    {"name": "mlp", "hidden_dim": 128, "dropout_rate": 0.2},
    {"name": "mlp", "hidden_dim": 32, "dropout_rate": 0.0},
    {"name": "attention", "hidden_dim": 16, "n_heads": 2, "n_blocks": 1},
]
MOST_TRAIN = 20_000


def main(arguments: list[str]) -> None:
    given = dict(argument.split("=", 1) for argument in arguments)
    print("| data | seed | single | team | gain | used | members | mean p | mean rank | s |")
    print("| --- " * 10 + "|")
    for seed in range(int(given.get("seeds", 3))):
        with tempfile.TemporaryDirectory() as scratch:
            for name, section in _data(Path(scratch), seed, given.get("nsl_kdd")).items():
                print(_row(name, seed, section, Path(scratch)), flush=True)


def _data(folder: Path, seed: int, nsl_kdd: str | None) -> dict[str, dict[str, Any]]:
    from sklearn.datasets import load_breast_cancer

    cancer = load_breast_cancer(as_frame=True).frame.rename(columns={"target": "is_threat"})
    cancer.to_parquet(folder / "cancer.parquet", index=False)
    split = {"seed": seed}
    found: dict[str, dict[str, Any]] = {
        "breast cancer": {
            "name": "table",
            "path": str(folder / "cancer.parquet"),
            "target": "is_threat",
            "split": {**split, "test": 0.3},
        },
        "synthetic": {"name": "synthetic", "n_samples": 12_000, "random_state": seed},
    }
    if nsl_kdd is not None:
        train = pd.read_parquet(Path(nsl_kdd) / "train.parquet").sample(
            MOST_TRAIN, random_state=seed
        )
        train.to_parquet(folder / "nsl.parquet", index=False)
        found["NSL-KDD"] = {
            **_nsl(train),
            "path": str(folder / "nsl.parquet"),
            "test": str(Path(nsl_kdd) / "test.parquet"),
            "split": split,
        }
    return found


def _nsl(train: pd.DataFrame) -> dict[str, Any]:
    import yaml

    shipped = yaml.safe_load(Path("conf/data/nsl_kdd.yaml").read_text())
    return {
        k: v for k, v in shipped.items() if k not in ("defaults", "path", "test", "extra_tests")
    }


def _row(name: str, seed: int, section: dict[str, Any], folder: Path) -> str:
    base = {"training": {"epochs": 12 if name != "breast cancer" else 60}, "seed": 100 * seed}
    config = SweepConfig.model_validate({**base, "model": POOL[0], "data": section})
    data = prepare(config.data, lambda words: None)
    root = folder / f"store-{name.replace(' ', '-')}-{seed}"
    store = CheckpointStore(root)
    begun = time.monotonic()
    trials = [_trained(i, one, base, data, store) for i, one in enumerate(POOL)]
    trained_s = time.monotonic() - begun
    winner = max(trials, key=lambda t: t.value or 0.0)
    begun = time.monotonic()
    sought = seek_team(EnsembleSection(), data, store, winner, trials, OBJECTIVE)
    took_s = time.monotonic() - begun
    assert sought.summary is not None
    test = data.tests["test"]
    ordered = [winner, *(t for t in trials if t is not winner)]
    models = [Predictor(store.load(t.checkpoint or "")) for t in ordered]
    val, tests = (np.stack([m.log_odds(r) for m in models]) for r in (data.val, test))
    labels = data.val.y == 1.0
    weights = greedy(labels, val, OBJECTIVE, 8)
    single = value_of(OBJECTIVE, test.y, expit(tests[0]))
    team = value_of(OBJECTIVE, test.y, expit(weights @ tests))
    by_p = _combined(labels, expit(val), expit(tests), test.y)
    ranks = [np.stack([rankdata(row) / len(row) for row in part]) for part in (val, tests)]
    by_rank = _combined(labels, *ranks, test.y)
    gain = sought.summary["gain"]
    told = (
        "none"
        if gain is None
        else f"{gain['value']:+.4f} [{gain['low']:+.4f}, {gain['high']:+.4f}]"
    )
    return (
        f"| {name} | {seed} | {single:.4f} | {team:.4f} | {told} | "
        f"{'yes' if sought.summary['used'] else 'no'} | {len(sought.summary['members'])} | "
        f"{by_p - single:+.4f} | {by_rank - single:+.4f} | {took_s:.1f} of {trained_s:.0f} |"
    )


def _combined(labels: Any, val: Any, tests: Any, y: Any) -> float:
    """Returns the test value of a greedy team that averages other scores in [0, 1]."""
    from jamba_ray.evaluation import greedy as module

    def same(scores: Any) -> Any:
        return np.clip(scores, 0.0, 1.0)

    kept, module.expit = module.expit, same  # type: ignore[attr-defined]
    try:
        weights = greedy(labels, val, OBJECTIVE, 8)
    finally:
        module.expit = kept  # type: ignore[attr-defined]
    return value_of(OBJECTIVE, y, np.clip(weights @ tests, 0.0, 1.0))


def _trained(
    number: int,
    model: dict[str, Any],
    base: dict[str, Any],
    data: PreparedData,
    store: CheckpointStore,
) -> TrialRecord:
    config = TrialConfig.model_validate({**base, "model": model})
    config = config.model_copy(update={"seed": base["seed"] + number})
    (outcome,) = fit([Member(number, config)], data, lambda reports: ["continue"] * len(reports))
    assert outcome.checkpoint is not None
    path = store.save(number, outcome.best_step, outcome.checkpoint, "best")
    return TrialRecord(
        number=number,
        state="complete",
        params={"model.name": model["name"]},
        value=outcome.value,
        metrics={},
        best_step=outcome.best_step,
        rows_seen=0,
        epochs=0.0,
        seconds=0.0,
        goodput_s=0.0,
        reason=None,
        checkpoint=path,
        curve=(),
    )


if __name__ == "__main__":
    main(sys.argv[1:])
