"""Finds the newest checkpoint of each running trial, and notices when it is gone.

A deleted checkpoint leaves no trace. So saved steps are remembered here and sent to the study,
which gives them back when a trial is continued.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jamba_ray.checkpoints import CheckpointStore, Snapshot
from jamba_ray.checkpoints.store import Differs, is_anyones

Told = Callable[[int, int], object]
"""Is called for each saved checkpoint with (trial, step)."""


class LatestCheckpoints:
    """Keeps the step of each trial's newest resumable checkpoint and reads it from ``store``.

    ``note`` is called with a sentence for the user when a trial is restored from an older one.
    """

    def __init__(
        self,
        store: CheckpointStore,
        note: Callable[[str], object],
        told: Told = lambda trial, step: None,
    ) -> None:
        self._store, self._note, self._told = store, note, told
        self._saved: dict[int, int] = {}

    def expect(self, trial: int, step: int) -> None:
        """Notes that the study knows of a checkpoint at ``step``; 0: of none."""
        self._saved[trial] = max(step, self._saved.get(trial, 0))

    def saved(self, trial: int, step: int) -> None:
        """Notes that a checkpoint was written, so that its loss is noticed."""
        self._saved[trial] = step
        self._told(trial, step)

    def read(self, trial: int, differs: Differs = is_anyones) -> Snapshot | None:
        """Returns a trial's newest checkpoint that verifies, or None; notes a loss.

        ``differs`` says why a checkpoint is not the trial's own.

        Raises:
            StorageError: The store cannot be read.
        """
        there = [entry.step for entry in self._store.entries(trial) if entry.kind == "step"]
        found, damaged = self._store.latest(trial, differs=differs)
        step = 0 if found is None else found.entry.step
        sentence = went_back(trial, self._saved.get(trial, 0), max(there, default=0), step, damaged)
        if sentence is not None:
            self._note(sentence)
        return None if found is None else found.snapshot


def went_back(trial: int, saved: int, there: int, found: int, damaged: Sequence[str]) -> str | None:
    """Returns a sentence about a trial that continues at step ``found``; None: it lost nothing.

    Args:
        trial: Its number.
        saved: The step of its newest checkpoint that the study knows of; 0: none.
        there: The newest step in the store, whole or not; 0: there is none.
        found: The step of the checkpoint that is used; 0: the trial starts again.
        damaged: A sentence for each newer checkpoint that is damaged or of another run.
    """
    why = list(damaged)
    if there < saved:
        why.insert(0, f"its newest checkpoint (step {saved}) is gone.")
    if not why:
        return None
    redone = max(saved, there) - found
    where = f"goes on from step {found}" if found else "is begun anew"
    again = f"{redone} step{'' if redone == 1 else 's'} of it must be done again"
    return f"trial {trial}: {' '.join(why)} It {where}: {again}."
