"""A process that trains one trial with checkpoints on disk, and may be killed on the way.

    python -m tests.equivalence.killed_trial STORE RESULT[:BATCH] ...

Each attempt is a process, forked once torch is imported, and continues from the store's newest
checkpoint. Before batch BATCH of its own it gets a real SIGKILL. At the end RESULT holds the curve
and the final arrays. Prints the exit code of each.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import numpy as np
import torch

from jamba_ray.checkpoints import CheckpointStore
from jamba_ray.training import fit
from jamba_ray.training.engine import Engine
from tests.training.trials import Recorder, make_data, member

DROPOUT = {"name": "mlp", "hidden_dim": 16, "token_dim": 4, "dropout_rate": 0.2}


def main(store_path: str, result: str, die_before: int | None) -> None:
    torch.set_num_threads(1)
    store, trial = CheckpointStore(Path(store_path)), member(5, DROPOUT, epochs=6)
    if die_before is not None:
        die_at(die_before)
    loaded, warnings = store.latest(5)
    assert warnings == []
    recorder = Recorder()
    (outcome,) = fit(
        [trial],
        make_data(),
        recorder,
        save=lambda t, s: store.save(t, s.documents["state"]["step"], s),
        resume={} if loaded is None else {5: loaded.snapshot},
    )
    assert outcome.checkpoint is not None
    steps = np.array([r.step for r in recorder.reports])
    curve = np.array([[*r.metrics.values()] for r in recorder.reports])
    np.savez(result, steps=steps, curve=curve, **outcome.checkpoint.tensors)


def die_at(batch: int) -> None:
    left, true = [batch], Engine._train_batch

    def train_batch(self, *arguments):
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        return true(self, *arguments)

    Engine._train_batch = train_batch  # type: ignore[method-assign]


if __name__ == "__main__":
    for attempt in sys.argv[2:]:
        name, _, batch = attempt.partition(":")
        if not (child := os.fork()):
            main(sys.argv[1], name, int(batch) if batch else None)
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
