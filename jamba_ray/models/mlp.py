"""Defines ``mlp``: embedded features side by side, then feature layers of one width.

The plain rival of ``attention`` (MLP-PLR / MLP-Q-LR of Gorishniy et al. 2022, arXiv 2203.05556),
with the same tokens and the same layers, so the two differ in attention alone.
"""

from __future__ import annotations

from torch import Tensor, nn

from jamba_ray.config.model import MlpSection
from jamba_ray.data.prepared import FeatureSchema
from jamba_ray.models.feature_layers import FeatureLayers
from jamba_ray.models.registry import register
from jamba_ray.models.tokens import FeatureTokens


class Mlp(nn.Module):
    """Computes tokens side by side -> feature layers -> one logit."""

    def __init__(self, section: MlpSection, schema: FeatureSchema) -> None:
        super().__init__()
        self.tokens = FeatureTokens(
            schema, section.token_dim, section.embedding, section.feature_masking
        )
        widths = (section.hidden_dim,) * section.feature_layers
        d_in = schema.input_dim * section.token_dim
        self.feature_layers = FeatureLayers(d_in, widths, section.norm, section.dropout_rate)
        self.head = nn.Linear(section.hidden_dim, section.output_dim)

    def forward(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        """Computes [B, F_n], [B, F_c] -> logits [B]."""
        pooled = self.tokens(x_num, x_cat).flatten(1)
        logits: Tensor = self.head(self.feature_layers(pooled))
        return logits.squeeze(-1)


register("mlp", MlpSection, Mlp)
