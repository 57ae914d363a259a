"""Computes feature tokens: each feature, numeric or categorical, becomes a vector of width D.

Numeric features follow Gorishniy et al. 2022, "On Embeddings for Numerical Features in Tabular
Deep Learning" (arXiv 2203.05556), and version B of the ``rtdl_num_embeddings`` package: a linear
part, and on top of it a piecewise-linear encoding whose weights start at zero. Ours is a batched
matmul over one padded [F_n, T, D] weight, so it vectorises and vmaps.

Letters: B batch, F_n / F_c numeric / categorical features, F their sum, T bins, D width, Q
frequencies.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from jamba_ray.config.model import Embedding
from jamba_ray.data.prepared import FeatureSchema
from jamba_ray.models.dropout import Dropout

N_FREQUENCIES = 24
FREQUENCY_SCALE = 0.05
NARROW = 16
"""Widths below it are computed with the rows of the batch side by side in memory: what a CPU's
kernels vectorise is then B long and not D. [128, 48] @ [48, 8] in fp32, GFLOP/s forward and of the
weight's gradient: 15 and 13, the other way round 58 and 50; from 16 on the two are alike (one Zen 4
core, torch 2.13, 2026-11-26)."""


def rows_side_by_side(x_num: Tensor) -> Tensor:
    """Returns [..., B, F_n] with its rows side by side in memory, copied unless they are.

    What is compiled must be given them so: a copy inside it becomes reads far apart, and a step
    took half as long again.
    """
    return x_num.mT.contiguous().mT


class PiecewiseLinear(nn.Module):
    """Computes how far x has come through each of its bins, 0 to 1: [B, F_n] -> [F_n, B, T].

    ``by_rows``: [F_n, T, B].
    """

    low: Tensor
    per_width: Tensor

    def __init__(self, edges: tuple[tuple[float, ...], ...]) -> None:
        super().__init__()
        self.d_out = max(len(e) for e in edges) - 1
        low = torch.zeros(len(edges), 1, self.d_out)
        per_width = torch.zeros(len(edges), 1, self.d_out)
        for i, feature_edges in enumerate(edges):
            e = torch.tensor(feature_edges, dtype=torch.float64)
            n = len(feature_edges) - 1
            low[i, 0, :n] = e[:-1]
            per_width[i, 0, :n] = 1.0 / (e[1:] - e[:-1])
        # Bins past a feature's last have width "infinity": their encoding is always 0.
        self.register_buffer("low", low, persistent=False)
        self.register_buffer("per_width", per_width, persistent=False)

    def forward(self, x_num: Tensor, by_rows: bool = False) -> Tensor:
        """Computes the encoding; values beyond the outer edges count as the edges, since nothing
        is known there."""
        x, low, per_width = x_num.t().unsqueeze(-1), self.low, self.per_width
        if by_rows:
            x, low, per_width = x.mT, low.mT, per_width.mT
        return ((x - low) * per_width).clamp(0.0, 1.0)


class Periodic(nn.Module):
    """Computes cosines and sines at learned frequencies: [B, F_n] -> [F_n, B, 2 Q].

    ``by_rows``: [F_n, 2 Q, B].
    """

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.d_out = 2 * N_FREQUENCIES
        self.frequency = nn.Parameter(torch.empty(n_features, 1, N_FREQUENCIES))
        bound = 3 * FREQUENCY_SCALE
        nn.init.trunc_normal_(self.frequency, 0.0, FREQUENCY_SCALE, -bound, bound)

    def forward(self, x_num: Tensor, by_rows: bool = False) -> Tensor:
        """Computes the encoding; frequencies count in turns per unit of the scaled feature."""
        x = x_num.t().unsqueeze(-1)
        frequency: Tensor = self.frequency
        if by_rows:
            x, frequency = x.mT, frequency.mT
        angle = 2 * math.pi * frequency * x
        return torch.cat([angle.cos(), angle.sin()], dim=1 if by_rows else -1)


class NumericTokens(nn.Module):
    """Computes [B, F_n] -> [B, F_n, D]."""

    def __init__(self, schema: FeatureSchema, width: int, embedding: Embedding) -> None:
        super().__init__()
        n = len(schema.numeric)
        self.slope = nn.Parameter(torch.empty(n, width))
        nn.init.uniform_(self.slope, -(width**-0.5), width**-0.5)
        self.encoding: nn.Module | None = None
        if embedding == "linear":
            return
        encoding = PiecewiseLinear(schema.bin_edges) if embedding == "ple" else Periodic(n)
        self.encoding = encoding
        self.weight = nn.Parameter(torch.zeros(n, encoding.d_out, width))
        if embedding == "periodic":
            bound = encoding.d_out**-0.5
            nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, x_num: Tensor) -> Tensor:
        """Computes a linear part plus encoding @ weight, feature by feature."""
        if self.encoding is not None and self.slope.shape[1] < NARROW:
            return self._by_rows(self.encoding, rows_side_by_side(x_num))
        tokens = x_num.unsqueeze(-1) * self.slope
        if self.encoding is None:
            return tokens
        return tokens + torch.bmm(self.encoding(x_num), self.weight).transpose(0, 1)

    def _by_rows(self, encoding: nn.Module, x_num: Tensor) -> Tensor:
        encoded = torch.bmm(self.weight.mT, encoding(x_num, by_rows=True))  # [F_n, D, B]
        tokens = x_num.t().unsqueeze(1) * self.slope.unsqueeze(-1) + encoded
        return tokens.permute(2, 0, 1)


class CategoricalTokens(nn.Module):
    """Gathers [B, F_c] codes -> [B, F_c, D]; all tables are packed into one, so it is one
    gather."""

    offset: Tensor

    def __init__(self, cardinalities: tuple[int, ...], width: int) -> None:
        super().__init__()
        starts = torch.tensor((0, *cardinalities[:-1]), dtype=torch.int64).cumsum(0)
        self.register_buffer("offset", starts, persistent=False)
        self.table = nn.Parameter(torch.empty(sum(cardinalities), width))
        nn.init.uniform_(self.table, -(width**-0.5), width**-0.5)

    def forward(self, x_cat: Tensor) -> Tensor:
        """Gathers rows; code 0 (unknown, rare or missing) has a learned row like any other."""
        return functional.embedding(x_cat + self.offset, self.table)


class FeatureTokens(nn.Module):
    """Computes [B, F_n], [B, F_c] -> [B, F, D], numeric features first, each plus its own column
    vector.

    In training each value is hidden at rate ``masking``, so that its token says "this column, value
    unknown" and no single feature can carry the decision alone. Values are not scaled up for it:
    a token is either all there or it is not.
    """

    def __init__(
        self, schema: FeatureSchema, width: int, embedding: Embedding, masking: float
    ) -> None:
        super().__init__()
        self.masking = Dropout(masking)
        self.numeric = NumericTokens(schema, width, embedding) if schema.numeric else None
        self.categorical = (
            CategoricalTokens(schema.cardinalities, width) if schema.categorical else None
        )
        self.column = nn.Parameter(torch.empty(schema.input_dim, width))
        nn.init.uniform_(self.column, -(width**-0.5), width**-0.5)

    def forward(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        """Computes the tokens; either input may have no columns."""
        parts = []
        if self.numeric is not None:
            parts.append(self.numeric(x_num))
        if self.categorical is not None:
            parts.append(self.categorical(x_cat))
        tokens = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        if self.training:
            tokens = tokens * self.masking.mask(tokens.shape[:2], tokens.dtype).unsqueeze(-1)
        return tokens + self.column
