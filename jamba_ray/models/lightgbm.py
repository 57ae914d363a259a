"""Defines ``lightgbm``: gradient-boosted trees, the baseline that every network has to beat.

Only the translation of the section lives here; ``training`` grows the trees.
"""

from __future__ import annotations

from typing import Any

from jamba_ray.config.model import LightgbmSection

_CELLS_PER_THREAD = 2_000_000
"""Cells of the table (rows times columns) that repay a thread; 1 thread grows 100 trees on so many
in 2 s."""


def lightgbm_params(section: LightgbmSection, *, seed: int, n_threads: int) -> dict[str, Any]:
    """Returns parameters for ``lightgbm.train``; rounds (``n_estimators``) are that function's
    argument."""
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
