"""Defines ``logistic``: logistic regression with an L2 penalty, the least that a model must beat.

The optimum is that of scikit-learn's ``LogisticRegression(C=penalty's inverse)`` on one-hot codes;
here a category's weight is looked up by its code, so that no table grows by its categories.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from jamba_ray.config.family import ModelSection
from jamba_ray.estimators.estimator import Columns, Estimator, Saved, Task, register

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Matrix = npt.NDArray[np.float32]

_CHUNK_ROWS = 262_144


class LogisticSection(ModelSection):
    """Configures the family ``logistic``."""

    name: Literal["logistic"] = "logistic"
    inverse_penalty: Annotated[float, Field(gt=0.0, le=1e9)] = 1.0
    """Inverse of the L2 penalty, scikit-learn's ``C`` and its default; more: larger weights."""
    max_iterations: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """Steps of L-BFGS at most; a few dozen are usual."""


class Logistic(Estimator[LogisticSection]):
    """Learns a weight for each number and each category, and a constant."""

    def __init__(self, section: LogisticSection, columns: Columns) -> None:
        super().__init__(section, columns)
        sizes = (*(1 for _ in range(columns.n_numeric)), *columns.cardinalities)
        self._size = sum(sizes) + 1
        self._weights: Floats | None = None

    def fit(self, task: Task) -> None:
        """Finds the only optimum by L-BFGS (Liu and Nocedal 1989) from zero."""
        import numpy as np
        from scipy.optimize import minimize  # type: ignore[import-untyped]

        c = self.section.inverse_penalty
        weight = np.where(task.y == 1.0, task.threat_weight, 1.0)

        def loss(w: Floats) -> tuple[float, Floats]:
            value, gradient = 0.5 * float(w[:-1] @ w[:-1]), np.append(w[:-1], 0.0)
            for i in range(0, len(task.x), _CHUNK_ROWS):
                some = slice(i, i + _CHUNK_ROWS)
                z = self._sums(task.x[some], w)
                signed = np.where(task.y[some] == 1.0, -z, z)
                value += c * float(weight[some] @ np.logaddexp(0.0, signed))
                p = 1.0 / (1.0 + np.exp(-np.clip(z, -700.0, 700.0)))
                gradient += c * self._gradient(task.x[some], weight[some] * (p - task.y[some]))
            return value, gradient

        found = minimize(
            loss,
            np.zeros(self._size),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": self.section.max_iterations, "gtol": 1e-4, "ftol": 1e-12},
        )
        self._weights = found.x
        task.watch(1, self.predict_proba(task.judged))

    def save(self, rounds: int) -> Saved:
        """Returns the weights: numbers, then categories by feature, then the constant."""
        return Saved({"weights": self._fitted}, {})

    def load(self, saved: Saved) -> None:
        """Raises ValueError where the weights are not one for each number and category."""
        import numpy as np

        weights = saved.arrays.get("weights")
        if saved.arrays.keys() != {"weights"} or weights is None:
            raise ValueError("`weights` must be its only array, but is not")
        if weights.dtype != np.float64 or weights.shape != (self._size,):
            raise ValueError(
                f"`weights` must be float64 [{self._size}], but is {weights.dtype} {weights.shape}"
            )
        if not np.isfinite(weights).all():
            raise ValueError("`weights` must be finite, but some are not")
        self._weights = weights

    def predict_proba(self, x: Matrix) -> Floats:
        """Returns the probabilities [N]."""
        from scipy.special import expit  # type: ignore[import-untyped]

        p: Floats = expit(self.log_odds(x))
        return p

    def log_odds(self, x: Matrix) -> Floats:
        """Returns the weighted sums [N]."""
        return self._sums(x, self._fitted)

    def _sums(self, x: Matrix, w: Floats) -> Floats:
        n = self.columns.n_numeric
        z: Floats = x[:, :n].astype("float64") @ w[:n] + w[-1]
        for j, codes in self._codes(x):
            z += w[j + codes]
        return z

    def _gradient(self, x: Matrix, errors: Floats) -> Floats:
        import numpy as np

        n, gradient = self.columns.n_numeric, np.zeros(self._size)
        gradient[:n] = errors @ x[:, :n]
        gradient[-1] = errors.sum()
        for (j, codes), size in zip(self._codes(x), self.columns.cardinalities, strict=True):
            gradient[j : j + size] = np.bincount(codes, errors, size)
        return gradient

    def _codes(self, x: Matrix) -> list[tuple[int, npt.NDArray[Any]]]:
        """Returns (place of its first weight, codes) of each categorical feature."""
        import numpy as np

        found, place = [], self.columns.n_numeric
        for i, size in enumerate(self.columns.cardinalities):
            codes = np.clip(x[:, self.columns.n_numeric + i], 0, size - 1).astype(np.int64)
            found.append((place, codes))
            place += size
        return found

    @property
    def _fitted(self) -> Floats:
        if self._weights is None:
            raise RuntimeError("neither fit nor load was called")
        return self._weights


register("logistic", LogisticSection, Logistic)
