"""Measures the costs of trials in a runner: of a network before its first report, of any at its
end."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from jamba_ray.checkpoints import Snapshot
from jamba_ray.config.family import trains_alone
from jamba_ray.config.run import TrialConfig
from jamba_ray.config.search import COSTS, key_of
from jamba_ray.data.prepared import PreparedData
from jamba_ray.inference.latency import costs, latency_ms
from jamba_ray.models import build


class TrialCosts:
    """Measures each trial once; measures nothing unless ``wanted``."""

    def __init__(self, data: PreparedData, *, wanted: bool) -> None:
        self._data, self._wanted = data, wanted
        self._configs: dict[int, TrialConfig] = {}
        self._early: dict[int, Mapping[str, float]] = {}

    def expect(self, trial: int, config: TrialConfig) -> None:
        """Notes the configuration of a trial that is to be trained."""
        self._configs[trial] = config

    def further(self, trial: int, metrics: Mapping[str, float]) -> tuple[float | None, ...]:
        """Returns the objectives after the first at a report; None: not known before the end."""
        config = self._configs.get(trial)
        if config is None or not config.further:
            return ()
        if trial not in self._early:
            is_cost = {*config.further} & {*COSTS}
            self._early[trial] = self._of_structure(config) if is_cost else {}
        known = {**metrics, **self._early[trial]}
        return tuple(known.get(key_of(name)) for name in config.further)

    def final(self, snapshot: Snapshot | None) -> dict[str, float]:
        """Returns the costs of a trained model."""
        return costs(snapshot, self._data.val) if self._wanted and snapshot is not None else {}

    def _of_structure(self, config: TrialConfig) -> dict[str, float]:
        """Returns the costs of a network of this structure, whose weights do not matter."""
        if trains_alone(config.model.name):
            return {}
        module = build(config.model, self._data.schema, seed=0).eval()
        rows = self._data.val
        numbers, codes = torch.from_numpy(rows.x_num[:1]), torch.from_numpy(rows.x_cat[:1])
        with torch.inference_mode():
            latency = latency_ms(lambda: module(numbers, codes))
        tensors = [*module.parameters(), *module.buffers()]
        size = sum(t.numel() * t.element_size() for t in tensors)
        return {"latency_ms": latency, "model_size_mb": size / 1e6}
