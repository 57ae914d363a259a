"""Time of one engine step against a plain eager PyTorch loop of the same model, on one CPU thread.

    python -m tests.training.step_time

Both train the same number of batches, turn about; the best of several turns counts, because other
work on the machine only ever adds time.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch

from jamba_ray.config.run import TrialConfig
from jamba_ray.data.prepared import FeatureSchema, PreparedData, Rows
from jamba_ray.models import build
from jamba_ray.training import Decision, Member, Report, fit

CASES = {
    "attention, hidden 32, batch 256": ({"name": "attention"}, 256, 24),
    "mlp, hidden 256, batch 256": ({"name": "mlp"}, 256, 60),
    "mlp, hidden 32, batch 32": ({"name": "mlp", "hidden_dim": 32, "token_dim": 4}, 32, 300),
}
TURNS = 5


def rows(n: int, n_features: int, seed: int) -> Rows:
    x = np.random.default_rng(seed).standard_normal((n, n_features)).astype(np.float32)
    y = (x[:, 0] * x[:, 1] > 0).astype(np.float32)
    return Rows(x_num=x, x_cat=np.zeros((n, 0), np.int64), y=y)


def made(n: int, n_features: int = 20) -> PreparedData:
    names = tuple(f"f{i}" for i in range(n_features))
    edges = tuple(float(e) for e in np.linspace(-2.0, 2.0, 49))
    schema = FeatureSchema(names, (), (), (edges,) * n_features)
    return PreparedData(schema, {}, rows(n, n_features, 0), rows(200, n_features, 1), "made")


def plain(config: TrialConfig, data: PreparedData, n_batches: int) -> float:
    """Seconds a step of what a user would write."""
    module = build(config.model, data.schema, seed=0).train()
    size = config.training.batch_size
    optimizer = torch.optim.AdamW(module.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_batches)
    loss_of = torch.nn.BCEWithLogitsLoss()
    x_num, x_cat, y = (
        torch.from_numpy(a) for a in (data.train.x_num, data.train.x_cat, data.train.y)
    )
    order = torch.randperm(len(y))
    begun = time.perf_counter()
    for i in range(n_batches):
        index = order[i * size : (i + 1) * size]
        loss = loss_of(module(x_num[index], x_cat[index]), y[index])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return (time.perf_counter() - begun) / n_batches


def engine(config: TrialConfig, data: PreparedData, n_batches: int, size: int) -> float:
    """Seconds a step and member, all in: order, gather, rates, one validation of 200 rows."""
    members = [Member(t, config.model_copy(update={"seed": t})) for t in range(size)]
    seconds: list[float] = []

    def report(reports: Sequence[Report]) -> list[Decision]:
        seconds.append(reports[0].seconds)
        return ["continue"] * len(reports)

    fit(members, data, report)
    return seconds[-1] / n_batches / size


def main() -> None:
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, 1 thread; ms a step and member, best of {TURNS} turns")
    for name, (model, batch, n_batches) in CASES.items():
        training = {"batch_size": batch, "epochs": 1.0, "report_rows": batch * n_batches}
        config = TrialConfig.model_validate({"model": model, "training": training})
        data = made(batch * n_batches)
        times: dict[str, list[float]] = {}
        for _ in range(TURNS):
            times.setdefault("plain", []).append(plain(config, data, n_batches))
            for size in (1, 4, 16):
                if size * batch <= 1024:
                    seconds = engine(config, data, n_batches, size)
                    times.setdefault(f"K={size}", []).append(seconds)
        best = {key: min(values) * 1e3 for key, values in times.items()}
        shown = (f"{k} {ms:.3f} ({best['plain'] / ms:.2f}x)" for k, ms in best.items())
        print(f"{name}: {', '.join(shown)}", flush=True)


if __name__ == "__main__":
    main()
