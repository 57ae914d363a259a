"""Trains configurations again with further seeds, and keeps each model in the run."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from jamba_ray.checkpoints import Snapshot, read_checkpoint, write_checkpoint
from jamba_ray.config.family import trains_alone
from jamba_ray.config.run import TrialConfig
from jamba_ray.data.prepared import PreparedData
from jamba_ray.errors import CheckpointError, ConfigError, TrialError
from jamba_ray.runs.file_writes import write_json
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.training import Decision, Member, Outcome, Report, fit, structure_of
from jamba_ray.training.snapshot_io import differences, to_use

_STATE = "state.json"
_FIRST_SEED = 2**30
"""Added to the sweep's seed: no trial has these."""
_SLOWER, _LEAST_S = 3.0, 60.0
"""Training ends after so many times what the search took, and so many seconds: the search had
other machines (GPUs)."""

_TOO_SLOW = f"on this machine it takes more than {_SLOWER:g} times as long as in the search."


@dataclass(frozen=True)
class Wanted:
    """Names one model that is to be trained."""

    name: str
    """Of the configuration: ``trial-7`` or a family."""
    config: TrialConfig
    """With the seed of the sweep."""
    seed: int
    """Counts the further seeds from 1."""
    seconds: float
    """What the search took for one model of it."""

    @property
    def folder(self) -> str:
        """Returns the name of its folder in the run's ``certify/``."""
        return f"{self.name}-seed-{self.seed}"

    def member(self, number: int) -> Member:
        """Returns it as training takes it."""
        seed = (_FIRST_SEED + self.config.seed + self.seed) % 2**31
        return Member(number, self.config.model_copy(update={"seed": seed}))


class Retraining:
    """Trains further seeds; what was finished before a kill is read and not trained again."""

    def __init__(
        self,
        data: PreparedData,
        folder: RunFolder,
        search_s: float,
        n_trials: int,
        phase: Callable[[str], object] = lambda words: None,
    ) -> None:
        """Continues with what an earlier call kept of a search of ``n_trials`` trials, so that what
        was decided by times is decided alike after a kill.

        ``search_s``: seconds that the search took, as far as this call knows. ``phase`` is called
        with words for what a user waits for.
        """
        self._phase = phase
        self._models: dict[str, Snapshot] = {}
        self._data, self._place = data, folder.certify
        kept = _read(self._place / _STATE)
        same = kept.get("n_trials") == n_trials
        self._state = {
            "n_trials": n_trials,
            "search_s": kept["search_s"] if same else max(search_s, kept.get("search_s", 0.0)),
            "spent_s": kept.get("spent_s", 0.0),
            "plans": kept.get("plans", {}) if same else {},
            "slow": kept.get("slow", []) if same else [],
        }
        self.failures: dict[str, str] = dict.fromkeys(self._state["slow"], _TOO_SLOW)
        """Name of a configuration -> why it could not be trained with another seed."""

    @property
    def search_s(self) -> float:
        """Returns the seconds that the search took."""
        return float(self._state["search_s"])

    @property
    def spent_s(self) -> float:
        """Returns the seconds that finished retrainings took."""
        return float(self._state["spent_s"])

    def plan(self, key: str, decide: Callable[[], int]) -> int:
        """Returns the seeds planned under ``key``, decided and kept at the first call."""
        if key not in self._state["plans"]:
            self._state["plans"][key] = decide()
            self._keep()
        return int(self._state["plans"][key])

    def missing(self, wanted: Sequence[Wanted]) -> list[Wanted]:
        """Returns those that are not trained yet, and can be."""
        return [one for one in wanted if one.name not in self.failures and self.read(one) is None]

    def read(self, one: Wanted) -> Snapshot | None:
        """Returns a finished model; None: there is none, or it is of other settings or rows.

        Each is read and verified once: every look of a comparison asks for it.
        """
        if one.folder not in self._models:
            snapshot = kept_model(self._place / one.folder, one.member(0), self._data)
            if snapshot is None:
                return None
            self._models[one.folder] = snapshot
        return self._models[one.folder]

    def train(self, wanted: Sequence[Wanted]) -> None:
        """Trains what is missing, in stacks where it has one structure.

        With one thread, as a runner does: the time that it takes is then what trials took.

        Raises:
            StorageError: The disk does not take a model.
        """
        if not (missing := self.missing(wanted)):
            return
        names = " and ".join(dict.fromkeys(one.name.replace("-", " ") for one in missing))
        self._phase(f"training {names} with further seeds")
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            self._train(missing)
        finally:
            torch.set_num_threads(threads)

    def _train(self, wanted: Sequence[Wanted]) -> None:
        for stack in _stacks(wanted):
            begun, names = time.monotonic(), dict(enumerate(stack))
            limit_s = seconds_allowed(sum(one.seconds for one in stack))

            def finish(outcome: Outcome, names: dict[int, Wanted] = names) -> None:
                self._finish(names[outcome.trial], outcome)

            def report(
                reports: Sequence[Report], ends: float = begun + limit_s
            ) -> Sequence[Decision]:
                late = time.monotonic() > ends
                return ["stop" if late else "continue"] * len(reports)

            try:
                fit(
                    [one.member(i) for i, one in names.items()],
                    self._data,
                    report,
                    finish=finish,
                    device="cuda" if torch.cuda.is_available() else "cpu",
                )
            except (ConfigError, TrialError) as error:
                for one in stack:
                    self.failures.setdefault(one.name, error.message)
            self._state["spent_s"] += time.monotonic() - begun
            self._keep()

    def _finish(self, one: Wanted, outcome: Outcome) -> None:
        if outcome.state == "stopped":
            self.failures.setdefault(one.name, _TOO_SLOW)
            self._state["slow"] = sorted({*self._state["slow"], one.name})
            return
        if outcome.checkpoint is None:
            self.failures.setdefault(one.name, outcome.reason or "it gave no model")
            return
        write_checkpoint(to_use(outcome.checkpoint), self._place / one.folder)

    def _keep(self) -> None:
        self._place.mkdir(exist_ok=True)
        write_json(self._place / _STATE, self._state)


