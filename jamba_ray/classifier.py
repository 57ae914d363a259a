"""Offers one configuration as a scikit-learn estimator, trained in this process.

scikit-learn is imported here and nowhere else: it is the extra ``jamba-ray[sklearn]``.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

import jamba_ray.models  # noqa: F401  (registers the model families)
from jamba_ray.checkpoints import Snapshot
from jamba_ray.config import plugin_modules
from jamba_ray.config.data import DataSection
from jamba_ray.config.mistakes import validate
from jamba_ray.config.params import flatten, put
from jamba_ray.config.run import TrialConfig
from jamba_ray.config.training_length import batch_of, settled
from jamba_ray.data import PreparedData, prepare_frame
from jamba_ray.data.header import tidy_names
from jamba_ray.errors import ConfigError, DataError, TrialError, UnavailableError
from jamba_ray.inference import Predictor
from jamba_ray.training import Member, fit

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.multiclass import type_of_target
    from sklearn.utils.validation import (
        assert_all_finite,
        check_consistent_length,
        check_is_fitted,
        column_or_1d,
        validate_data,
    )
except ImportError as error:
    raise UnavailableError(
        "`JambaClassifier` needs scikit-learn 1.6 or newer, but it cannot be imported "
        f"({error}). Install it with `pip install 'jamba-ray[sklearn]'`."
    ) from error

_SECTIONS = ("model.", "training.", "data.preprocessing.")
_SINGLE = ("precision", "compile", "objective")


class InputError(DataError, ValueError):
    """Says that rows or labels cannot be used; it is a ValueError, as scikit-learn expects."""


class JambaClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Tells two classes of rows apart, with one of jamba_ray's models and its preprocessing.

    Rows are a DataFrame of numbers, texts and missing cells, or an array. ``classes_[1]``, the
    second in sorted order, is what ``predict_proba(...)[:, 1]`` is the probability of. A share of
    the rows validates: the weights that are kept are those of the best report.

    Args:
        model: Name of the model family: ``attention``, ``mlp``, ``lightgbm``.
        epochs: Passes over the training rows; None: until validation no longer improves.
        learning_rate: None: the default of ``training.learning_rate``.
        batch_size: Rows a step; None: the default of ``training.batch_size``, or less for small
            tables.
        validation_fraction: Share of the rows that validate.
        threshold: ``predict`` gives ``classes_[1]`` from this probability on; ``f1``: from the one
            with the best F1 on the validation rows.
        settings: More settings by their full name, as ``{"model.hidden_dim": 128}``: those of
            ``model``, ``training`` and ``data.preprocessing``, and ``objective``, ``precision`` and
            ``compile``.
        random_state: Seed of the split, the weights and the order of rows.
        plugins: Modules to import first, such as ["mypkg.threats"], whose models, losses and
            metrics may be named.
        n_jobs: Threads for training and scoring; None: 1, -1: one a core.
        device: Where the model is trained and scored; None: a GPU if there is one.

    Attributes:
        classes_: The two labels, sorted.
        predictor_: The ``jamba_ray.Predictor`` behind it.
        threshold_: The probability from which on ``classes_[1]`` is predicted.
    """

    def __init__(
        self,
        model: str = "attention",
        *,
        epochs: float | None = None,
        learning_rate: float | None = None,
        batch_size: int | None = None,
        validation_fraction: float = 0.15,
        threshold: float | Literal["f1"] = 0.5,
        settings: Mapping[str, Any] | None = None,
        plugins: Sequence[str] = (),
        random_state: int | np.random.RandomState | None = 0,
        n_jobs: int | None = None,
        device: str | None = None,
    ) -> None:
        self.model = model
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.validation_fraction = validation_fraction
        self.threshold = threshold
        self.settings = settings
        self.plugins = plugins
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.device = device

    def fit(self, X: Any, y: Any) -> JambaClassifier:
        """Trains on rows ``X`` [N, F] with labels ``y`` [N] of two classes.

        Raises:
            ConfigError: A parameter or a setting is wrong.
            InputError: The rows or labels cannot be used; it is a ValueError.
            TrialError: Training diverged.
        """
        plugin_modules.load(self.plugins)
        frame, labels = self._rows_and_labels(X, y)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(
                f"`y` must have two classes, but has only the class {self.classes_[0]!r}; "
                "give rows of both."
            )
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        tree = self._tree()
        data = self._prepared(frame, codes, tree.pop("data", {}), seed)
        config = self._config(tree, len(data.train), seed)
        with _threads(self.n_jobs):
            (outcome,) = fit([Member(0, config)], data, _go_on, device=self._device())
        if outcome.checkpoint is None:
            raise TrialError(f"training must succeed, but did not: {outcome.reason}")
        self.snapshot_ = _to_score(outcome.checkpoint)
        self._open()
        return self

    def predict_proba(self, X: Any) -> npt.NDArray[np.float64]:
        """Returns the probability of each of ``classes_`` for each row: [N, 2].

        Raises:
            InputError: The rows cannot be used; it is a ValueError.
        """
        check_is_fitted(self)
        frame = self._frame(X)
        try:
            with _threads(self.n_jobs):
                positive = self.predictor_.predict_proba(frame)
        except DataError as error:
            raise InputError(error.message) from error
        return np.column_stack([1.0 - positive, positive])

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """Returns the class of each row: [N]; raises as ``predict_proba``."""
        chosen = self.predict_proba(X)[:, 1] >= self.threshold_
        predicted: npt.NDArray[Any] = self.classes_[chosen.astype(int)]
        return predicted

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        tags.input_tags.allow_nan = tags.input_tags.string = tags.input_tags.categorical = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = dict(super().__getstate__())
        state.pop("predictor_", None)  # it is made of `snapshot_`, which is arrays and plain values
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "snapshot_" in state:
            self._open()

    # -- rows --------------------------------------------------------------------------------

    def _rows_and_labels(self, X: Any, y: Any) -> tuple[pd.DataFrame, npt.NDArray[Any]]:
        if isinstance(X, pd.DataFrame):
            validate_data(self, X, y, skip_check_array=True)
            y = column_or_1d(y, warn=True)
            assert_all_finite(y, input_name="y")
            check_consistent_length(X, y)
        else:
            X, y = validate_data(
                self, X, y, dtype=None, ensure_all_finite="allow-nan", ensure_min_samples=2
            )
        y = pd.Series(y).infer_objects().to_numpy()
        if (kind := type_of_target(y, input_name="y")) == "unknown":
            raise InputError(
                "Unknown label type: `y` must hold numbers, texts or truth values of one type, but "
                f"holds {', '.join(sorted({type(label).__name__ for label in y}))}."
            )
        if kind != "binary":
            raise InputError(
                f"Only binary classification is supported. The type of the target is {kind}."
            )
        return self._named(X), y

    def _frame(self, X: Any) -> pd.DataFrame:
        """Returns rows to score, under the names that the columns had in ``fit``."""
        if isinstance(X, pd.DataFrame):
            validate_data(self, X, skip_check_array=True, reset=False)
        else:
            X = validate_data(self, X, dtype=None, ensure_all_finite="allow-nan", reset=False)
        return self._named(X)

    def _named(self, X: Any) -> pd.DataFrame:
        known = getattr(self, "feature_names_in_", None)
        names = [f"x{i}" for i in range(X.shape[1])] if known is None else map(str, known)
        frame: pd.DataFrame = (
            pd.DataFrame(X).set_axis(tidy_names(list(names)), axis=1).reset_index(drop=True)
        )
        return frame

    def _prepared(
        self, frame: pd.DataFrame, codes: npt.NDArray[Any], section: Mapping[str, Any], seed: int
    ) -> PreparedData:
        split = {"val": self.validation_fraction, "test": 0.0, "seed": seed}
        chosen = validate(DataSection, {"name": "frame", **section, "split": split})
        try:
            return prepare_frame(frame, codes.astype(np.float32), chosen)
        except DataError as error:
            raise InputError(error.message) from error

    # -- settings ----------------------------------------------------------------------------

    def _tree(self) -> dict[str, Any]:
        """Returns the parameters as the tree of a configuration, with ``data.preprocessing``."""
        tree: dict[str, Any] = {"model": {"name": self.model}}
        given = {
            "training.epochs": self.epochs,
            "training.learning_rate": self.learning_rate,
            "training.batch_size": self.batch_size,
        }
        more = flatten(self.settings or {})
        wrong = [p for p in more if not (p.startswith(_SECTIONS) or p in _SINGLE)]
        if wrong:
            raise ConfigError(
                [
                    f"`settings` must name settings of model, training or data.preprocessing, or "
                    f"{', '.join(_SINGLE)}, but has `{path}`."
                    for path in wrong
                ]
            )
        for path, value in {**{k: v for k, v in given.items() if v is not None}, **more}.items():
            put(tree, path, value)
        return tree

    def _config(self, tree: dict[str, Any], n_train: int, seed: int) -> TrialConfig:
        plugins = plugin_modules.load(self.plugins)
        config = validate(TrialConfig, {**tree, "plugins": plugins, "seed": seed})
        training = settled(config.training, n_train)
        if config.training.batch_size is None:
            training = training.model_copy(update={"batch_size": batch_of(n_train)})
        return config.model_copy(update={"training": training})

    def _device(self) -> str:
        return self.device or ("cuda" if torch.cuda.is_available() else "cpu")

    def _open(self) -> None:
        """Makes of ``snapshot_`` what scores."""
        plugin_modules.load(self.plugins)
        self.predictor_ = Predictor(self.snapshot_, self._device())
        best = self.threshold == "f1"
        self.threshold_ = self.predictor_.threshold if best else float(self.threshold)


@contextlib.contextmanager
def _threads(n_jobs: int | None) -> Iterator[None]:
    """Sets torch's threads: with more than there are idle cores, small models take many times as
    long."""
    before, n = torch.get_num_threads(), n_jobs or 1
    torch.set_num_threads(n if n > 0 else max(1, (os.cpu_count() or 1) + 1 + n))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _go_on(reports: Any) -> list[Any]:
    return ["continue"] * len(reports)


def _to_score(snapshot: Snapshot) -> Snapshot:
    """Returns the snapshot without what only a continued training needs."""
    tensors = {k: v for k, v in snapshot.tensors.items() if k.startswith("model/")}
    return Snapshot(tensors, snapshot.documents, snapshot.blobs)
