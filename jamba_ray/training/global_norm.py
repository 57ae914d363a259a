"""Computes batch norm over the rows of all ranks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from jamba_ray.training.ranks import Ranks


class _Sum(torch.autograd.Function):
    """Computes a sum over ranks that gradients flow through.

    The loss is a sum over ranks as well, so the gradient of a rank's summand is the sum of all
    ranks' gradients of the result.
    """

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        total = tensor.clone()
        ranks.sum_(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].clone()
        ctx.ranks.sum_(total)
        return total, None


class GlobalBatchNorm(nn.BatchNorm1d):
    """Normalises the rows [B, D] of all ranks.

    It stands in place of torch's SyncBatchNorm, which has no CPU version and needs a row on every
    rank: here a rank may have none.

    Means and sums of squares are put together as by Chan et al. 1983, which loses no digits where
    the mean is large; one exchange forward, one backward.
    """

    ranks: Ranks

    def forward(self, input: Tensor) -> Tensor:
        """Normalises by the statistics of the global batch; in eval mode by the running ones."""
        if not self.training:
            return super().forward(input)
        x = input.float()
        n = len(x)
        mean = x.sum(0) / max(n, 1)
        own = torch.stack([mean, (x - mean).square().sum(0), torch.full_like(mean, n)])
        none = torch.zeros_like(own)
        rows = [own if r == self.ranks.rank else none for r in range(self.ranks.size)]
        summed: Tensor = _Sum.apply(torch.stack(rows), self.ranks)  # type: ignore[no-untyped-call]
        means, squares, counts = summed.unbind(1)
        total = counts.sum(0)
        mean = (means * counts).sum(0) / total
        squared = (squares + counts * (means - mean).square()).sum(0)
        self._remember(mean.detach(), squared.detach() / (total - 1.0).clamp(min=1.0))
        y = (x - mean) * torch.rsqrt(squared / total + self.eps) * self.weight + self.bias
        normalised: Tensor = y.to(input.dtype)
        return normalised

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.momentum is None:
            raise ValueError("a batch norm must track statistics with a momentum, but does not")
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)


def with_global_batch_norm(module: nn.Module, ranks: Ranks) -> nn.Module:
    """Returns ``module`` with every batch norm made global; parameters, buffers and names stay."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm1d):
            made = GlobalBatchNorm(child.num_features, eps=child.eps, momentum=child.momentum)
            made.ranks = ranks
            made.load_state_dict(child.state_dict())
            setattr(module, name, made)
        else:
            with_global_batch_norm(child, ranks)
    return module
