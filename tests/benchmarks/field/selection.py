"""``python -m tests.benchmarks.field.selection``: which way to choose a model predicts the field.

One model is trained for each configuration, on rows that no view holds. Views are rows held out by
chance, the newest rows, groups (attack classes) that training never sees, and clusters of rows
("environments") that it never sees. Each rule makes one number of the average precision on the
views; it is judged by its rank correlation with the test and by its regret: what the test loses
because this rule chose, against the best configuration.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import rankdata, spearmanr
from sklearn.metrics import average_precision_score

from tests.benchmarks.field.peers import encoded, with_categories
from tests.benchmarks.field.sets import FieldSet, sets_of

VIEW_SHARE, CHANCE_SHARE = 0.1, 0.15
"""Shares of the training rows in each view, and in the one drawn by chance (as by default)."""
BACKGROUND = "benign", "normal"
Views = Mapping[str, npt.NDArray[np.int64]]


def main(argv: list[str] | None = None) -> int:
    """Trains what is missing and prints the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument(
        "--data", nargs="+", default=[], help="folders of data sets kept elsewhere"
    )
    options.add_argument("--sets", nargs="+", default=[])
    options.add_argument("--configurations", type=int, default=36)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--rows", type=int, default=8_000)
    options.add_argument("--out", type=Path, default=Path("selection.jsonl"))
    options.add_argument("--table", action="store_true", help="print what is there, train nothing")
    given = options.parse_args(argv)
    lines = given.out.read_text().splitlines() if given.out.exists() else []
    found = [json.loads(line) for line in lines]
    if not given.table:
        for seed in range(given.seeds):
            for whole in sets_of(given.data, given.sets, seed):
                if any(r["set"] == whole.name and r["seed"] == seed for r in found):
                    continue
                one = whole.drawn(seed, given.rows)
                rows = list(_trained(one, seed, given.configurations))
                found += rows
                with given.out.open("a") as file:
                    file.writelines(json.dumps(row) + "\n" for row in rows)
                print(one.name, seed, file=sys.stderr, flush=True)
    print(table(found))
    return 0


def views_of(one: FieldSet, seed: int) -> Views:
    """Returns view -> the rows of ``one.train`` that it holds; views do not share rows."""
    rng = np.random.default_rng([seed, 3])
    n = len(one.train)
    size = round(VIEW_SHARE * n)
    y = one.train[one.target].to_numpy()
    left = np.ones(n, dtype=bool)
    views: dict[str, npt.NDArray[np.int64]] = {}

    def take(name: str, rows: npt.NDArray[np.int64]) -> None:
        if len(rows) >= 20 and 5 <= y[rows].sum() <= len(rows) - 5:
            views[name] = rows
            left[rows] = False

    if one.timestamp is not None:
        order = np.argsort(one.train[one.timestamp].to_numpy(), kind="stable")
        take("newest", order[-size:])
    if one.group is not None:
        take("groups", _groups(one, y, left, size, rng))
    take("clusters", _cluster(one, left, size, seed))
    take("chance", rng.permutation(np.flatnonzero(left))[: round(CHANCE_SHARE * n)])
    return views


