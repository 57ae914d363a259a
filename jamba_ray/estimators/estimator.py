"""Defines what a family is that brings its own training: ``fit``, ``predict_proba``, and its model
as plain arrays.

Limitations: a trial that was killed starts again from its first row; that it reports the same
values again rests on ``fit`` being a function of its task alone.

Letters: N rows, F features (numbers first, then codes).
"""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from jamba_ray.config.family import ModelSection, register_family
from jamba_ray.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Matrix = npt.NDArray[np.float32]
    Floats = npt.NDArray[np.float64]

S = TypeVar("S", bound=ModelSection)


@dataclass(frozen=True)
class Columns:
    """Describes the matrix that an estimator is given."""

    n_numeric: int
    """Scaled and finite numbers; they come first."""
    cardinalities: tuple[int, ...]
    """Codes of each categorical feature, from 0 (unknown, rare or missing); the most frequent
    category has code 1."""

    @property
    def n_features(self) -> int:
        """Returns F."""
        return self.n_numeric + len(self.cardinalities)


class Watch(Protocol):
    """Follows a training: says when it wants to know scores, and whether training goes on."""

    def due(self, rounds: int) -> int:
        """Returns the rounds after which scores are wanted next, given that ``rounds`` are done;
        the last ones are always among them."""
        ...

    def __call__(self, rounds: int, p: Floats) -> bool:
        """Takes the probabilities of ``Task.judged`` after ``rounds``; returns whether training
        goes on."""
        ...


@dataclass(frozen=True)
class Task:
    """Holds all that one training is given."""

    x: Matrix
    """[N, F]."""
    y: npt.NDArray[np.float32]
    """[N], 0 or 1; both occur."""
    judged: Matrix
    """Rows whose scores ``watch`` wants."""
    threat_weight: float
    """Weight of a row with label 1; one with label 0 weighs 1."""
    seed: int
    n_threads: int
    """Most threads to use: one where the table is small."""
    watch: Watch


@dataclass(frozen=True)
class Saved:
    """Holds a model without code: arrays and one strict JSON document."""

    arrays: Mapping[str, npt.NDArray[Any]]
    document: Mapping[str, Any]


class Estimator(ABC, Generic[S]):
    """Learns from rows, scores rows, and is saved and loaded as arrays: one model of a family."""

    requires: ClassVar[str | None] = None
    """The package that training needs besides those of jamba_ray itself."""
    extra: ClassVar[str | None] = None
    """The extra of jamba_ray that installs it."""

    patience_rounds: ClassVar[int | None] = None
    """Rounds without improvement after which a trial ends, where ``training.patience`` is 0."""
    n_threads = 1
    """Threads to score with; set by who scores."""

    def __init__(self, section: S, columns: Columns) -> None:
        self.section, self.columns = section, columns

    @property
    def n_rounds(self) -> int:
        """Returns the rounds of a whole training: trees, or 1 for what is fitted at once."""
        return 1

    @abstractmethod
    def fit(self, task: Task) -> None:
        """Trains, and calls ``task.watch`` whenever it is due.

        Raises:
            ValueError: The settings do not suit these rows.
        """

    @abstractmethod
    def save(self, rounds: int) -> Saved:
        """Returns the model after its first ``rounds`` rounds."""

    @abstractmethod
    def load(self, saved: Saved) -> None:
        """Takes over the model in ``saved``, which a stranger may have made.

        Raises:
            ValueError: It is not what ``save`` returns, so that scoring might fail.
        """

    @abstractmethod
    def predict_proba(self, x: Matrix) -> Floats:
        """Returns the probability of a threat for each row [N] of a loaded model."""

    def log_odds(self, x: Matrix) -> Floats:
        """Returns the log-odds of ``predict_proba`` [N], finite also for 0 and 1."""
        import numpy as np

        p = np.clip(self.predict_proba(x), 1e-9, 1.0 - 1e-9)
        found: Floats = np.log(p) - np.log1p(-p)
        return found

    def contributions(self, x: Matrix) -> tuple[Floats, float] | None:
        """Returns what each feature adds to the log-odds [N, F] and what it adds to; None: the
        family cannot say it exactly."""
        return None


ARRAYS = "estimator/"
"""What the names of an estimator's arrays begin with in a checkpoint."""
DOCUMENT = "estimator"
"""The name of its document there."""


def saved_in(tensors: Mapping[str, npt.NDArray[Any]], documents: Mapping[str, Any]) -> Saved:
    """Returns the estimator among the arrays and documents of a checkpoint."""
    arrays = {
        name.removeprefix(ARRAYS): array
        for name, array in tensors.items()
        if name.startswith(ARRAYS)
    }
    document = documents.get(DOCUMENT)
    return Saved(arrays, document if isinstance(document, dict) else {})


ESTIMATORS: dict[str, type[Estimator[Any]]] = {}
"""Family name -> its estimator."""


def register(name: str, section: type[ModelSection], estimator: type[Estimator[Any]]) -> None:
    """Adds a family: one call at the end of its file."""
    register_family(name, section, "estimator")
    ESTIMATORS[name] = estimator


def check_installed(families: Iterable[str]) -> None:
    """Refuses families whose package is missing, before anything starts.

    Raises:
        ConfigError: With a sentence for each.
    """
    mistakes = [
        f"`model.name` {name!r} needs the package {ESTIMATORS[name].requires}, which is not "
        f"installed. Run `pip install 'jamba-ray[{ESTIMATORS[name].extra}]'`, or choose another "
        "model."
        for name in not_installed(families)
    ]
    if mistakes:
        raise ConfigError(mistakes)


def not_installed(families: Iterable[str]) -> list[str]:
    """Returns those of the families whose package is missing."""
    return [
        name
        for name in families
        if (found := ESTIMATORS.get(name)) is not None
        and found.requires is not None
        and importlib.util.find_spec(found.requires) is None
    ]


def left_out(families: Sequence[str]) -> list[str]:
    """Returns a note where families of a sweep are left out, since their packages are missing."""
    if not families:
        return []
    extras = ",".join(dict.fromkeys(str(ESTIMATORS[name].extra) for name in families))
    return [
        f"No trial is of {', '.join(families)}: the packages are not installed "
        f"(pip install 'jamba-ray[{extras}]')."
    ]
