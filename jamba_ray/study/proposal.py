"""Proposes the parameters of the next trial before that trial is created.

Optuna's ``study.ask`` creates a trial first and writes each parameter in a commit of its own. Here
the parameters are drawn for a trial that does not exist yet, so that a duplicate can be drawn again
and the trial is created whole, in one commit: a crash never leaves half a suggestion.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Protocol

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from jamba_ray.config.space import (
    CategoricalLeaf,
    FloatLeaf,
    IntLeaf,
    Params,
    Scalar,
    SearchSpace,
)

NO_TRIAL = -1
"""Storage id of the trial that does not exist yet."""


class Suggests(Protocol):
    """Declares the part of ``optuna.trial.BaseTrial`` that ``suggest`` needs."""

    def suggest(self, path: str, distribution: BaseDistribution) -> Scalar:
        """Returns a value for ``path``."""
        ...


def suggest(trial: Suggests, space: SearchSpace) -> Params:
    """Returns a value for each parameter that exists, given the values of those before it."""
    params: Params = {}
    for parameter in space.parameters:
        if parameter.exists(params, space.base):
            params[parameter.path] = trial.suggest(parameter.path, distribution(parameter.leaf))
    return params


def distribution(leaf: FloatLeaf | IntLeaf | CategoricalLeaf) -> BaseDistribution:
    """Returns the Optuna distribution of a leaf; ``high`` is lowered to a multiple of ``step``."""
    if isinstance(leaf, CategoricalLeaf):
        return CategoricalDistribution(leaf.choices)
    if isinstance(leaf, IntLeaf):
        high = leaf.high - (leaf.high - leaf.low) % leaf.step
        return IntDistribution(leaf.low, high, log=leaf.log, step=leaf.step)
    if leaf.step is None:
        return FloatDistribution(leaf.low, leaf.high, log=leaf.log)
    # In decimals, as Optuna does it: 0.3 is three steps of 0.1.
    low, high_, step = (Decimal(str(x)) for x in (leaf.low, leaf.high, leaf.step))
    return FloatDistribution(leaf.low, float(high_ - (high_ - low) % step), step=leaf.step)


def contains(distribution: BaseDistribution, value: Scalar) -> bool:
    """Says whether ``value`` may be drawn from ``distribution``."""
    try:
        create_trial(value=0.0, params={"x": value}, distributions={"x": distribution})
    except (TypeError, ValueError):
        return False
    return True


def distributions(space: SearchSpace, params: Mapping[str, Scalar]) -> dict[str, BaseDistribution]:
    """Returns the distributions of the parameters in ``params``."""
    return {p.path: distribution(p.leaf) for p in space.parameters if p.path in params}


def propose(
    study: optuna.Study,
    sampler: BaseSampler,
    space: SearchSpace,
    number: int,
    fixed: Mapping[str, Scalar] | None = None,
) -> Params:
    """Returns parameters for trial ``number``; ``fixed`` ones are taken as given.

    ``study`` must be a ``StudyView``: the TPE and GP samplers write notes to the trial, which does
    not exist yet.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return suggest(_Proposal(study, sampler, _phantom(number), fixed or {}), space)


def whole_trial(
    params: Params,
    space: SearchSpace,
    user_attrs: Mapping[str, Any],
    started: Any,
    notes: Mapping[str, Any] | None = None,
) -> FrozenTrial:
    """Returns a RUNNING trial with all its parameters and the ``notes`` of its sampler, to be
    created in one commit."""
    return FrozenTrial(
        number=NO_TRIAL,
        trial_id=NO_TRIAL,
        state=TrialState.RUNNING,
        value=None,
        values=None,
        datetime_start=started,
        datetime_complete=None,
        params=dict(params),
        distributions=distributions(space, params),
        user_attrs=dict(user_attrs),
        system_attrs=dict(notes or {}),
        intermediate_values={},
    )


class _Proposal:
    """Draws as ``optuna.trial.Trial._suggest`` does, but writes nothing."""

    def __init__(
        self,
        study: optuna.Study,
        sampler: BaseSampler,
        trial: FrozenTrial,
        fixed: Mapping[str, Scalar],
    ) -> None:
        self._study, self._sampler, self._trial, self._fixed = study, sampler, trial, fixed
        self._space = sampler.infer_relative_search_space(study, trial)
        self._relative = sampler.sample_relative(study, trial, self._space)

    def suggest(self, path: str, distribution: BaseDistribution) -> Scalar:
        if path in self._fixed:
            return self._fixed[path]
        if distribution.single():
            return _only_value(distribution)
        if path in self._relative and self._space.get(path) == distribution:
            value: Scalar = self._relative[path]
            return value
        drawn: Scalar = self._sampler.sample_independent(
            self._study, self._trial, path, distribution
        )
        return drawn


def _phantom(number: int) -> FrozenTrial:
    return FrozenTrial(
        number=number,
        trial_id=NO_TRIAL,
        state=TrialState.RUNNING,
        value=None,
        values=None,
        datetime_start=None,
        datetime_complete=None,
        params={},
        distributions={},
        user_attrs={},
        system_attrs={},
        intermediate_values={},
    )


def _only_value(distribution: BaseDistribution) -> Scalar:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[0]
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return distribution.low
