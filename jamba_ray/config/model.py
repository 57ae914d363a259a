"""Defines ``model``: the sections of the model families that ship with jamba_ray.

They live below the networks (``jamba_ray.models``), which import torch: a configuration is read and
explained without it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from jamba_ray.config.family import ModelSection, register_family
from jamba_ray.config.section import FUSIBLE

Embedding = Literal["ple", "periodic", "linear"]
Norm = Literal["batch", "layer"]
Share = Annotated[float, Field(gt=0.0, le=1.0)]


class AttentionSection(ModelSection):
    """Configures the family ``attention``."""

    name: Literal["attention"] = "attention"
    input_dim: Annotated[int, Field(ge=1)] | None = None
    """Number of features; None: from the data. A check, not a choice."""
    hidden_dim: Annotated[int, Field(ge=4, le=4096)] = 32
    """Width of a feature token."""
    output_dim: Literal[1] = 1
    """One logit: the log-odds of a threat."""
    n_heads: Annotated[int, Field(ge=1, le=256)] = 4
    """Attention heads; must divide ``hidden_dim``."""
    n_blocks: Annotated[int, Field(ge=1, le=32)] = 1
    """Attention blocks."""
    feature_layers: Annotated[int, Field(ge=1, le=16)] = 3
    """Progressive layers after attention; the first is 4 x ``hidden_dim`` wide, each next half."""
    dropout_rate: Annotated[float, Field(ge=0.0, le=0.9)] = Field(
        default=0.1, json_schema_extra=FUSIBLE
    )
    """Dropout inside blocks and in the widest feature layer; narrower layers drop less."""
    feature_masking: Annotated[float, Field(ge=0.0, le=0.9)] = Field(
        default=0.1, json_schema_extra=FUSIBLE
    )
    """Rate at which a whole feature is hidden in training, against leaning on a few of them. At 0 /
    0.05 / 0.1, ROC AUC was 0.955 / 0.961 / 0.963 on KDDTest+ (attacks that training lacks; means of
    3 seeds) and 0.951 / 0.950 / 0.950 on synthetic data (nothing new in the test; 1-3 seeds).
    """
    embedding: Embedding = "ple"
    """How a number becomes a token: piecewise-linear, periodic or linear."""
    norm: Norm = "layer"
    """Normalisation of the feature layers (blocks always use layer norm)."""
    pool: Literal["flatten", "mean"] = "flatten"
    """What the feature layers see: all tokens side by side, or their mean."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> AttentionSection:
        if self.hidden_dim % self.n_heads:
            fitting = [h for h in (1, 2, 4, 8, 16, 32) if self.hidden_dim % h == 0]
            near = sorted(sorted(fitting, key=lambda h: abs(h - self.n_heads))[:2])
            raise ValueError(
                f"`model.n_heads` must divide `model.hidden_dim` ({self.hidden_dim}), "
                f"but is {self.n_heads}. Choose {' or '.join(map(str, near))}"
            )
        return self


class MlpSection(ModelSection):
    """Configures the family ``mlp``."""

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


class TabmSection(ModelSection):
    """Configures the family ``tabm``."""

    name: Literal["tabm"] = "tabm"
    input_dim: Annotated[int, Field(ge=1)] | None = None
    """Number of features; None: from the data. A check, not a choice."""
    hidden_dim: Annotated[int, Field(ge=4, le=8192)] = 128
    """Width of every layer of a head."""
    output_dim: Literal[1] = 1
    """One logit a head: the log-odds of a threat."""
    n_networks: Annotated[int, Field(ge=2, le=256)] = 16
    """Networks that share their weights; the score is the mean of their probabilities."""
    feature_layers: Annotated[int, Field(ge=1, le=16)] = 2
    """Layers."""
    token_dim: Annotated[int, Field(ge=1, le=512)] = 8
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


class LightgbmSection(ModelSection):
    """Configures the family ``lightgbm``."""

    name: Literal["lightgbm"] = "lightgbm"
    n_estimators: Annotated[int, Field(ge=1, le=100_000)] = 100
    """Boosting rounds at most."""
    learning_rate: Annotated[float, Field(gt=0.0, le=1.0)] = 0.1
    """Shrinkage of each tree (``training.learning_rate`` is for networks)."""
    num_leaves: Annotated[int, Field(ge=2, le=131_072)] = 31
    """Leaves of a tree at most."""
    max_depth: Annotated[int, Field(ge=-1, le=1024)] = -1
    """Largest depth of a tree; -1: no limit but ``num_leaves``."""
    min_child_samples: Annotated[int, Field(ge=0)] = 20
    """Rows a leaf needs."""
    min_child_weight: Annotated[float, Field(ge=0.0)] = 1e-3
    """Sum of second derivatives a leaf needs."""
    subsample: Share = 1.0
    """Share of rows drawn for each tree."""
    colsample_bytree: Share = 1.0
    """Share of features drawn for each tree."""
    reg_alpha: Annotated[float, Field(ge=0.0)] = 0.0
    """L1 penalty on leaf values."""
    reg_lambda: Annotated[float, Field(ge=0.0)] = 0.0
    """L2 penalty on leaf values."""
    max_bin: Annotated[int, Field(ge=2, le=65_535)] = 255
    """Histogram bins per feature."""

    @model_validator(mode="after")
    def _leaves_fit_depth(self) -> LightgbmSection:
        if 0 < self.max_depth < 17 and self.num_leaves > 2**self.max_depth:
            raise ValueError(
                f"`model.num_leaves` must be at most 2 ** `model.max_depth` ({2**self.max_depth}), "
                f"but is {self.num_leaves}. Lower it, or set `model.max_depth=-1`"
            )
        if self.max_depth == 0:
            raise ValueError(
                "`model.max_depth` must be -1 (no limit) or at least 1, but is 0. Choose -1 or 6"
            )
        return self


register_family("attention", AttentionSection, "gradient")
register_family("mlp", MlpSection, "gradient")
register_family("tabm", TabmSection, "gradient")
register_family("lightgbm", LightgbmSection, "boosting")
