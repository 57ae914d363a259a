"""Makes a run's winner a model of MLflow: code that MLflow runs, with a checkpoint, no pickle.

MLflow copies this file beside the checkpoint (its "models from code") and runs it where the model
is loaded, which needs ``pip install jamba-ray`` there.
"""

from __future__ import annotations

from typing import Any

import mlflow
import pandas as pd


class ThreatModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc,name-defined]
    """Scores rows with the checkpoint that lies beside it."""

    def load_context(self, context: Any) -> None:
        """Loads the checkpoint, every byte of which is checked."""
        import jamba_ray

        self._predictor = jamba_ray.load(context.artifacts["model"])

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Returns ``score``, the probability of a threat, and ``alert`` for each row."""
        score = self._predictor.predict_proba(model_input)
        return pd.DataFrame(
            {"score": score, "alert": score >= self._predictor.threshold}, index=model_input.index
        )


mlflow.models.set_model(ThreatModel())
