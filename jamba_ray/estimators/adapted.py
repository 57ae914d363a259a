"""Makes a family of anything that has ``fit`` and ``predict_proba``, such as what scikit-learn
offers.

Limitations: its whole training is one report, so that no rung ends it early.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from jamba_ray.config.family import ModelSection
from jamba_ray.config.plugins import PluginError
from jamba_ray.estimators.estimator import Columns, Estimator, Saved, Task

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Matrix = npt.NDArray[np.float32]

_BYTES, _TEXT = "bytes", "text"
Plain = Mapping[str, Any] | bytes | str
"""A fitted model without code: arrays and JSON values by name, or bytes, or a text."""


def adapted(
    name: str,
    make: Callable[..., Any],
    to_arrays: Callable[[Any], Plain] | None,
    from_arrays: Callable[..., Any] | None,
    requires: str | None = None,
) -> type[Estimator[Any]]:
    """Returns the estimator of a family.

    Args:
        name: Of the family.
        make: ``make(section, seed)`` returns an unfitted model with ``fit(x, y)`` and
            ``predict_proba(x)``.
        to_arrays: Returns what a fitted model is.
        from_arrays: ``from_arrays(section, plain)`` returns something with ``predict_proba`` from
            that.
        requires: The package that training needs.

    Raises:
        PluginError: The model has no form without code.
    """
    if to_arrays is None or from_arrays is None:
        raise PluginError(
            f"the family {name!r} must say what its fitted model is without pickle, which runs "
            "code when read: give `to_arrays=` (model -> {name: array}, bytes or a text) and "
            "`from_arrays=` ((section, what to_arrays gave) -> an object with predict_proba)"
        )
    parts = {
        "_make": staticmethod(make),
        "_to_arrays": staticmethod(to_arrays),
        "_from_arrays": staticmethod(from_arrays),
        "requires": requires,
        "extra": None,
    }
    return type(f"Adapted_{name}", (Adapted,), parts)


class Adapted(Estimator[ModelSection]):
    """Trains and scores with a model of another library."""

    _make: Callable[..., Any]
    _to_arrays: Callable[[Any], Plain]
    _from_arrays: Callable[..., Any]

    def __init__(self, section: ModelSection, columns: Columns) -> None:
        super().__init__(section, columns)
        self._model: Any = None

    def fit(self, task: Task) -> None:
        """Fits the model, with weights where it takes them."""
        import numpy as np

        model = self._make(self.section, task.seed)
        weights = {}
        if task.threat_weight != 1.0:
            if "sample_weight" not in inspect.signature(model.fit).parameters:
                raise ValueError(
                    f"`training.threat_weight` must be 1, because {type(model).__name__}.fit takes "
                    f"no `sample_weight`, but is {task.threat_weight:g}"
                )
            weights["sample_weight"] = np.where(task.y == 1.0, task.threat_weight, 1.0)
        fitted = model.fit(task.x, task.y.astype(np.int64), **weights)
        self._model = model if fitted is None else fitted
        task.watch(1, self.predict_proba(task.judged))

    def save(self, rounds: int) -> Saved:
        """Returns the arrays and JSON values that ``to_arrays`` gives."""
        import numpy as np

        plain = self._to_arrays(self._model)
        if isinstance(plain, bytes | bytearray):
            return Saved({_BYTES: np.frombuffer(bytes(plain), dtype=np.uint8)}, {"form": _BYTES})
        if isinstance(plain, str):
            return Saved({_TEXT: np.frombuffer(plain.encode(), dtype=np.uint8)}, {"form": _TEXT})
        arrays, values = {}, {}
        for name, value in dict(plain).items():
            if isinstance(value, np.ndarray | np.generic):
                array = np.ascontiguousarray(value)
                if array.dtype.kind not in "iufb":
                    raise ValueError(
                        f"`to_arrays` must give arrays of numbers, but `{name}` is of {array.dtype}"
                    )
                arrays[name] = array
            else:
                values[name] = value
        try:
            json.dumps(values, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"`to_arrays` must give arrays and JSON values, but gives others: {error}"
            ) from None
        return Saved(arrays, {"form": "arrays", "values": values})

    def load(self, saved: Saved) -> None:
        """Raises ValueError where ``from_arrays`` does not take what is saved."""
        form = saved.document.get("form")
        try:
            if form in (_BYTES, _TEXT):
                raw = saved.arrays[str(form)].tobytes()
                plain: Plain = raw if form == _BYTES else raw.decode()
            else:
                plain = {**saved.arrays, **saved.document.get("values", {})}
            self._model = self._from_arrays(self.section, plain)
        except Exception as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error

    def predict_proba(self, x: Matrix) -> Floats:
        """Returns the probabilities [N]."""
        import numpy as np

        if not len(x):
            return np.zeros(0)
        p = np.asarray(self._model.predict_proba(x), dtype=np.float64)
        found: Floats = p[:, -1] if p.ndim == 2 else p
        if found.shape != (len(x),):
            raise ValueError(
                f"predict_proba must give [{len(x)}] or [{len(x)}, 2], but gives {list(p.shape)}"
            )
        return found
