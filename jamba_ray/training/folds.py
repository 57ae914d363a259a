"""Trains further folds of one trial, each on its own rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jamba_ray.data.prepared import PreparedData
from jamba_ray.training.fold_engine import stackable
from jamba_ray.training.member import Decision, Member, Outcome, Reporter

Fit = Callable[..., list[Outcome]]
"""``training.fit``, or its replacement."""
_APART = 104_729
"""Between the seeds of folds: more than a sweep has trials nearby."""

Finished = Callable[[int, Outcome], Decision]
"""Is called with (fold, outcome) of each fold that has ended; other than ``continue`` ends all."""


def member_of_fold(member: Member, fold: int) -> Member:
    """Returns a trial as its fold ``fold`` (from 1) is trained: numbered by it, with a seed of its
    own, so that the spread over folds has that of seeds in it."""
    seed = (member.config.seed + _APART * (fold - 1)) % 2**31
    return Member(fold, member.config.model_copy(update={"seed": seed}))


def held_share(folds: Sequence[PreparedData]) -> float:
    """Returns the held-out rows for each training row, as a mean over folds."""
    return sum(len(one.val) / len(one.train) for one in folds) / len(folds)


def fit_folds(
    members: Sequence[Member],
    folds: Sequence[PreparedData],
    report: Reporter,
    finished: Finished,
    *,
    fit: Fit,
    together: bool,
    device: str,
) -> Decision:
    """Trains a trial's folds and returns how that ended: ``continue`` where all were trained.

    Args:
        members: Numbered by fold from 1.
        folds: All folds of the rows.
        report: Answers each report; other than ``continue`` ends all.
        finished: Called as soon as a fold has ended.
        fit: Trains.
        together: Whether ``fit`` takes ``folds``, so that networks train them as one stack.
        device: Where to train.
    """
    of = {member.trial: folds[member.trial - 1] for member in members}
    decisions: list[Decision] = []

    def note(outcome: Outcome) -> None:
        decisions.append(finished(outcome.trial, outcome))

    for stack in stackable(members, of) if together else [[member] for member in members]:
        if len(stack) > 1:
            fit(stack, of[stack[0].trial], report, device=device, folds=of, finish=note)
        else:
            for outcome in fit(stack, of[stack[0].trial], report, device=device):
                note(outcome)
        if ended := [decision for decision in decisions if decision != "continue"]:
            return ended[0]
    return "continue"
