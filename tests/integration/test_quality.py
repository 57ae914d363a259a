"""How good the defaults are, without any sweep: minutes each, so `pytest -m slow`.

The bounds are the project's promises; the figures beside them were measured with the same commands
on 2 shared cores, 2026-11-21.
"""

import os
from pathlib import Path

import numpy as np
import pytest

from tests.integration.conftest import summary_of

NSL_KDD = Path(os.environ.get("NSL_KDD", Path(__file__).parents[3] / "shared/data/nsl_kdd"))
SEEDS = (0, 1, 2)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]


def trained(command, workplace, *settings):
    """Test metrics by seed."""
    found = []
    for seed in SEEDS:
        run = f"quality-{abs(hash(settings)) % 10**6}-{seed}"
        command("train", *settings, f"seed={seed}", f"run={run}", timeout=2400)
        found.append(summary_of(workplace / "runs" / run))
    return found


def mean(summaries, metric, part="test"):
    return float(np.mean([s["best"][part][metric]["value"] for s in summaries]))


@pytest.mark.skipif(not NSL_KDD.is_dir(), reason="needs NSL-KDD: set NSL_KDD to its folder")
def test_attention_on_attacks_that_training_never_saw(command, workplace):
    summaries = trained(
        command,
        workplace,
        "data=nsl_kdd",
        f"data.path={NSL_KDD}/train.parquet",
        f"data.test={NSL_KDD}/test.parquet",
        "data.extra_tests={}",
    )
    assert mean(summaries, "roc_auc") >= 0.955


def test_attention_beats_mlp_and_comes_near_the_bayes_limit(command, workplace):
    attention = trained(command, workplace, "model=attention")
    mlp = trained(command, workplace, "model=mlp")
    assert mean(attention, "average_precision") > mean(mlp, "average_precision")
    limit = attention[0]["bayes"]["test"]["average_precision"]
    assert limit - mean(attention, "average_precision") < 0.03
    baseline = attention[0]["baseline"]["test"]["average_precision"]["value"]
    assert mean(attention, "average_precision") > baseline + 0.02
