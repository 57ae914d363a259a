"""Decides which checkpoints a sweep may delete, by a pure function over the whole sweep."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from jamba_ray.checkpoints.manifest import Kind


@dataclass(frozen=True, order=True)
class Entry:
    """Names a checkpoint in the store by its folder's name (not verified)."""

    trial: int
    step: int
    kind: Kind
    path: str
    """Relative to the store, with '/'."""


def deletable(
    entries: Iterable[Entry],
    best: Collection[int],
    finished: Collection[int],
    newest: int = 2,
) -> list[Entry]:
    """Returns the checkpoints to delete; best results and running trials' progress stay.

    * A trial not in ``finished`` is running (or waits to be resumed): its ``newest`` step
      checkpoints stay. Two, so that an older one is left if the newest is damaged. A trial
      that began since the caller looked is safe, because it is in neither list.
    * A trial in ``best`` that is finished keeps its newest ``best`` checkpoint; if it has none
      (killed before it was written), its ``newest`` step checkpoints.
    * Models of folds stay with a trial that is running or in ``best``.
    * Of other finished trials nothing stays.
    """
    if newest < 1:
        raise ValueError(f"`newest` must be at least 1, but is {newest}. Take 2")
    by_trial: dict[int, list[Entry]] = defaultdict(list)
    for entry in sorted(entries):
        by_trial[entry.trial].append(entry)
    doomed = []
    for trial, own in by_trial.items():
        results = [e for e in own if e.kind == "best"][-1:]
        steps = [e for e in own if e.kind == "step"][-newest:]
        folds = [e for e in own if e.kind == "fold"]
        if trial not in finished:
            kept = results + steps + folds
        elif trial in best:
            kept = (results or steps) + folds
        else:
            kept = []
        doomed += [e for e in own if e not in kept]
    return doomed
