"""Rows, configurations and reporters made by hand; a trial of them takes a tenth of a second."""

from __future__ import annotations

import numpy as np

from jamba_ray.config.run import TrialConfig
from jamba_ray.data.prepared import FeatureSchema, PreparedData, Rows
from jamba_ray.training import Member


def make_rows(n: int, seed: int, n_numeric: int = 4) -> Rows:
    generator = np.random.default_rng(seed)
    x_num = generator.standard_normal((n, n_numeric)).astype(np.float32)
    x_cat = generator.integers(0, 3, size=(n, 2)).astype(np.int64)
    logit = 2.0 * x_num[:, 0] * x_num[:, 1] + x_num[:, 2] + (x_cat[:, 0] - 1.0) - 0.5
    y = (generator.random(n) < 1.0 / (1.0 + np.exp(-logit))).astype(np.float32)
    return Rows(x_num=x_num, x_cat=x_cat, y=y)


def make_data(n_train: int = 600, n_val: int = 300) -> PreparedData:
    edges = tuple(float(e) for e in np.linspace(-2.0, 2.0, 9))
    schema = FeatureSchema(
        numeric=("a", "b", "c", "d"),
        categorical=("u", "v"),
        cardinalities=(3, 3),
        bin_edges=(edges,) * 4,
    )
    return PreparedData(
        schema=schema,
        preprocessing={"made": "by hand"},
        train=make_rows(n_train, 1),
        val=make_rows(n_val, 2),
        fingerprint=f"{n_train:08x}{n_val:08x}",
    )


def make_config(model: dict | None = None, **fields) -> TrialConfig:
    small = {"name": "mlp", "hidden_dim": 16, "token_dim": 4}
    tree = {"model": model if model and "name" in model else {**small, **(model or {})}}
    top = {k: fields.pop(k) for k in ("seed", "precision", "objective", "compile") if k in fields}
    tree["training"] = {"batch_size": 64, "epochs": 3, "report_rows": 500, **fields}
    return TrialConfig.model_validate({**tree, **top})


def member(trial: int, model: dict | None = None, **fields) -> Member:
    return Member(trial=trial, config=make_config(model, **{"seed": trial, **fields}))


class Recorder:
    """A reporter that keeps all reports and answers by a rule (default: always continue)."""

    def __init__(self, rule=None) -> None:
        self.reports = []
        self.rule = rule or (lambda report: "continue")

    def __call__(self, reports):
        self.reports.extend(reports)
        return [self.rule(report) for report in reports]

    def of(self, trial: int):
        return [r for r in self.reports if r.trial == trial]

    def curve(self, trial: int, key: str = "train/loss"):
        return np.array([r.metrics[key] for r in self.of(trial)])
