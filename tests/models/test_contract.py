"""Our families pass the contract that plug-ins must pass; to register one is to have it tested."""

from __future__ import annotations

import importlib.util

import pytest

from jamba_ray.config.family import FAMILIES
from jamba_ray.estimators.estimator import ESTIMATORS
from jamba_ray.testing import FamilyContract

SMALL = {"n_estimators": 12, "hidden_dim": 16, "token_dim": 4, "feature_layers": 1}


def _installed(family: str) -> bool:
    needed = ESTIMATORS[family].requires if family in ESTIMATORS else None
    return needed is None or importlib.util.find_spec(needed) is not None


for _family, _section in FAMILIES.items():
    globals()[f"Test_{_family}"] = pytest.mark.skipif(
        not _installed(_family), reason="its package is not installed"
    )(
        type(
            f"Test_{_family}",
            (FamilyContract,),
            {
                "family": _family,
                "settings": {k: v for k, v in SMALL.items() if k in _section.model_fields},
                "draws": _family not in ("logistic", "lightgbm"),
            },
        )
    )
