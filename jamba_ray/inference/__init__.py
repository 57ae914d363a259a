"""Scores rows with trained models: ``load`` a model, then call ``predict_proba`` on a DataFrame."""

from jamba_ray.inference.predict_file import Scored, predict_file
from jamba_ray.inference.predictor import Predictor, find_checkpoint, load, score_rows

__all__ = ["Predictor", "Scored", "find_checkpoint", "load", "predict_file", "score_rows"]
