"""``python -m tests.benchmarks.field.networks``: what networks reach with their defaults, in pairs.

Each configuration (``tabm``, or with settings ``mlp:embedding=periodic,token_dim=8``) is trained on
the same rows by one thread, in turn, so that neighbours on the machine disturb all alike.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from jamba_ray.config.data import TableSection
from jamba_ray.config.run import TrialConfig
from jamba_ray.data import PreparedData, prepare
from jamba_ray.evaluation import value_of
from jamba_ray.inference import score_rows
from jamba_ray.training import Member, fit
from tests.benchmarks.field.sets import FieldSet, sets_of

MODELS = ["mlp", "mlp:embedding=periodic", "mlp:embedding=linear", "attention", "tabm", "lightgbm"]
SETS = ["generated", "late", "breast_cancer", "digits", "nsl_kdd"]


def main(argv: list[str] | None = None) -> int:
    """Trains what is missing and prints the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument(
        "--data", nargs="+", default=[], help="folders of data sets kept elsewhere"
    )
    options.add_argument("--sets", nargs="+", default=SETS)
    options.add_argument("--models", nargs="+", default=MODELS)
    options.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    options.add_argument("--rows", type=int, default=5_000)
    options.add_argument("--out", type=Path, default=Path("networks.jsonl"))
    options.add_argument("--table", action="store_true", help="print what is there, train nothing")
    given = options.parse_args(argv)
    torch.set_num_threads(1)
    rows = (
        [json.loads(line) for line in given.out.read_text().splitlines()]
        if (given.out.exists())
        else []
    )
    for seed in [] if given.table else given.seeds:
        for whole in sets_of(given.data, given.sets, seed):
            keys = [{"set": whole.name, "seed": seed, "model": model} for model in given.models]
            missing = [key for key in keys if not any(key.items() <= row.items() for row in rows)]
            data = prepared(whole.drawn(seed, given.rows)) if missing else None
            for key in missing:
                rows.append({**key, **_measured(data, key["model"], seed)})
                with given.out.open("a") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
                print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    print(table(rows))
    return 0


def prepared(one: FieldSet) -> PreparedData:
    """Returns the rows as a sweep sees them, without their time and group."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("train", "test"):
            frame = getattr(one, part)
            frame[[*one.features, one.target]].to_parquet(folder / f"{part}.parquet", index=False)
        paths = [str(folder / f"{part}.parquet") for part in ("train", "test")]
        return prepare(TableSection(path=paths[0], test=paths[1], target=one.target))


def _measured(data: PreparedData, model: str, seed: int) -> dict[str, Any]:
    name, _, words = model.partition(":")
    tree: dict[str, Any] = {"model": {"name": name}, "seed": seed}
    for word in filter(None, words.split(",")):
        path, _, value = word.partition("=")
        section, _, field = path.rpartition(".")
        tree.setdefault(section or "model", {})[field] = yaml.safe_load(value)
    begun = time.process_time()
    keep_on = lambda reports: ["continue"] * len(reports)  # noqa: E731
    (outcome,) = fit([Member(0, TrialConfig.model_validate(tree))], data, keep_on)
    used = time.process_time() - begun
    rows = data.tests["test"]
    p = score_rows(outcome.checkpoint, rows)
    return {
        "val": outcome.value,
        "test": value_of("average_precision", rows.y, p),
        "cpu_s": round(used, 1),
        "epochs": round(outcome.epochs, 1),
    }


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns a Markdown table: mean test average precision a set, and the paired difference to
    the first configuration."""
    sets = list(dict.fromkeys(row["set"] for row in rows))
    models = list(dict.fromkeys(row["model"] for row in rows))
    value = {(r["set"], r["seed"], r["model"]): r for r in rows}
    text = ["| model | " + " | ".join(sets) + " | beside the first (95 %) | CPU beside the first |"]
    text += ["| --- |" + " ---: |" * (len(sets) + 2)]
    for model in models:
        own = {key[:2]: r for key, r in value.items() if key[2] == model}
        cells = []
        for name in sets:
            found = [r["test"] for key, r in own.items() if key[0] == name]
            cells.append(f"{np.mean(found):.4f} ({len(found)})" if found else "")
        pairs = [
            (r, value[(*key, models[0])]) for key, r in own.items() if (*key, models[0]) in value
        ]
        gaps = np.array([a["test"] - b["test"] for a, b in pairs])
        drawn = np.random.default_rng(0).choice(gaps, (2000, len(gaps))).mean(axis=1)
        low, high = np.quantile(drawn, [0.025, 0.975])
        cost = np.sum([a["cpu_s"] for a, _ in pairs]) / max(1e-9, sum(b["cpu_s"] for _, b in pairs))
        cells += [f"{gaps.mean():+.4f} [{low:+.4f}, {high:+.4f}]", f"{cost:.1f}"]
        text.append(f"| {model} | " + " | ".join(cells) + " |")
    return "\n".join(text)


if __name__ == "__main__":
    raise SystemExit(main())
