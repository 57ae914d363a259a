"""Defines what training receives and returns: members, reports, decisions, outcomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from jamba_ray.checkpoints.snapshot import Snapshot
from jamba_ray.config.run import TrialConfig
from jamba_ray.config.section import Section, is_stackable

Decision: TypeAlias = Literal["continue", "prune", "stop"]
"""``prune``: the pruner says no. ``stop``: budget or interrupt; end now, the best is the result."""

State: TypeAlias = Literal["complete", "pruned", "failed", "stopped"]

KEPT: frozenset[State] = frozenset({"complete", "stopped"})
"""Ends after which the best weights are judged and kept. A pruned member leaves at once: its last
report says what there is to say, and to judge all rows would cost a sweep 5 % of its time."""


@dataclass(frozen=True)
class Member:
    """Describes one trial in a stack."""

    trial: int
    """Trial number: names things, decides nothing (the seed is in ``config``)."""
    config: TrialConfig
    """Members of one call share its structure (all fields but the stackable ones)."""
    keeps_last: bool = False
    """Whether the last report's model is kept and not the best one's: the length was chosen
    elsewhere."""


@dataclass(frozen=True)
class Report:
    """Describes a member at a report."""

    trial: int
    step: int
    """Counts this trial's reports from 1, consecutive, also across a resume."""
    rows_seen: int
    """Training rows used so far; ASHA's resource."""
    epoch: float
    """``rows_seen`` / training rows."""
    seconds: float
    """Wall time of training so far, over all attempts, as saved in snapshots."""
    metrics: dict[str, float]
    """``train/loss`` (mean since the last report), ``val/loss`` (plain log loss) and
    ``val/<objective>``, the latter two on the validation sample; full precision."""
    goodput_s: float
    """Seconds in forward, backward and optimizer so far. Members of a stack share a step's time
    equally, so that the sum over trials is the time of the runner."""


@dataclass(frozen=True)
class Outcome:
    """Says how a member ended."""

    trial: int
    state: State
    reason: str | None
    """One sentence for ``failed``; for ``complete`` only where patience ran out."""
    value: float | None
    """The objective on all validation rows with the best step's weights; None unless kept."""
    metrics: dict[str, float]
    """``val/<metric>`` on all validation rows with the best step's weights; empty unless kept."""
    best_step: int
    """The report with the best objective on the validation sample; 0 if failed before any."""
    rows_seen: int
    epochs: float
    seconds: float
    goodput_s: float
    checkpoint: Snapshot | None
    """Best weights (``model/...``) and all that is needed to go on; None unless kept."""


Reporter: TypeAlias = Callable[[Sequence[Report]], Sequence[Decision]]
"""Called with one report per live member at each report boundary; answers in the same order."""

Save: TypeAlias = Callable[[int, Snapshot], None]
"""Called with (trial, resumable snapshot) after the report of the same step was answered."""


Join: TypeAlias = Callable[[], "Sequence[tuple[Member, Snapshot | None]]"]
"""Asked at a report boundary for members of the same structure to let in, each with the snapshot
to go on from."""

Urgent: TypeAlias = Callable[[], bool]
"""Asked every 64 batches between reports; True: save now, not at the next report."""

Finish: TypeAlias = Callable[[Outcome], None]
"""Called the moment a member has its outcome, while its neighbours may train on for long."""


def ending(
    decision: Decision, is_end: bool, stale: int, patience: int
) -> tuple[State, str | None] | None:
    """Decides how a member ends after a report that was answered with ``decision``; None: it
    continues.

    Patience goes before ``stop``: a trial that it ends is over, there is nothing left to resume.
    """
    if decision == "prune":
        return "pruned", None
    if is_end:
        return "complete", None
    if 0 < patience <= stale:
        return "complete", f"No improvement in {stale} reports (patience)."
    if decision == "stop":
        return "stopped", None
    return None


def structure_of(config: TrialConfig) -> dict[str, Any]:
    """Returns all structural fields as JSON values: trials that have them in common can train as
    one stack."""
    return _structural(config)


def common_structure(members: Sequence[Member]) -> None:
    """Checks that the members can be one stack.

    Raises:
        ValueError: No member, a trial number twice, or structures that differ.
    """
    if not members:
        raise ValueError("`members` must hold at least one trial, but is empty")
    numbers = [member.trial for member in members]
    if len(set(numbers)) != len(numbers):
        raise ValueError(f"`members` must hold each trial once, but holds {numbers}")
    first = structure_of(members[0].config)
    for member in members[1:]:
        if (other := structure_of(member.config)) != first:
            raise ValueError(
                f"members of one stack must share the structure, but trials {members[0].trial} and "
                f"{member.trial} differ in {', '.join(_differences(first, other))}; "
                "train them in two calls"
            )


def _structural(section: Section) -> dict[str, Any]:
    dumped = section.model_dump(mode="json")
    return {
        name: _structural(value)
        if isinstance(value := getattr(section, name), Section)
        else dumped[name]
        for name, field in type(section).model_fields.items()
        if not is_stackable(field)
    }


def _differences(a: Mapping[str, Any], b: Mapping[str, Any], prefix: str = "") -> list[str]:
    paths = []
    for name in sorted(a.keys() | b.keys()):
        left, right = a.get(name), b.get(name)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            paths += _differences(left, right, f"{prefix}{name}.")
        elif left != right:
            paths.append(f"`{prefix}{name}`")
    return paths
