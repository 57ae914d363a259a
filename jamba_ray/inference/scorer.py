"""Scores prepared rows with a trained model of any family.

Letters: N rows, F_n / F_c numeric / categorical features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from pydantic import ValidationError
from scipy.special import expit  # type: ignore[import-untyped]
from torch import nn

from jamba_ray.checkpoints import Snapshot
from jamba_ray.config.family import TRAINERS, ModelSection
from jamba_ray.config.plugin_needs import require_plugins
from jamba_ray.config.run import TrialConfig
from jamba_ray.data import FeatureSchema, LabelRule, Preprocessor
from jamba_ray.data.labels import IN_DOCUMENT
from jamba_ray.errors import CheckpointError, ConfigError, DataError, TrialError
from jamba_ray.estimators.estimator import ESTIMATORS, Columns, Saved, saved_in
from jamba_ray.inference.team import parts_of
from jamba_ray.models import build
from jamba_ray.models.lightgbm import threads_for
from jamba_ray.models.saved_tensors import tensors_like
from jamba_ray.models.tree_text import read_trees

Probabilities = npt.NDArray[np.float64]

_WEIGHTS = "model/"
_TREES = "model.txt"
_BATCH_ROWS = {"cpu": 1024, "cuda": 16384}
"""Rows at a time: on a CPU as many as fit the cache, on a GPU as many as keep it busy."""
_TREE_ROWS = 65_536


class Scorer(Protocol):
    """Computes the probabilities of a threat for prepared rows."""

    def __call__(
        self, x_num: npt.NDArray[np.float32], x_cat: npt.NDArray[np.int64]
    ) -> Probabilities:
        """Returns [N] in [0, 1] for [N, F_n] and [N, F_c], or NaN where the model overflows."""
        ...

    def log_odds(
        self, x_num: npt.NDArray[np.float32], x_cat: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float64]:
        """Returns the log-odds [N] of the probabilities, exact also near 0 and 1."""
        ...


class Network:
    """Scores with a network in evaluation mode, in float32 whatever precision it was trained in."""

    def __init__(self, module: nn.Module, device: str) -> None:
        self._device = torch.device(device)
        self.module = module.to(self._device).eval()

    def __call__(
        self, x_num: npt.NDArray[np.float32], x_cat: npt.NDArray[np.int64]
    ) -> Probabilities:
        """Returns the probabilities [N]; the sigmoid is in float64, so that high scores stay
        distinct."""
        p: Probabilities = expit(self.log_odds(x_num, x_cat))
        return p

    def log_odds(
        self, x_num: npt.NDArray[np.float32], x_cat: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float64]:
        """Returns the network's outputs [N]."""
        size = _BATCH_ROWS.get(self._device.type, 4096)
        logits = np.empty(len(x_num), dtype=np.float64)
        with torch.inference_mode():
            for i in range(0, len(x_num), size):
                numbers = torch.tensor(x_num[i : i + size], device=self._device)
                codes = torch.tensor(x_cat[i : i + size], device=self._device)
                logits[i : i + size] = self.module(numbers, codes).float().cpu().numpy()
        return logits

    def slope(
        self, x_num: npt.NDArray[np.float32], x_cat: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float64]:
        """Returns how the output of each row changes with each numeric feature, [N, F_n]."""
        size = _BATCH_ROWS.get(self._device.type, 4096)
        found = np.empty(x_num.shape, dtype=np.float64)
        for i in range(0, len(x_num), size):
            numbers = torch.tensor(x_num[i : i + size], device=self._device, requires_grad=True)
            codes = torch.tensor(x_cat[i : i + size], device=self._device)
            with torch.enable_grad():
                total = self.module(numbers, codes).float().sum()
                (slopes,) = torch.autograd.grad(total, numbers)
            found[i : i + size] = slopes.cpu().numpy()
        return found


