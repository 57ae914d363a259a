"""``mlp``: embedded features side by side, then feature layers of one width.

The plain rival of ``attention`` (MLP-PLR / MLP-Q-LR of Gorishniy et al. 2022, arXiv 2203.05556),
with the same tokens and the same layers, so the two differ in attention alone.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from jamba_ray.config.family import ModelSection
from jamba_ray.config.section import FUSIBLE
from jamba_ray.data.prepared import FeatureSchema
from jamba_ray.models.feature_layers import FeatureLayers, Norm
from jamba_ray.models.registry import register
from jamba_ray.models.tokens import Embedding, FeatureTokens


class MlpSection(ModelSection):
    """``model.name: mlp``."""

    name: Literal["mlp"] = "mlp"
    input_dim: Annotated[int, Field(ge=1)] | None = None
    """Number of features; None: from the data. A check, not a choice."""
    hidden_dim: Annotated[int, Field(ge=4, le=8192)] = 256
    """Width of every layer."""
    output_dim: Literal[1] = 1
    """One logit: the log-odds of a threat."""
    feature_layers: Annotated[int, Field(ge=1, le=16)] = 3
    """Layers; all but the first are residual."""
    token_dim: Annotated[int, Field(ge=1, le=512)] = 16
    """Width of an embedded feature."""
    dropout_rate: Annotated[float, Field(ge=0.0, le=0.9)] = Field(
        default=0.1, json_schema_extra=FUSIBLE
    )
    """Dropout after each layer."""
    feature_masking: Annotated[float, Field(ge=0.0, le=0.9)] = Field(
        default=0.1, json_schema_extra=FUSIBLE
    )
    """Rate at which a whole feature is hidden in training, against leaning on a few of them. See
    ``attention``."""
    embedding: Embedding = "ple"
    """How a number becomes a vector: piecewise-linear, periodic or linear."""
    norm: Norm = "layer"
    """Normalisation of the layers."""


class Mlp(nn.Module):
    """Tokens side by side -> feature layers -> one logit."""

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
        """[B, F_n], [B, F_c] -> logits [B]."""
        pooled = self.tokens(x_num, x_cat).flatten(1)
        logits: Tensor = self.head(self.feature_layers(pooled))
        return logits.squeeze(-1)


register("mlp", MlpSection, Mlp)