def _stacks(wanted: Sequence[Wanted]) -> list[list[Wanted]]:
    """Divides what is to be trained into what can train together."""
    stacks: dict[str, list[Wanted]] = {}
    for one in wanted:
        alone = trains_alone(one.config.model.name)
        key = one.folder if alone else json.dumps(structure_of(one.config), sort_keys=True)
        stacks.setdefault(key, []).append(one)
    return list(stacks.values())


def seconds_allowed(seconds: float) -> float:
    """Returns how long training may take here that took ``seconds`` in the search."""
    return max(_SLOWER * seconds, _LEAST_S)


def kept_model(place: Path, member: Member, data: PreparedData) -> Snapshot | None:
    """Returns the model that was kept at ``place`` before a kill; None: there is none, or it is of
    other settings or rows than ``member`` and ``data``."""
    try:
        _, snapshot = read_checkpoint(place)
    except CheckpointError:
        return None
    return None if differences(snapshot, member, data) else snapshot


def trained(member: Member, data: PreparedData, seconds: float = math.inf) -> Snapshot | str:
    """Trains one model with one thread, as a runner does; returns it or why there is none.

    ``seconds``: what the search took for it.
    """
    ends = time.monotonic() + seconds_allowed(seconds)

    def report(reports: Sequence[Report]) -> Sequence[Decision]:
        return ["stop" if time.monotonic() > ends else "continue"] * len(reports)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        (outcome,) = fit([member], data, report, device=device)
    except (ConfigError, TrialError) as error:
        return error.message.rstrip(".")
    finally:
        torch.set_num_threads(threads)
    if outcome.state == "stopped":
        return "on this machine it takes more than three times as long as in the search"
    if outcome.checkpoint is None:
        return (outcome.reason or "it gave no model").rstrip(".")
    return to_use(outcome.checkpoint)


def _read(path: Path) -> dict[str, Any]:
    """Returns the state; empty where there is none, or none that can be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {
            "n_trials": int(found["n_trials"]),
            "search_s": float(found["search_s"]),
            "spent_s": float(found["spent_s"]),
            "plans": {str(key): int(n) for key, n in found["plans"].items()},
            "slow": [str(name) for name in found["slow"]],
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
