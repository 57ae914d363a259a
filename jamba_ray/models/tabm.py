"""Defines ``tabm``: many small networks that share their weights and differ in scales of their own.

TabM (Gorishniy et al. 2024, "TabM: Advancing Tabular Deep Learning with Parameter-Efficient
Ensembling", arXiv 2410.24210): each layer is a BatchEnsemble (Wen et al. 2020), one weight for all
heads and a scale of inputs, a scale of outputs and a bias for each head. Only the scales of the
first layer begin at random, one number for each feature and head; the last layer is not shared.
Heads learn each from its own loss, and the score is the mean of their probabilities.

Heads, width and embedding are smaller than in the paper (32 heads, 512, 16 numbers a feature), for
a laptop's CPU. We differ also where our networks have something in common: whole features are
hidden in training (``feature_masking``), tokens have a column's vector, categories are embedded and
not one-hot, the activation is SiLU and not ReLU. All heads see the same batch.

Letters: B batch, H heads, F features, D_in / D_out width of a layer's input and output.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from jamba_ray.config.model import TabmSection
from jamba_ray.data.prepared import FeatureSchema
from jamba_ray.models.dropout import Dropout
from jamba_ray.models.registry import register
from jamba_ray.models.tokens import FeatureTokens


def log_odds_of_mean(logits: Tensor) -> Tensor:
    """Computes the log-odds of the mean probability of heads: [B, H] -> [B].

    By logarithms, so that scores that are nearly certain stay apart.
    """
    z = logits.float()
    threat, benign = functional.logsigmoid(z), functional.logsigmoid(-z)
    return torch.logsumexp(threat, dim=-1) - torch.logsumexp(benign, dim=-1)


class FirstLayer(nn.Module):
    """Computes [B, D_in], which all heads share, -> [B, H, D_out]."""

    def __init__(self, n_heads: int, n_features: int, width: int, d_out: int) -> None:
        super().__init__()
        d_in = n_features * width
        self.n_heads = n_heads
        self.weight = nn.Parameter(torch.empty(d_out, d_in))
        # One dimension: weight decay would pull scales to 0.
        self.scale_in = nn.Parameter(
            torch.randn(n_heads, n_features).repeat_interleave(width, dim=1).flatten()
        )
        self.scale_out = nn.Parameter(torch.ones(n_heads * d_out))
        self.bias = nn.Parameter(torch.empty(n_heads * d_out))
        bound = d_in**-0.5
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """Scales the weight and not the input, of which there would be a copy for each head."""
        scales = self.scale_in.view(self.n_heads, 1, -1)
        y = x @ (self.weight * scales).flatten(0, 1).mT
        return torch.addcmul(self.bias, y, self.scale_out).view(len(x), self.n_heads, -1)


class EnsembleLayer(nn.Module):
    """Computes [B, H, D_in] -> [B, H, D_out] with one weight for all heads."""

    def __init__(self, n_heads: int, d_in: int, d_out: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.weight = nn.Parameter(torch.empty(d_out, d_in))
        self.scale_in = nn.Parameter(torch.ones(n_heads * d_in))
        self.scale_out = nn.Parameter(torch.ones(n_heads * d_out))
        self.bias = nn.Parameter(torch.empty(n_heads * d_out))
        bound = d_in**-0.5
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """Computes (x * scale_in) @ weight * scale_out + bias."""
        scale_in, scale_out, bias = (
            p.view(self.n_heads, -1) for p in (self.scale_in, self.scale_out, self.bias)
        )
        return torch.addcmul(bias, (x * scale_in) @ self.weight.mT, scale_out)


class Tabm(nn.Module):
    """Computes tokens side by side -> ensemble layers -> one logit a head."""

    def __init__(self, section: TabmSection, schema: FeatureSchema) -> None:
        super().__init__()
        heads, width = section.n_networks, section.hidden_dim
        self.tokens = FeatureTokens(
            schema, section.token_dim, section.embedding, section.feature_masking
        )
        self.first = FirstLayer(heads, schema.input_dim, section.token_dim, width)
        self.layers = nn.ModuleList(
            EnsembleLayer(heads, width, width) for _ in range(section.feature_layers - 1)
        )
        self.dropouts = nn.ModuleList(
            Dropout(section.dropout_rate) for _ in range(section.feature_layers)
        )
        self.head = nn.Parameter(torch.empty(heads, width))
        self.head_bias = nn.Parameter(torch.empty(heads))
        bound = width**-0.5
        nn.init.uniform_(self.head, -bound, bound)
        nn.init.uniform_(self.head_bias, -bound, bound)

    def forward(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        """Computes [B, F_n], [B, F_c] -> logits [B, H] in training, of their mean [B] else."""
        x = self.first(self.tokens(x_num, x_cat).flatten(1))
        x = self.dropouts[0](functional.silu(x))
        for layer, dropout in zip(self.layers, self.dropouts[1:], strict=True):
            x = dropout(functional.silu(layer(x)))
        logits = (x * self.head).sum(dim=-1) + self.head_bias
        return logits if self.training else log_odds_of_mean(logits)


register("tabm", TabmSection, Tabm)
