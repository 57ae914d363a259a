from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from jamba_ray.checkpoints import CheckpointStore, Snapshot

# A busy machine is no failure: time is judged by the tests that measure it.
settings.register_profile("calm", deadline=None)
settings.load_profile("calm")


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "checkpoints")


@pytest.fixture
def snapshot() -> Snapshot:
    rng = np.random.default_rng(0)
    return Snapshot(
        tensors={
            "model/embedding.weight": rng.normal(size=(5, 8)).astype(np.float32),
            "optimizer/step": np.array(12, dtype=np.int64),
            "sampler/seen": np.array([True, False]),
        },
        documents={"state": {"step": 12, "lr": 0.1}, "metrics": {"val/roc_auc": 1 / 3}},
        blobs={"model.txt": b"tree\x00\xff\n"},
    )
