"""Says why a member cannot continue, in one sentence each."""

from __future__ import annotations

import math

import torch

from jamba_ray.config.training import TrainingSection
from jamba_ray.training.precision import LossScaler


def divergence(
    section: TrainingSection,
    rows_seen: int,
    train_loss: float,
    predictions_finite: bool,
    loss_scale: float | None,
) -> str | None:
    """Says what is not finite after so many rows, or None where the member is sound."""
    way_out = (
        f"lower `training.learning_rate` ({section.learning_rate:g}) or `training.grad_clip` "
        f"({section.grad_clip:g})."
    )
    if not math.isfinite(train_loss):
        return f"The training loss must be finite, but is {train_loss} by row {rows_seen:,}; " + (
            way_out
        )
    if not predictions_finite:
        return (
            "Predictions on the validation rows must be finite, but some are not by row "
            f"{rows_seen:,}; {way_out}"
        )
    if loss_scale is not None and loss_scale < LossScaler.SMALLEST:
        return (
            "Gradients in fp16 must be finite at some loss scale, but overflow at every one by row "
            f"{rows_seen:,}; use `precision=bf16` or `precision=fp32`."
        )
    return None


def raised(trials: str, error: Exception) -> str:
    """Says that the model, or the device under it, raised on a batch."""
    if isinstance(error, torch.OutOfMemoryError):
        return (
            f"Trial {trials}: a batch must fit the device's memory, but does not; lower "
            "`training.batch_size`, or train fewer trials as one stack."
        )
    text = " ".join(str(error).split()).removesuffix(".") or "no message"
    return (
        f"Trial {trials}: the model must run on its batches, but raised "
        f"{type(error).__name__}: {text}."
    )
