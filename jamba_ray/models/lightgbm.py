"""``lightgbm``: gradient-boosted trees, the rival that every network has to beat.

Only the section and its translation live here; ``training`` grows the trees. Field names are those
of LightGBM's scikit-learn interface, and so are the defaults (LightGBM 4.6).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from jamba_ray.config.family import ModelSection
from jamba_ray.models.registry import register

Share = Annotated[float, Field(gt=0.0, le=1.0)]
_CELLS_PER_THREAD = 2_000_000
"""Cells of the table (rows times columns) that repay a thread; 1 thread grows 100 trees on so many
in 2 s."""


class LightgbmSection(ModelSection):
    """``model.name: lightgbm``."""

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


def lightgbm_params(section: LightgbmSection, *, seed: int, n_threads: int) -> dict[str, Any]:
    """Parameters for ``lightgbm.train``; rounds (``n_estimators``) are that function's argument."""
    return {
        "objective": "binary",
        "boosting": "gbdt",
        "learning_rate": section.learning_rate,
        "num_leaves": section.num_leaves,
        "max_depth": section.max_depth,
        "min_data_in_leaf": section.min_child_samples,
        "min_sum_hessian_in_leaf": section.min_child_weight,
        "bagging_fraction": section.subsample,
        # Drawing rows has an effect only with a frequency; LightGBM's own default is 0, "never".
        "bagging_freq": 1 if section.subsample < 1.0 else 0,
        "feature_fraction": section.colsample_bytree,
        "lambda_l1": section.reg_alpha,
        "lambda_l2": section.reg_lambda,
        "max_bin": section.max_bin,
        "seed": seed,
        "deterministic": True,
        # Row-wise or column-wise would otherwise be chosen by timing, and their sums differ.
        "force_row_wise": True,
        "num_threads": n_threads,
        "verbosity": -1,
    }


def threads_for(n_rows: int, n_columns: int, available: int) -> int:
    """Returns the threads that LightGBM may use for a table of this size: one where it is small.

    Its threads spin while they wait for each other: beside other work on the same CPUs two of them
    take many times as long as one (2026-11-28, 2 CPUs with two other processes: 200,000 rows of 10
    columns take 17 s with two threads and 2 s with one). The result does not depend on them.
    """
    return max(1, min(available, n_rows * n_columns // _CELLS_PER_THREAD))


register("lightgbm", LightgbmSection, None, trainer="boosting")
