"""Offers ``fit``, the only entry to training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jamba_ray.checkpoints.snapshot import Snapshot
from jamba_ray.config.family import TRAINERS, stacks, trains_alone
from jamba_ray.data.prepared import PreparedData
from jamba_ray.training.engine import Engine
from jamba_ray.training.fold_engine import FoldEngine
from jamba_ray.training.member import (
    Finish,
    Join,
    Member,
    Outcome,
    Reporter,
    Save,
    Urgent,
    common_structure,
)
from jamba_ray.training.ranks import ALONE, Ranks


def fit(
    members: Sequence[Member],
    data: PreparedData,
    report: Reporter,
    *,
    device: str = "cpu",
    save: Save | None = None,
    finish: Finish | None = None,
    join: Join | None = None,
    resume: Mapping[int, Snapshot] | None = None,
    ranks: Ranks = ALONE,
    urgent: Urgent | None = None,
    steps_to_come: int | None = None,
    at_a_time: int = 0,
    folds: Mapping[int, PreparedData] | None = None,
) -> list[Outcome]:
    """Trains members of one structure, together where they are networks.

    Args:
        members: At least one; they share all structural fields.
        data: Rows and schema; read, never written.
        report: Asked at each report boundary what each live member shall do.
        device: ``cpu``, ``cuda``, ``cuda:1`` ...
        save: Given a resumable snapshot of each member that goes on or was stopped, after its
            report. A crash in between makes the resumed member report that step again, with the
            same values.
        finish: Given each outcome when its member ends, before ``fit`` returns them all.
        join: Asked for more members whenever some go on from a report. They train with the
            others, each at its own position.
        resume: Snapshots by trial from which to go on instead of from the start.
        ranks: The processes that train these members together, each calling this with equal
            arguments; members then train one by one. Rank 0 alone reports, saves and finishes.
        urgent: Asked every so many batches whether to ``save`` all members at once, between two
            reports. What is no network does not ask.
        steps_to_come: Optimizer steps that members of this structure are expected to take in this
            process, in this call and later ones: whether compiling is repaid. None: those of one
            trial.
        at_a_time: Members that will train at a time, those included that join: what is compiled is
            made for so many. Fewer than there are: those there are.
        folds: The rows of each member by its number, in place of ``data``: folds of one trial, of
            one shape (``fold_engine.stackable``). They neither join nor resume.

    Returns:
        One outcome per member, in order; those that joined come last.

    Raises:
        ValueError: The members cannot be one stack, or are no networks and more than one.
        ConfigError: The model does not fit the data.
        CheckpointError: A snapshot in ``resume`` is of another configuration or other data.
        TrialError: The model raised in a trial that trains alone. In a stack its members end as
            ``failed`` instead, so that the outcomes of those that left before are not lost; with
            ``finish``, which told those, it is raised of a stack too.
    """
    common_structure(members)
    if folds is not None:
        found = FoldEngine(members, folds, report, device, finish, urgent).run()
        return [found[member.trial] for member in members]
    if trains_alone(family := members[0].config.model.name):
        if len(members) > 1:
            raise ValueError(
                f"`{family}` does not stack: `members` must hold one trial, but holds "
                f"{len(members)}; train them in calls of their own"
            )
        outcome = _fit_alone(members[0], data, report, save, resume)
        if finish is not None:
            finish(outcome)
        return [outcome]
    # A member of several processes trains alone: its ranks share its batches instead.
    together = ranks.size == 1 and stacks(family)
    outcomes: dict[int, Outcome] = {}
    for stack in [members] if together else [[member] for member in members]:
        engine = Engine(
            stack,
            data,
            report,
            device,
            save,
            finish,
            join,
            resume or {},
            ranks,
            urgent,
            steps_to_come,
            at_a_time,
        )
        outcomes |= engine.run()
    return [*(outcomes.pop(member.trial) for member in members), *outcomes.values()]


def _fit_alone(
    member: Member,
    data: PreparedData,
    report: Reporter,
    save: Save | None,
    resume: Mapping[int, Snapshot] | None,
) -> Outcome:
    """Trains what is no network; LightGBM takes half a second to import, which networks need not
    pay."""
    if TRAINERS[member.config.model.name] == "boosting":
        from jamba_ray.training.boosting import fit_boosting

        return fit_boosting(member, data, report, save=save, resume=resume)
    from jamba_ray.training.estimator_trial import fit_estimator

    return fit_estimator(member, data, report, resume=resume)
