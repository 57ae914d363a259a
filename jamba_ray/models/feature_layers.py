"""Defines progressive feature layers: Linear -> norm -> SiLU -> adaptive dropout, narrower layer by
layer.

Letters: B batch, D_in width of the input, w_l width of layer l.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from jamba_ray.config.model import Norm
from jamba_ray.models.dropout import Dropout

NARROWEST = 8


def progressive_widths(first: int, n_layers: int) -> tuple[int, ...]:
    """Returns ``n_layers`` widths that halve from ``first``, not below ``NARROWEST`` or
    ``first``."""
    floor = min(first, NARROWEST)
    return tuple(max(first >> layer, floor) for layer in range(n_layers))


def adaptive_rate(rate: float, width: int, widest: int) -> float:
    """Returns the dropout rate of a layer of ``width`` where the widest layer has ``rate``.

    A sum over w units under inverted dropout at rate p gets noise of relative variance
    p / ((1 - p) w). One rate for all layers would thus disturb narrow layers most; we keep that
    variance equal instead: p_l / ((1 - p_l) w_l) = p / ((1 - p) w_max), hence
    p_l = p w_l / (p w_l + (1 - p) w_max).
    """
    return rate * width / (rate * width + (1.0 - rate) * widest)


class FeatureLayer(nn.Module):
    """Computes one layer; adds its input where the widths are equal."""

    def __init__(self, d_in: int, width: int, norm: Norm, rate: float) -> None:
        super().__init__()
        self.linear = nn.Linear(d_in, width)
        self.norm = nn.BatchNorm1d(width) if norm == "batch" else nn.LayerNorm(width)
        self.activation = nn.SiLU()
        self.dropout = Dropout(rate)
        self.is_residual = d_in == width

    def forward(self, x: Tensor) -> Tensor:
        """Computes [B, D_in] -> [B, w_l]."""
        y: Tensor = self.dropout(self.activation(self.norm(self.linear(x))))
        return x + y if self.is_residual else y


class FeatureLayers(nn.Sequential):
    """Computes [B, D_in] -> [B, w_last] through layers of the given ``widths``."""

    def __init__(self, d_in: int, widths: Sequence[int], norm: Norm, rate: float) -> None:
        ins = (d_in, *widths[:-1])
        super().__init__(
            *(
                FeatureLayer(i, w, norm, adaptive_rate(rate, w, max(widths)))
                for i, w in zip(ins, widths, strict=True)
            )
        )