class Trees:
    """Scores with LightGBM's trees, read from their text form (no pickle)."""

    def __init__(self, text: bytes, n_features: int) -> None:
        """Raises CheckpointError where the text is not that of a sound model."""
        self._booster = read_trees(text, n_features, _TREES)

    def __call__(
        self, x_num: npt.NDArray[np.float32], x_cat: npt.NDArray[np.int64]
    ) -> Probabilities:
        """Returns the probabilities [N]."""
        return self._asked(x_num, x_cat, ())

    def log_odds(
        self, x_num: npt.NDArray[np.float32], x_cat: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float64]:
        """Returns the sum of the trees [N]."""
        return self._asked(x_num, x_cat, (), raw_score=True)

    def contributions(
        self, x_num: npt.NDArray[np.float32], x_cat: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.float64], float]:
        """Returns what each feature adds to the log-odds [N, F], and the mean that it adds to."""
        width = x_num.shape[1] + x_cat.shape[1] + 1
        found = self._asked(x_num, x_cat, (width,), pred_contrib=True)
        return found[:, :-1], float(found[0, -1]) if len(found) else 0.0

    def _asked(
        self,
        x_num: npt.NDArray[np.float32],
        x_cat: npt.NDArray[np.int64],
        shape: tuple[int, ...],
        **what: bool,
    ) -> npt.NDArray[np.float64]:
        found = np.empty((len(x_num), *shape), dtype=np.float64)
        n_columns = x_num.shape[1] + x_cat.shape[1]
        n_threads = threads_for(len(x_num), n_columns, torch.get_num_threads())
        for i in range(0, len(x_num), _TREE_ROWS):
            some = slice(i, i + _TREE_ROWS)
            matrix = _side_by_side(x_num[some], x_cat[some])
            found[some] = self._booster.predict(matrix, num_threads=n_threads, **what)
        return found


class Estimated:
    """Scores with an estimator, read from the arrays of its checkpoint (no pickle)."""

    def __init__(self, section: ModelSection, schema: FeatureSchema, saved: Saved) -> None:
        """Raises ValueError where ``saved`` is not what the family saves."""
        columns = Columns(len(schema.numeric), schema.cardinalities)
        self._model = ESTIMATORS[section.name](section, columns)
        self._model.load(saved)

    def __call__(
        self, x_num: npt.NDArray[np.float32], x_cat: npt.NDArray[np.int64]
    ) -> Probabilities:
        """Returns the probabilities [N]."""
        return self._in_chunks(self._model.predict_proba, x_num, x_cat)

    def log_odds(
        self, x_num: npt.NDArray[np.float32], x_cat: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float64]:
        """Returns the log-odds [N]."""
        return self._in_chunks(self._model.log_odds, x_num, x_cat)

    def contributions(
        self, x_num: npt.NDArray[np.float32], x_cat: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.float64], float] | None:
        """Returns what each feature adds to the log-odds [N, F] and what it adds to; None: the
        family cannot say it exactly."""
        return self._model.contributions(_side_by_side(x_num, x_cat))

    def _in_chunks(
        self,
        ask: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float64]],
        x_num: npt.NDArray[np.float32],
        x_cat: npt.NDArray[np.int64],
    ) -> npt.NDArray[np.float64]:
        found = np.empty(len(x_num), dtype=np.float64)
        n_columns = x_num.shape[1] + x_cat.shape[1]
        self._model.n_threads = threads_for(len(x_num), n_columns, torch.get_num_threads())
        for i in range(0, len(x_num), _TREE_ROWS):
            some = slice(i, i + _TREE_ROWS)
            found[some] = ask(_side_by_side(x_num[some], x_cat[some]))
        return found


class Team:
    """Scores with the weighted mean of several models' log-odds."""

    def __init__(self, members: Sequence[Scorer], weights: Sequence[float]) -> None:
        self.members, self.weights = tuple(members), tuple(weights)

    def __call__(
        self, x_num: npt.NDArray[np.float32], x_cat: npt.NDArray[np.int64]
    ) -> Probabilities:
        """Returns the probabilities [N]."""
        p: Probabilities = expit(self.log_odds(x_num, x_cat))
        return p

    def log_odds(
        self, x_num: npt.NDArray[np.float32], x_cat: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float64]:
        """Returns the weighted mean [N]."""
        total = np.zeros(len(x_num), dtype=np.float64)
        for weight, member in zip(self.weights, self.members, strict=True):
            total += weight * member.log_odds(x_num, x_cat)
        return total


Slope = Callable[[npt.NDArray[np.float32], npt.NDArray[np.int64]], npt.NDArray[np.float64]]
"""(x_num [N, F_n], x_cat [N, F_c]) -> how the log-odds change with each number, [N, F_n]."""


