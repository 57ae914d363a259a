"""Updates K members at once with AdamW, each with its own rate, decay, clip and step count.

Letters: K stacked trials, P parameters of one member, all in one row of flat storage. The update is
that of ``torch.optim.AdamW`` (Loshchilov & Hutter 2019), in a dozen whole-storage operations in
place of a dozen per parameter tensor. Decay touches the first ``n_decayed`` columns only.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class StackedAdamW:
    """Holds the moments and the update rule; nothing here waits for the device."""

    def __init__(
        self,
        size: int,
        n_parameters: int,
        n_decayed: int,
        device: str,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        self.exp_avg = torch.zeros(size, n_parameters, device=device)
        self.exp_avg_sq = torch.zeros(size, n_parameters, device=device)
        # float64: 1 - 0.999^t loses four digits in float32 at t = 1.
        self.steps = torch.zeros(size, 1, dtype=torch.float64, device=device)
        """Steps taken (overflows not counted), float64 [K, 1]."""
        self._scratch = torch.empty(size, n_parameters, device=device)
        self._n_decayed = n_decayed
        self._betas, self._eps = betas, eps

    def step(
        self,
        parameters: Tensor,
        gradients: Tensor,
        lr: Tensor,
        decay: Tensor,
        sound: Tensor | None = None,
    ) -> None:
        """Updates ``parameters`` float32 [K, P] in place.

        Args:
            parameters: float32 [K, P].
            gradients: float32 [K, P]; zero where not ``sound``.
            lr: Learning rate, float32 [K, 1].
            decay: lr x weight decay, float32 [K, 1].
            sound: bool [K, 1]; members that are False stay as they are. None: all are sound.
        """
        beta1, beta2 = self._betas
        if sound is None:
            self.steps.add_(1.0)
            self.exp_avg.lerp_(gradients, 1.0 - beta1)
            self.exp_avg_sq.mul_(beta2).addcmul_(gradients, gradients, value=1.0 - beta2)
        else:
            taken = sound.to(torch.float32)
            lr, decay = lr * taken, decay * taken
            self.steps.add_(taken)
            self.exp_avg.lerp_(gradients, (1.0 - beta1) * taken)
            self.exp_avg_sq.mul_(1.0 - (1.0 - beta2) * taken)
            self.exp_avg_sq.addcmul_(gradients, gradients, value=1.0 - beta2)
        # A member that never stepped has t = 0: clamp, its rate is zero anyway.
        t = self.steps if sound is None else self.steps.clamp(min=1.0)
        rate = (lr / (1.0 - beta1**t)).float()
        root = (1.0 - beta2**t).sqrt_().float()
        update = torch.sqrt(self.exp_avg_sq, out=self._scratch).div_(root).add_(self._eps)
        torch.div(self.exp_avg, update, out=update)
        parameters[:, : self._n_decayed].mul_(1.0 - decay)
        parameters.addcmul_(update, rate, value=-1.0)

    def keep(self, members: Sequence[int]) -> None:
        """Drops all members but these."""
        index = list(members)
        self.exp_avg, self.exp_avg_sq = self.exp_avg[index], self.exp_avg_sq[index]
        self.steps, self._scratch = self.steps[index], self._scratch[index]

    def append(self, other: StackedAdamW) -> None:
        """Appends the members of ``other`` to those there are."""
        self.exp_avg = torch.cat([self.exp_avg, other.exp_avg])
        self.exp_avg_sq = torch.cat([self.exp_avg_sq, other.exp_avg_sq])
        self.steps = torch.cat([self.steps, other.steps])
        self._scratch = torch.cat([self._scratch, other._scratch])


def clip_(gradients: Tensor, limit: Tensor) -> None:
    """Scales each member's gradient [K, P] in place to an L2 norm of at most ``limit`` [K, 1].

    As ``torch.nn.utils.clip_grad_norm_``, which also adds 1e-6 to the norm.
    """
    norm = torch.linalg.vector_norm(gradients, dim=1, keepdim=True)
    gradients.mul_((limit / (norm + 1e-6)).clamp_(max=1.0))
