"""Times explanations and measures the error of sampling: ``python -m tests.benchmarks.explain``."""

from __future__ import annotations

import time

import numpy as np
import torch

from jamba_ray.config.data import SyntheticSection
from jamba_ray.config.run import TrialConfig
from jamba_ray.data import prepare
from jamba_ray.inference import Predictor
from jamba_ray.inference.importance import feature_importance
from jamba_ray.training import Member, fit

_EXPLAINED, _COMPARED, _REFERENCE_PAIRS = 200, 30, 256


def main() -> None:
    """Prints rows/s, the sum's error and the error of fewer orders for every family."""
    torch.set_num_threads(1)
    data = prepare(SyntheticSection())
    for model in ("lightgbm", "mlp", "attention"):
        config = TrialConfig.model_validate({"model": {"name": model}, "training": {"epochs": 1}})
        (outcome,) = fit([Member(0, config)], data, lambda reports: ["continue"] * len(reports))
        assert outcome.checkpoint is not None
        predictor = Predictor(outcome.checkpoint)
        begun = time.perf_counter()
        predictor.score_rows(data.val)
        scored = len(data.val) / (time.perf_counter() - begun)
        rows = data.val.x_num[:_EXPLAINED], data.val.x_cat[:_EXPLAINED]
        begun = time.perf_counter()
        predictor.contributions_of(*rows)
        explained = _EXPLAINED / (time.perf_counter() - begun)
        begun = time.perf_counter()
        feature_importance(predictor, data.tests["test"], predictor.threshold)
        seconds = time.perf_counter() - begun
        print(f"{model}: {scored:.0f} scored/s, {explained:.0f} explained/s, {seconds:.1f} s")
        if model == "lightgbm":
            continue
        few = rows[0][:_COMPARED], rows[1][:_COMPARED]
        true = predictor.contributions_of(*few, pairs=_REFERENCE_PAIRS)
        size = np.abs(true.values).max(axis=1).mean()
        for pairs in (2, 8, 32):
            found = predictor.contributions_of(*few, pairs=pairs)
            error = np.sqrt(np.mean((found.values - true.values) ** 2))
            same = np.mean(found.strongest(1) == true.strongest(1))
            print(
                f"  {pairs} pairs: error {error / size:.3f} of the largest, same first {same:.2f}"
            )


if __name__ == "__main__":
    main()
