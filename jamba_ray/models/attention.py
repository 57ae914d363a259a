"""Defines ``attention``, the house model: feature tokens, self-attention among them, progressive
layers.

The encoder is that of the FT-Transformer (Gorishniy et al. 2021, "Revisiting Deep Learning Models
for Tabular Data", arXiv 2106.11959) with pre-norm blocks. We differ: piecewise-linear tokens
instead of linear ones, all tokens are read out (``pool``) through progressive feature layers
instead of a [CLS] token, and dropout adapts to the width of a layer.

Letters: B batch, F features (tokens), D width, H heads, E = D / H head width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from jamba_ray.config.model import AttentionSection
from jamba_ray.data.prepared import FeatureSchema
from jamba_ray.models.dropout import Dropout
from jamba_ray.models.feature_layers import FeatureLayers, progressive_widths
from jamba_ray.models.registry import register
from jamba_ray.models.tokens import FeatureTokens

MANY_TOKENS = 96
"""From here on the scores of all heads leave the cache and torch's fused attention, which never
writes them, is the faster one: 1.2 to 2.0 times at 96 to 128 tokens (0.9 to 1.0 in heads of 8 or
32), 0.4 to 0.9 times at 20 and 41 (forward and backward, fp32, one core of an AMD EPYC, torch 2.13,
2026-11-26). Thousands of features would not fit any memory otherwise."""


class SelfAttention(nn.Module):
    """Lets every feature attend to every feature: [B, F, D] -> [B, F, D]."""

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.is_vmapped = False
        """Set by whoever vmaps it: fused attention has no vmap rule on CPUs (3 to 16 times slower).
        """
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Scales by E ** -0.5."""
        b, f, d = x.shape
        qkv = self.qkv(x).view(b, f, 3, self.n_heads, d // self.n_heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)  # each [B, H, F, E]
        if f >= MANY_TOKENS and not self.is_vmapped:
            mixed = functional.scaled_dot_product_attention(q, k, v)
        else:
            scale = (d // self.n_heads) ** -0.5
            mixed = torch.softmax((q * scale) @ k.transpose(-2, -1), dim=-1) @ v
        y: Tensor = self.out(mixed.transpose(1, 2).reshape(b, f, d))
        return y


class Block(nn.Module):
    """Applies pre-norm attention, then a pre-norm two-layer SiLU network per token."""

    def __init__(self, width: int, n_heads: int, rate: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = SelfAttention(width, n_heads)
        self.token_norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 2 * width)
        self.activation = nn.SiLU()
        self.dropout = Dropout(rate)
        self.narrow = nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Computes [B, F, D] -> [B, F, D]."""
        x = x + self.attention(self.attention_norm(x))
        hidden = self.dropout(self.activation(self.widen(self.token_norm(x))))
        y: Tensor = x + self.narrow(hidden)
        return y


class Attention(nn.Module):
    """Computes tokens -> blocks -> pooling -> progressive feature layers -> one logit."""

    def __init__(self, section: AttentionSection, schema: FeatureSchema) -> None:
        super().__init__()
        width, rate = section.hidden_dim, section.dropout_rate
        self.is_flat = section.pool == "flatten"
        self.tokens = FeatureTokens(schema, width, section.embedding, section.feature_masking)
        self.blocks = nn.Sequential(
            *(Block(width, section.n_heads, rate) for _ in range(section.n_blocks))
        )
        widths = progressive_widths(4 * width, section.feature_layers)
        d_in = schema.input_dim * width if self.is_flat else width
        self.feature_layers = FeatureLayers(d_in, widths, section.norm, rate)
        self.head = nn.Linear(widths[-1], section.output_dim)

    def forward(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        """Computes [B, F_n], [B, F_c] -> logits [B].

        No norm between blocks and read-out: it would make all tokens equally long, and length says
        how unusual a value is. With it, ROC AUC fell from 0.973 to 0.961 on KDDTest+ and from 0.952
        to 0.949 on the synthetic data (one seed each, 2026-11-21).
        """
        x = self.blocks(self.tokens(x_num, x_cat))
        pooled = x.flatten(1) if self.is_flat else x.mean(dim=1)
        logits: Tensor = self.head(self.feature_layers(pooled))
        return logits.squeeze(-1)


register("attention", AttentionSection, Attention)
