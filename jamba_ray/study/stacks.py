"""Limits the size of stacks, so that training many trials at a time costs the search no quality.

A stack trains trials of one structure. The sampler chooses the first trial, which fixes the
structural parameters; the other parameters of the stack's trials are sampled as usual. Running
trials before their first rung count as bad (constant liar), so that they spread; later ones
count with what they reported (``study.sampler_history``). The limits keep the sampler supplied
with results:

- One runner trains at most a sixteenth of the study's trials at a time, and all runners together
  an eighth of those begun so far. So stacks grow with the sweep. On CPUs a sweep begins trial by
  trial; on a GPU, where several trials take as long as one, with as many as the sampler has
  startup trials, which are drawn without a look at results.
- Where there are structures to choose from, the first stacks explore them: as many stacks as the
  sampler has startup trials, each of a structure that was not tried while there is one, and of
  at most a sixteenth of the trials. Later stacks have the structure that the sampler chooses and
  at most an eighth of the trials, trials that joined late included.

At equal budget this finds what training trial by trial finds; stacks that do not grow need up to a
sixth more reports, and without exploration they find less (``tests/benchmarks/stack_quality.md``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from jamba_ray.config.space import SearchSpace
from jamba_ray.study.records import Packing, Paying

if TYPE_CHECKING:
    import optuna

_AT_A_TIME = 16
OVER_ALL = 8
"""One in this many begun trials may train at a time, over all runners."""
_SHARE = 8
_EXPLORING = 16
_LARGEST = 64
_TRAINED = 0.5


def most_at_a_time(
    trials_per_runner: int | Literal["auto"], n_trials: int, runners: int, *, stackable: bool
) -> int:
    """Returns how many trials one runner may train at a time; a number set by the user is kept."""
    if not stackable:
        return 1
    if trials_per_runner != "auto":
        return trials_per_runner
    return max(1, min(_LARGEST, n_trials // max(_AT_A_TIME, OVER_ALL * runners)))


def at_a_time_now(size: int, n_begun: int, runners: int, begin_with: int | None) -> int:
    """Returns how many trials a runner may train at a time after ``n_begun`` trials were begun.

    Args:
        size: Trials that it trains at a time in the end.
        begin_with: Trials of all runners when the study begins; None: as many as in the end.
    """
    if begin_with is None:
        return size
    return max(1, min(size, max(begin_with, n_begun // OVER_ALL) // runners))


def trials_in_stack(space: SearchSpace, n_trials: int, size: int, *, exploring: bool) -> int:
    """Returns how many trials a stack may have in all, if ``size`` of them train at a time."""
    if not has_structures(space):
        return n_trials
    if size > max(1, n_trials // _SHARE):
        return size  # a size that the user set
    return max(1, n_trials // (_EXPLORING if exploring else _SHARE))


def has_structures(space: SearchSpace) -> bool:
    """Says whether trials may differ in structure."""
    return not all(parameter.stackable for parameter in space.parameters)


def steps_to_come(
    space: SearchSpace, n_trials: int, n_batches: int, runners: int, size: int, *, pruned: bool
) -> int:
    """Returns the optimizer steps that a runner can expect in the whole sweep for one structure.

    Shapes are taken to be equally frequent, and as many as there are trials where a structural
    parameter is continuous. Successive halving trains about half of what all trials would take
    (``tests/benchmarks/stack_quality.md``).

    Args:
        n_batches: Batches of a trial that runs to its end.
        size: Trials at a time, which share a step.
        pruned: Whether trials are ended early.
    """
    structural = tuple(p for p in space.parameters if not p.stackable)
    n_structures = SearchSpace(parameters=structural, base=space.base).n_combinations() or n_trials
    trials = n_trials / min(n_structures, n_trials)
    return round(trials * n_batches * (_TRAINED if pruned else 1.0) / (runners * size))


def chosen(
    found: Paying, space: SearchSpace, n_trials: int, runners: int, *, pruned: bool
) -> Packing:
    """Chooses how a structure is trained from a runner's measurements: compiled if the steps
    repay it.

    The other arguments are those of ``steps_to_come``.
    """

    def of(size: int) -> Packing:
        steps = steps_to_come(space, n_trials, found.n_batches, runners, size, pruned=pruned)
        return Packing(size, steps)

    if found.compiled is not None and repays_compiling(found, few := of(found.compiled[0])):
        return few
    return of(found.size)


def repays_compiling(found: Paying, packing: Packing) -> bool:
    """Says whether the expected steps with ``packing`` repay the time of compiling it."""
    return found.compiled is not None and packing.steps >= found.compiled[1]


def packing(study: optuna.Study, structure: str) -> Packing | None:
    """Returns the measured packing of a structure; None: no runner has measured it yet."""
    known = study.user_attrs.get("packing", {}).get(structure)
    return None if known is None else Packing(int(known["size"]), int(known["steps"]))


def keep_packing(
    study: optuna.Study, structure: str, found: Packing, rows_per_s: Mapping[str, float]
) -> None:
    """Stores a runner's measurement in the study, unless another runner's is stored already."""
    known = study.user_attrs.get("packing", {})
    if structure not in known:
        entry = {"size": found.size, "steps": found.steps, "rows_per_s": dict(rows_per_s)}
        study.set_user_attr("packing", {**known, structure: entry})
