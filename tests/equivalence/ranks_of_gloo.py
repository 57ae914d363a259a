"""R processes with gloo that train one member together.

    python -m tests.equivalence.ranks_of_gloo FOLDER CASE[:SABOTAGE or VARIANT] ...

FOLDER gets rank 0's curve, final value and arrays of each case, and the rows each rank trained on.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from jamba_ray.training import engine, fit, global_batch, global_norm, ranks
from jamba_ray.training.device_rows import ResidentRows, StreamedRows
from jamba_ray.training.optimizer import StackedAdamW
from jamba_ray.training.ranks import TorchRanks
from jamba_ray.training.stack import Stack
from tests.training.trials import Recorder, make_data, member

ROOT = Path(__file__).parents[2]
ATTENTION = {"name": "attention", "hidden_dim": 8, "n_heads": 2, "feature_layers": 2}
MLP = {"name": "mlp", "hidden_dim": 16, "token_dim": 4, "norm": "layer"}
TABM = {"name": "tabm", "hidden_dim": 16, "token_dim": 4, "n_networks": 3, "dropout_rate": 0.2}
CASES: dict[str, dict] = {
    # 601 rows in batches of 51: shares are unequal, epochs end inside batches.
    "mlp": {"model": {**MLP, "dropout_rate": 0.2, "feature_masking": 0.1}},
    "batch_norm": {"model": {**MLP, "norm": "batch", "dropout_rate": 0.2}},
    "attention": {"model": {**ATTENTION, "norm": "batch"}},
    "heads": {"model": TABM, "accumulate": 3},
    "weighted": {"model": MLP, "threat_weight": "balanced", "label_smoothing": 0.1},
    "plateau": {"model": MLP, "schedule": "plateau", "patience": 1, "report_rows": 100},
    "accumulate": {"model": {**MLP, "dropout_rate": 0.2}, "accumulate": 3},
    "at_once": {"model": {**MLP, "dropout_rate": 0.2}},
    "half_of": {"model": {**MLP, "norm": "batch"}},
    "bf16": {"model": {**MLP, "norm": "batch"}, "precision": "bf16"},
    "fp16": {"model": {**MLP, "norm": "batch"}, "precision": "fp16"},
    # The last batch has one row, so one of the ranks has none.
    "few": {"model": MLP, "batch_size": 2, "epochs": 25.4 / 601},
}
FIELDS = {"batch_size": 51, "epochs": 3, "learning_rate": 1e-2, "report_rows": 400}


def trial(case: str):
    return member(0, **{**FIELDS, **CASES[case]})


def calm_adam() -> None:
    """A bias before a batch norm has a gradient of rounding errors alone (some 1e-9), which Adam
    scales up to full steps. With a larger epsilon it stays there, and runs can be compared."""
    StackedAdamW.__init__.__defaults__ = ((0.9, 0.999), 1e-3)


def train(case: str, group=ranks.ALONE, **callbacks):
    recorder = Recorder()
    (outcome,) = fit([trial(case)], make_data(601, 301), recorder, ranks=group, **callbacks)
    return recorder, outcome


def _part_of_its_own(self, index, first, batch_rows):
    """What DDP does: each rank's mean, all means averaged with equal weight."""
    return TRUE_PART(self, index, first, index.shape[1] * self._ranks.size)


TRUE_PART = global_batch.GlobalBatch._part
TRUE_GATHER = ResidentRows.gather
SABOTAGES = {
    "average_of_averages": (global_batch.GlobalBatch, "_part", _part_of_its_own),
    "local_batch_norm": (global_norm.GlobalBatchNorm, "forward", nn.BatchNorm1d.forward),
    "masks_of_their_own": (Stack, "start_at", lambda self, row: None),
    "same_rows_everywhere": (global_batch, "pieces", lambda n, group, k: [(0, n // group.size)]),
    "one_rank_does_not_send": (TorchRanks, "sum_", lambda self, tensor: None),
}

VARIANTS = {
    "streamed": (engine, "rows_on", lambda rows, device, place: StreamedRows(rows, device)),
}


def main(folder: Path, jobs: Sequence[str]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    calm_adam()
    group = TorchRanks("cpu")
    for job in jobs:
        case, _, sabotage = job.partition(":")
        used: list[int] = []

        def gather(self, index, used=used):
            used += index.reshape(-1).tolist()
            return TRUE_GATHER(self, index)

        with contextlib.ExitStack() as patches:
            patches.enter_context(patch.object(ResidentRows, "gather", gather))
            if sabotage:
                patches.enter_context(patch.object(*{**SABOTAGES, **VARIANTS}[sabotage]))
            recorder, outcome = train(case, group)
        (folder / f"{job}.rows{group.rank}").write_text(json.dumps(used))
        if group.rank == 0:
            np.savez(folder / f"{job}.npz", **arrays(recorder, outcome))
        else:
            assert recorder.reports == []
    dist.destroy_process_group()


def arrays(recorder, outcome):
    curve = np.array([[*r.metrics.values()] for r in recorder.reports])
    return {"curve": curve, "value": outcome.value, **outcome.checkpoint.tensors}


def spawn(size: int, folder: Path, jobs: Sequence[str]) -> None:
    """Run all jobs on SIZE ranks, to their end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(size)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.equivalence.ranks_of_gloo", str(folder), *jobs],
            cwd=ROOT,
            env={**os.environ, **address, "RANK": str(rank), "OMP_NUM_THREADS": "1"},
        )
        for rank in range(size)
    ]
    try:
        assert [p.wait(timeout=240) for p in processes] == [0] * size
    finally:
        for p in processes:
            p.kill()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