def slope_of(score: Scorer) -> Slope | None:
    """Returns the slope of a network, or of those in a team; None: no model has one."""
    if isinstance(score, Network):
        return score.slope
    if not isinstance(score, Team):
        return None
    found = [
        (weight, slope)
        for weight, member in zip(score.weights, score.members, strict=True)
        if (slope := slope_of(member)) is not None
    ]
    if not found:
        return None
    return lambda x_num, x_cat: np.sum([w * slope(x_num, x_cat) for w, slope in found], axis=0)


def _side_by_side(
    x_num: npt.NDArray[np.float32], x_cat: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    return np.concatenate([x_num, x_cat.astype(np.float32)], axis=1)


def scorer_of(
    snapshot: Snapshot, config: TrialConfig, schema: FeatureSchema, device: str = "cpu"
) -> Scorer:
    """Returns the model in ``snapshot`` (its best weights so far), ready to score.

    Raises:
        CheckpointError: The snapshot lacks the model, or its model does not match ``config``.
    """
    if parts := parts_of(snapshot):
        members = [scorer_of(p.snapshot, config_of(p.snapshot), schema, device) for p in parts]
        return Team(members, [p.weight for p in parts])
    trainer = TRAINERS[config.model.name]
    if trainer == "boosting":
        if _TREES not in snapshot.blobs:
            raise CheckpointError(
                f"The checkpoint must hold `{_TREES}`, but does not. Use another."
            )
        return Trees(snapshot.blobs[_TREES], schema.input_dim)
    if trainer == "estimator":
        try:
            saved = saved_in(snapshot.tensors, snapshot.documents)
            return Estimated(config.model, schema, saved)
        except ValueError as error:
            raise CheckpointError(
                f"The checkpoint's model is no {config.model.name} ({error}). Use another "
                "checkpoint."
            ) from error
    try:
        module = build(config.model, schema, seed=0)
        module.load_state_dict(
            tensors_like(module.state_dict(), snapshot.tensors, _WEIGHTS), strict=True
        )
    except (ValueError, RuntimeError, ConfigError) as error:
        raise CheckpointError(
            f"The checkpoint's weights must fit its configuration ({config.model.name}), but do "
            f"not: {' '.join(str(error).split())} Load it with the version that wrote it."
        ) from error
    return Network(module, device)


def config_of(snapshot: Snapshot) -> TrialConfig:
    """Returns the trial's configuration.

    Raises:
        CheckpointError: If it is missing, or of a version that this one does not understand.
        ConfigError: It needs a plug-in that is not imported.
    """
    written = document(snapshot, "config")
    require_plugins(written)
    try:
        return TrialConfig.model_validate(written)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "config"
        raise CheckpointError(
            f"The checkpoint's configuration is not understood (`{where}`: {first['msg']}). "
            "Load it with the version of jamba_ray that wrote it."
        ) from error


def preprocessing_of(snapshot: Snapshot) -> Preprocessor:
    """Returns the preprocessor that converts the user's columns into the model's.

    Raises:
        CheckpointError: If it is missing, or of a version that this one does not understand.
    """
    try:
        return Preprocessor.from_json(document(snapshot, "preprocessing"))
    except (DataError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"The checkpoint's preprocessing is not understood ({error}). "
            "Load it with the version of jamba_ray that wrote it."
        ) from error


def label_rule_of(snapshot: Snapshot) -> LabelRule | None:
    """Returns the rule that read the labels of training; None: the labels were 0 and 1.

    Raises:
        CheckpointError: If the rule is of a version that this one does not understand.
    """
    found = document(snapshot, "preprocessing").get(IN_DOCUMENT)
    try:
        return None if found is None else LabelRule.from_json(found)
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"The checkpoint's rule for labels is not understood ({error}). "
            "Load it with the version of jamba_ray that wrote it."
        ) from error


def document(snapshot: Snapshot, name: str) -> dict[str, Any]:
    """Returns one JSON object of the snapshot; raises CheckpointError if there is none."""
    value = snapshot.documents.get(name)
    if not isinstance(value, dict):
        raise CheckpointError(
            f"The checkpoint must hold `{name}.json`, but does not. Use one written by jamba_ray."
        )
    return value


def checked(p: Probabilities) -> Probabilities:
    """Returns ``p`` if all of it is finite, so that no caller ever sees NaN.

    Raises:
        TrialError: Some are not finite; the message says how many.
    """
    bad = int(np.count_nonzero(~np.isfinite(p)))
    if bad:
        raise TrialError(
            f"The model must give finite probabilities, but {bad} of {len(p)} are not: it diverged "
            "in training. Use another checkpoint."
        )
    return p
