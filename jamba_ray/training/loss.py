"""Computes binary cross-entropy with each member's own weights, smoothing, focus and adjustment.

Letters: K stacked trials, B batch, H heads (of families that give a logit for each).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from jamba_ray.config.plugins import LOSSES
from jamba_ray.config.training import TrainingSection
from jamba_ray.errors import TrialError


def threat_weight(setting: float | Literal["balanced"], threat_share: float) -> float:
    """Returns the loss weight of a threat relative to a benign row; ``balanced``: benign rows /
    threats."""
    if setting == "balanced":
        return (1.0 - threat_share) / threat_share
    return setting


def log_odds_of(share: float) -> float:
    """Returns the log-odds of a share, finite also for 0 and 1."""
    share = min(max(share, 1e-9), 1.0 - 1e-9)
    return math.log(share / (1.0 - share))


class Criterion:
    """Computes the mean loss per member: logits [K, B], labels [K, B] -> [K], always in float32.

    Logits may be [K, B, H]: each head has its own loss, and their mean is the member's.

    Weights are divided by their mean over the training rows, so that the size of the gradient,
    and with it what ``grad_clip`` means, does not depend on ``threat_weight``. Where batches have
    another share of threats than the rows (``training.threat_share``), the loss is that of the
    logits moved by the difference of the log-odds, so that logits are those of the rows.
    """

    def __init__(
        self, sections: Sequence[TrainingSection], threat_share: float, device: str
    ) -> None:
        shares = [s.threat_share or threat_share for s in sections]
        pairs = list(zip(sections, shares, strict=True))
        weights = [threat_weight(s.threat_weight, share) for s, share in pairs]
        means = [1.0 + share * (w - 1.0) for share, w in zip(shares, weights, strict=True)]
        smoothing = [s.label_smoothing for s in sections]

        def column(values: list[float]) -> Tensor:
            return torch.tensor(values, dtype=torch.float32, device=device)[:, None]

        self._benign = column([1.0 / mean for mean in means])
        self._extra = column([(w - 1.0) / mean for w, mean in zip(weights, means, strict=True)])
        self._low = column([s / 2.0 for s in smoothing])
        self._span = column([1.0 - s for s in smoothing])
        prior = log_odds_of(threat_share)
        offsets = [s.logit_adjustment * prior + log_odds_of(share) - prior for s, share in pairs]
        self._gamma = column([s.focal_gamma for s in sections])
        self._offset = column(offsets)
        self._focal = any(s.focal_gamma != 0.0 for s in sections)
        self._adjusted = any(offset != 0.0 for offset in offsets)
        self._weighted = any(weight != 1.0 for weight in weights)
        self._smoothed = any(s != 0.0 for s in smoothing)
        # Structural: members of a stack have the same.
        self._own = LOSSES.get(sections[0].loss)

    def __call__(self, logits: Tensor, y: Tensor, batch_rows: int | None = None) -> Tensor:
        """Computes the mean weighted loss of each member.

        Of a part of a batch of ``batch_rows`` rows it is the part's share, so that the losses of
        all parts sum to that of the batch.
        """
        n_heads = logits.shape[2:].numel()
        if logits.ndim > y.ndim:
            y, logits = y.unsqueeze(-1).expand_as(logits).flatten(1), logits.flatten(1)
        # Skipping a weight of 1, or what is 0, changes no bit of the result, only its cost.
        target = torch.addcmul(self._low, self._span, y) if self._smoothed else y
        weight = torch.addcmul(self._benign, self._extra, y) if self._weighted else None
        z = logits.float() + self._offset if self._adjusted else logits.float()
        if self._own is None:
            loss = F.binary_cross_entropy_with_logits(z, target, weight, reduction="none")
        else:
            loss = self._of_plugin(self._own, z, target)
            loss = loss if weight is None else loss * weight
        if self._focal:
            # (1 - p of the label) ^ gamma, by logarithms: its slope is finite also where p is 1.
            loss = loss * torch.exp(self._gamma * F.logsigmoid(z * (1.0 - 2.0 * y)))
        return loss.mean(dim=1) if batch_rows is None else loss.sum(dim=1) / (batch_rows * n_heads)

    def _of_plugin(self, compute: Callable[..., Tensor], z: Tensor, y: Tensor) -> Tensor:
        loss = compute(z, y.expand_as(z))
        if loss.shape != z.shape:
            raise TrialError(
                f"a loss must be one number for each logit, {list(z.shape)}, but that of the "
                f"plug-in is {list(loss.shape)}; return it without a mean or sum."
            )
        return loss

    def keep(self, members: Sequence[int]) -> None:
        """Drops all members but these."""
        index = list(members)
        self._benign, self._extra = self._benign[index], self._extra[index]
        self._low, self._span = self._low[index], self._span[index]
        self._gamma, self._offset = self._gamma[index], self._offset[index]

    def append(self, other: Criterion) -> None:
        """Appends the members of ``other`` to those there are."""
        self._benign = torch.cat([self._benign, other._benign])
        self._extra = torch.cat([self._extra, other._extra])
        self._low = torch.cat([self._low, other._low])
        self._span = torch.cat([self._span, other._span])
        self._gamma = torch.cat([self._gamma, other._gamma])
        self._offset = torch.cat([self._offset, other._offset])
        self._focal |= other._focal
        self._adjusted |= other._adjusted
        self._weighted |= other._weighted
        self._smoothed |= other._smoothed