def _groups(
    one: FieldSet, y: npt.NDArray[Any], left: npt.NDArray[np.bool_], size: int, rng: Any
) -> npt.NDArray[np.int64]:
    group = one.train[one.group].astype(str).to_numpy()
    threats = sorted({g for g in set(group) if g not in BACKGROUND and y[group == g].sum() >= 5})
    held: list[int] = []
    for name in rng.permutation(threats)[: max(1, len(threats) // 3)]:
        held += np.flatnonzero((group == name) & left).tolist()
        if len(held) >= size // 2:
            break
    benign = np.flatnonzero((y == 0) & left)
    held += rng.permutation(benign)[: size // 2].tolist()
    return np.array(sorted(held), dtype=np.int64)


def _cluster(
    one: FieldSet, left: npt.NDArray[np.bool_], size: int, seed: int
) -> npt.NDArray[np.int64]:
    """Returns the rows of whole clusters (k-means on ranks), as many as come near ``size``."""
    from sklearn.cluster import KMeans

    numbers = one.train[one.features].select_dtypes("number").fillna(0.0)
    ranks = rankdata(numbers.to_numpy(), axis=0) / len(numbers)
    label = KMeans(10, n_init=1, random_state=seed).fit_predict(ranks)
    y = one.train[one.target].to_numpy()
    mixed = [k for k in range(10) if 0.02 < y[label == k].mean() < 0.98]
    held: list[int] = []
    for k in np.random.default_rng([seed, 4]).permutation(mixed or list(range(10))):
        held += np.flatnonzero((label == k) & left).tolist()
        if len(held) >= size:
            break
    return np.array(sorted(held), dtype=np.int64)


def _trained(one: FieldSet, seed: int, n: int) -> Iterator[dict[str, Any]]:
    views = views_of(one, seed)
    held = np.concatenate(list(views.values()))
    fit_rows = np.setdiff1d(np.arange(len(one.train)), held)
    frame, y = one.train[one.features], one.train[one.target].to_numpy()
    test_y = one.test[one.target].to_numpy()
    for name, make in configurations(seed, n):
        score = make(frame.iloc[fit_rows], y[fit_rows])
        values = {
            view: float(average_precision_score(y[rows], score(frame.iloc[rows])))
            for view, rows in views.items()
        }
        test = float(average_precision_score(test_y, score(one.test[one.features])))
        key = {"set": one.name, "shifted": one.shifted, "seed": seed, "configuration": name}
        yield {**key, "views": values, "test": test}


def configurations(
    seed: int, n: int
) -> list[tuple[str, Callable[[pd.DataFrame, npt.NDArray[Any]], Any]]]:
    """Returns ``n`` random configurations of six families, as a sweep would propose them."""
    rng = np.random.default_rng([seed, 5])
    families = [_lightgbm, _xgboost, _forest, _extra_trees, _logistic, _network]
    return [families[i % len(families)](rng, i) for i in range(n)]


def _log(rng: Any, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _lightgbm(rng: Any, i: int) -> Any:
    from lightgbm import LGBMClassifier

    settings = {
        "learning_rate": _log(rng, 0.02, 0.3),
        "num_leaves": int(_log(rng, 4, 128)),
        "n_estimators": int(_log(rng, 30, 400)),
        "min_child_samples": int(_log(rng, 2, 100)),
        "colsample_bytree": float(rng.uniform(0.4, 1.0)),
    }
    return f"lightgbm {i}", with_categories(
        lambda _: LGBMClassifier(n_jobs=1, verbose=-1, random_state=0, **settings)
    )


def _xgboost(rng: Any, i: int) -> Any:
    from xgboost import XGBClassifier

    settings = {
        "learning_rate": _log(rng, 0.02, 0.3),
        "max_depth": int(rng.integers(2, 10)),
        "n_estimators": int(_log(rng, 30, 300)),
        "subsample": float(rng.uniform(0.5, 1.0)),
    }
    return f"xgboost {i}", with_categories(
        lambda _: XGBClassifier(n_jobs=1, enable_categorical=True, random_state=0, **settings)
    )


def _pipeline(make: Callable[[], Any], one_hot: bool) -> Any:
    from sklearn.pipeline import make_pipeline

    def train(frame: pd.DataFrame, y: npt.NDArray[Any]) -> Any:
        model = make_pipeline(encoded(frame, one_hot), make()).fit(frame, y)
        return lambda rows: model.predict_proba(rows)[:, 1]

    return train


def _forest(rng: Any, i: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return f"forest {i}", _trees(RandomForestClassifier, rng, most_features=0.8)


def _extra_trees(rng: Any, i: int) -> Any:
    from sklearn.ensemble import ExtraTreesClassifier

    return f"extra trees {i}", _trees(ExtraTreesClassifier, rng, most_features=1.0)


def _trees(family: Callable[..., Any], rng: Any, most_features: float) -> Any:
    settings = {
        "min_samples_leaf": int(_log(rng, 1, 30)),
        "max_features": float(rng.uniform(0.1, most_features)),
        "n_estimators": 60,
    }
    return _pipeline(lambda: family(random_state=0, **settings), one_hot=False)


def _logistic(rng: Any, i: int) -> Any:
    from sklearn.linear_model import LogisticRegression

    strength = _log(rng, 1e-3, 100.0)
    return f"logistic {i}", _pipeline(
        lambda: LogisticRegression(C=strength, max_iter=500), one_hot=True
    )


def _network(rng: Any, i: int) -> Any:
    from sklearn.neural_network import MLPClassifier

    settings = {
        "hidden_layer_sizes": (int(_log(rng, 16, 128)),) * int(rng.integers(1, 3)),
        "alpha": _log(rng, 1e-5, 1.0),
        "learning_rate_init": _log(rng, 3e-4, 1e-2),
        "max_iter": int(_log(rng, 5, 40)),
    }
    return f"network {i}", _pipeline(
        lambda: MLPClassifier(random_state=0, **settings), one_hot=True
    )


def _ranks(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.rank(ascending=True) / len(rows)


RULES: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
    "chance": lambda v: v["chance"],
    "newest": lambda v: v["newest"],
    "groups": lambda v: v["groups"],
    "clusters": lambda v: v["clusters"],
    "mean of all": lambda v: v.mean(axis=1),
    "mean rank": lambda v: _ranks(v).mean(axis=1),
    "worst view": lambda v: v.min(axis=1),
    "worst rank": lambda v: _ranks(v).min(axis=1) + 1e-6 * _ranks(v).mean(axis=1),
    "mean - spread": lambda v: v.mean(axis=1) - v.std(axis=1),
}
"""Rule -> what it makes of the views [configurations, views]; more is better."""


def table(found: Sequence[Mapping[str, Any]]) -> str:
    """Returns Markdown: a rule a line, Spearman and regret on shifted and on other sets."""
    results: dict[str, list[dict[str, Any]]] = {}
    for key in dict.fromkeys((row["set"], row["seed"]) for row in found):
        of_set = [row for row in found if (row["set"], row["seed"]) == key]
        views = pd.DataFrame([row["views"] for row in of_set])
        test = pd.Series([row["test"] for row in of_set])
        for name, rule in RULES.items():
            if name in {"newest", "groups", "clusters", "chance"} and name not in views:
                continue
            value = rule(views)
            results.setdefault(name, []).append(
                {
                    "set": key[0],
                    "shifted": of_set[0]["shifted"],
                    "spearman": float(spearmanr(value, test).statistic),
                    "regret": float(test.max() - test[value.idxmax()]),
                }
            )
    return "\n".join([_summary(results), "", _by_set(results)])


def _summary(results: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    lines = [
        "| rule | sets and seeds | Spearman, shifted | regret, shifted | Spearman, by chance | "
        "regret, by chance | regret beside `chance` (95 %) |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    base = {i: row["regret"] for i, row in enumerate(results.get("chance", []))}
    for name, rows in results.items():
        parts = [f"| {name} | {len(rows)} |"]
        for shifted in (True, False):
            some = [row for row in rows if row["shifted"] is shifted]
            if some:
                rho = np.mean([row["spearman"] for row in some])
                regret = np.mean([row["regret"] for row in some])
                parts.append(f" {rho:.2f} | {regret:.4f} |")
            else:
                parts.append(" | |")
        same = len(rows) == len(base)
        parts.append(f" {_paired(rows, base) if same else 'on fewer sets'} |")
        lines.append("".join(parts))
    return "\n".join(lines)


def _paired(rows: Sequence[Mapping[str, Any]], base: Mapping[int, float]) -> str:
    gap = np.array([row["regret"] - base[i] for i, row in enumerate(rows)])
    rng = np.random.default_rng(0)
    means = gap[rng.integers(0, len(gap), (2000, len(gap)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return f"{gap.mean():+.4f} [{low:+.4f}, {high:+.4f}]"


def _by_set(results: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    names = list(dict.fromkeys(row["set"] for rows in results.values() for row in rows))
    lines = ["| regret on | " + " | ".join(results) + " |", "| --- |" + " ---: |" * len(results)]
    for name in names:
        cells = []
        for rows in results.values():
            some = [row["regret"] for row in rows if row["set"] == name]
            cells.append(f"{np.mean(some):.4f}" if some else "")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
