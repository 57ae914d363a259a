"""How large stacks may be, so that training many trials at a time costs the search no quality.

A stack trains trials of one shape. Its first trial is the sampler's choice as ever; that fixes the
structural parameters, and the companions' other parameters are sampled like any trial's. Running
trials that no rung has judged yet count as bad (constant liar), so that they spread; the others
count with what they reported (``study.sampler_history``). What would starve the sampler is bounded:

- At most a sixteenth of the study's trials train at a time in one runner, and an eighth in all of
  those begun so far: the others are proposed from results. So stacks grow with the sweep. On CPUs
  it begins trial by trial; on a GPU, where several take as long as one, with as many as the sampler
  has startup trials, which are drawn without a look at results.
- Where there are shapes to choose from, the first stacks explore them: as many as the sampler has
  startup trials, each of a shape that was not tried while there is one, and of at most a sixteenth
  of the trials. Later ones are of the shape that the sampler chooses and have at most an eighth,
  trials that joined late included.

At equal budget this finds what trial by trial finds; stacks that do not grow pay up to a sixth more
reports, and without exploration they find less (``tests/benchmarks/stack_quality.md``).
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
"""One in so many trials begun may train, over all runners."""
_SHARE = 8
_EXPLORING = 16
_LARGEST = 64
_TRAINED = 0.5


def most_at_a_time(
    trials_per_runner: int | Literal["auto"], n_trials: int, runners: int, *, stackable: bool
) -> int:
    """Trials that one runner may train at a time; what was asked for is done."""
    if not stackable:
        return 1
    if trials_per_runner != "auto":
        return trials_per_runner
    return max(1, min(_LARGEST, n_trials // max(_AT_A_TIME, OVER_ALL * runners)))


def at_a_time_now(size: int, n_begun: int, runners: int, begin_with: int | None) -> int:
    """Trials that a runner may train at a time after so many of the study were begun.

    Args:
        size: Trials that it trains at a time in the end.
        begin_with: Trials of all runners when the study begins; None: as many as in the end.
    """
    if begin_with is None:
        return size
    return max(1, min(size, max(begin_with, n_begun // OVER_ALL) // runners))


def trials_in_stack(space: SearchSpace, n_trials: int, size: int, *, exploring: bool) -> int:
    """Trials that a stack of ``size`` at a time may have in all."""
    if not has_shapes(space):
        return n_trials
    if size > max(1, n_trials // _SHARE):
        return size  # as was asked for
    return max(1, n_trials // (_EXPLORING if exploring else _SHARE))


def has_shapes(space: SearchSpace) -> bool:
    """Whether trials may differ in shape."""
    return not all(parameter.stackable for parameter in space.parameters)


def steps_to_come(
    space: SearchSpace, n_trials: int, n_batches: int, runners: int, size: int, *, pruned: bool
) -> int:
    """Optimizer steps that a runner can expect to make with trials of one shape in the whole sweep.

    Shapes are taken to be equally frequent, and as many as there are trials where a structural
    parameter is continuous. Successive halving trains about half of what all trials would take
    (57 % of 128 trials over 16 reports, 2026-11-25).

    Args:
        n_batches: Batches of a trial that runs to its end.
        size: Trials at a time, which share a step.
        pruned: Whether trials are ended early.
    """
    structural = tuple(p for p in space.parameters if not p.stackable)
    n_shapes = SearchSpace(parameters=structural, base=space.base).n_combinations() or n_trials
    trials = n_trials / min(n_shapes, n_trials)
    return round(trials * n_batches * (_TRAINED if pruned else 1.0) / (runners * size))


def chosen(
    found: Paying, space: SearchSpace, n_trials: int, runners: int, *, pruned: bool
) -> Packing:
    """How a shape is trained, given what a runner found: compiled where the steps to come repay it.

    Args: see ``steps_to_come``.
    """

    def of(size: int) -> Packing:
        steps = steps_to_come(space, n_trials, found.n_batches, runners, size, pruned=pruned)
        return Packing(size, steps)

    if found.compiled is not None and repays_compiling(found, few := of(found.compiled[0])):
        return few
    return of(found.size)


def repays_compiling(found: Paying, packing: Packing) -> bool:
    """Whether the steps to come with ``packing`` repay compiling it."""
    return found.compiled is not None and packing.steps >= found.compiled[1]


def packing(study: optuna.Study, shape: str) -> Packing | None:
    """What a runner found to pay for a shape; None: none has measured yet."""
    known = study.user_attrs.get("packing", {}).get(shape)
    return None if known is None else Packing(int(known["size"]), int(known["steps"]))


def keep_packing(
    study: optuna.Study, shape: str, found: Packing, rows_per_s: Mapping[str, float]
) -> None:
    """Keep in the study what a runner measured, unless another one was first."""
    known = study.user_attrs.get("packing", {})
    if shape not in known:
        entry = {"size": found.size, "steps": found.steps, "rows_per_s": dict(rows_per_s)}
        study.set_user_attr("packing", {**known, shape: entry})
