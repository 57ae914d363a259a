"""Holds the tensors that members own, row k of each member k, and grows and shrinks them
together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jamba_ray.data.prepared import PreparedData
from jamba_ray.models import begin_at, build
from jamba_ray.training.global_norm import with_global_batch_norm
from jamba_ray.training.loss import Criterion, log_odds_of
from jamba_ray.training.member import Member
from jamba_ray.training.optimizer import StackedAdamW
from jamba_ray.training.precision import Format, LossScaler
from jamba_ray.training.ranks import Ranks
from jamba_ray.training.row_order import Order
from jamba_ray.training.stack import Stack


@dataclass(frozen=True)
class MemberTensors:
    """Holds weights, moments, data order, loss weights and loss scales of K members."""

    stack: Stack
    optimizer: StackedAdamW
    order: Order
    criterion: Criterion
    scaler: LossScaler | None
    """In float16 only."""

    @classmethod
    def of(
        cls,
        members: Sequence[Member],
        data: PreparedData,
        number_format: Format,
        device: str,
        ranks: Ranks,
        index_device: str,
    ) -> MemberTensors:
        """Makes the tensors of members that begin; their data order is kept on ``index_device``.

        Weights are made on the CPU from the member's seed alone: equal on every device.
        """
        configs = [member.config for member in members]
        modules = [build(c.model, data.schema, seed=c.seed) for c in configs]
        threat_share = float(data.train.y.mean(dtype=np.float64))
        for config, module in zip(configs, modules, strict=True):
            if config.training.threat_share is not None:
                begin_at(module, log_odds_of(threat_share))
        if ranks.size > 1:
            modules = [with_global_batch_norm(module, ranks) for module in modules]
        stack = Stack(modules, device)
        layout, size = stack.layout, len(members)
        seeds, shares = zip(*((c.seed, c.training.threat_share) for c in configs), strict=True)
        return cls(
            stack,
            StackedAdamW(size, layout.n_parameters, layout.n_decayed, device),
            Order(seeds, len(data.train), device, index_device, shares, data.train.y),
            Criterion([config.training for config in configs], threat_share, device),
            LossScaler(size, device) if number_format.name == "fp16" else None,
        )

    def keep(self, members: Sequence[int]) -> None:
        """Drops all members but these, in place."""
        self.stack.keep(members)
        self.optimizer.keep(members)
        self.order.keep(members)
        self.criterion.keep(members)
        if self.scaler is not None:
            self.scaler.keep(members)

    def append(self, other: MemberTensors) -> None:
        """Appends the members of ``other`` to those there are, in place."""
        self.stack.append(other.stack)
        self.optimizer.append(other.optimizer)
        self.order.append(other.order)
        self.criterion.append(other.criterion)
        if self.scaler is not None and other.scaler is not None:
            self.scaler.append(other.scaler)
