"""``python -m tests.benchmarks.imbalance``: what helps networks where threats are very rare.

Each setting trains one ``mlp`` on the same generated rows, all of a seed as one stack, so that a
busy machine disturbs them alike. ``bias`` is the mean score beside the share of threats: 1 is
calibrated in the large, and calibration errors hardly tell where nearly all rows are benign.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jamba_ray.config.data import SyntheticSection
from jamba_ray.config.run import TrialConfig
from jamba_ray.data import PreparedData, prepare
from jamba_ray.evaluation import value_of
from jamba_ray.inference import score_rows
from jamba_ray.training import Member, fit

ROWS = {1_000: 200_000, 10_000: 800_000}
"""Benign rows for each threat -> rows made; 30 % train, 20 % validate, 50 % test."""
SETTINGS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "class weights (balanced)": {"threat_weight": "balanced"},
    "class weights (10)": {"threat_weight": 10.0},
    "focal loss (2)": {"focal_gamma": 2.0},
    "logit adjustment (1)": {"logit_adjustment": 1.0},
    "threat_share=0.5": {"threat_share": 0.5},
    "threat_share=0.1": {"threat_share": 0.1},
    "threat_share=0.02": {"threat_share": 0.02},
}


def main(argv: list[str] | None = None) -> int:
    """Trains what is missing and prints the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--ratios", nargs="+", type=int, default=list(ROWS))
    options.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    options.add_argument("--out", type=Path, default=Path("imbalance.jsonl"))
    options.add_argument("--table", action="store_true", help="print what is there, train nothing")
    given = options.parse_args(argv)
    torch.set_num_threads(1)
    lines = given.out.read_text().splitlines() if given.out.exists() else []
    rows = [json.loads(line) for line in lines]
    for ratio in [] if given.table else given.ratios:
        for seed in given.seeds:
            if any(row["ratio"] == ratio and row["seed"] == seed for row in rows):
                continue
            found = _measured(_data(ratio, seed), ratio, seed)
            rows += found
            with given.out.open("a") as file:
                file.writelines(json.dumps(row) + "\n" for row in found)
            print(ratio, seed, file=sys.stderr, flush=True)
    print(table(rows))
    return 0


def _data(ratio: int, seed: int) -> PreparedData:
    return prepare(
        SyntheticSection(
            n_samples=ROWS[ratio],
            threat_ratio=1.0 / ratio,
            random_state=seed,
            n_features=8,
            n_families=2,
            n_late_families=0,
            noise=0.3,
            check_shift=False,
            split={"kind": "random", "val": 0.2, "test": 0.5},
        )
    )


def _measured(data: PreparedData, ratio: int, seed: int) -> list[dict[str, Any]]:
    trees = [
        {"model": {"name": "mlp", "hidden_dim": 64}, "seed": seed, "training": training}
        for training in SETTINGS.values()
    ]
    members = [Member(i, TrialConfig.model_validate(tree)) for i, tree in enumerate(trees)]
    outcomes = fit(members, data, lambda reports: ["continue"] * len(reports))
    test = data.tests["test"]
    found = []
    for name, outcome in zip(SETTINGS, outcomes, strict=True):
        p = score_rows(outcome.checkpoint, test)
        metrics = {m: value_of(m, test.y, p) for m in ("average_precision", "roc_auc", "ece")}
        key = {"ratio": ratio, "seed": seed, "setting": name, "epochs": round(outcome.epochs, 1)}
        found.append({**key, **metrics, "bias": float(p.mean() / test.y.mean())})
    assert test.bayes is not None
    limit = value_of("average_precision", test.y, test.bayes)
    n_threats = int(data.train.y.sum())
    return [{**row, "limit": limit, "threats": n_threats} for row in found]


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns a Markdown table a ratio: means over seeds, each seed's value in brackets."""
    text = []
    for ratio in dict.fromkeys(row["ratio"] for row in rows):
        of_ratio = [row for row in rows if row["ratio"] == ratio]
        first = [row for row in of_ratio if row["setting"] == "nothing"]
        threats, limits = ([row[k] for row in first] for k in ("threats", "limit"))
        text += [
            f"1 threat in {ratio:,} ({', '.join(map(str, threats))} threats in training; no model "
            f"can pass {', '.join(f'{limit:.2f}' for limit in limits)}):",
            "",
            "| setting | AP | ROC AUC | ECE | bias | epochs |",
            "| --- | --- | ---: | ---: | ---: | ---: |",
        ]
        for name in dict.fromkeys(row["setting"] for row in of_ratio):
            own = [row for row in of_ratio if row["setting"] == name]
            values = [row["average_precision"] for row in own]
            means = {k: np.mean([r[k] for r in own]) for k in ("roc_auc", "ece", "bias", "epochs")}
            each = ", ".join(f"{value:.3f}" for value in values)
            text.append(
                f"| {name} | {np.mean(values):.3f} ({each}) | {means['roc_auc']:.3f} | "
                f"{means['ece']:.5f} | {means['bias']:.2f} | {means['epochs']:.1f} |"
            )
        text.append("")
    return "\n".join(text)


if __name__ == "__main__":
    raise SystemExit(main())
