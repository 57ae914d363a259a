"""Defines ``training``: how one trial is optimised."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from jamba_ray.config.plugins import LOSSES, open_to
from jamba_ray.config.section import FUSIBLE, Section, as_if_absent

Precision = Literal["auto", "fp32", "bf16", "fp16"]
Compile = Literal["auto"] | bool
Schedule = Literal["cosine", "plateau"]
Loss = Annotated[Literal["cross_entropy"], open_to(LOSSES, ("cross_entropy",))]


class TrainingSection(Section):
    """Trains with AdamW, warm-up, decay, clipping and early stopping.

    Where ``epochs`` is not given, the training rows decide how long a trial trains and how often it
    reports (``config.training_length``). ``learning_rate`` .. ``threat_share`` are stackable:
    members of a stack may differ in them.
    """

    learning_rate: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        default=2e-3, json_schema_extra=FUSIBLE
    )
    """Peak learning rate of AdamW: reached after ``warmup``, then lowered as ``schedule`` says."""
    weight_decay: Annotated[float, Field(ge=0.0, le=1.0)] = Field(
        default=1e-4, json_schema_extra=FUSIBLE
    )
    """Decoupled (AdamW); applied to matrices only, never to biases or norms."""
    warmup: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(default=0.05, json_schema_extra=FUSIBLE)
    """Share of all steps over which the learning rate rises linearly; with ``schedule=plateau``, of
    those to the sixteenth report."""
    grad_clip: Annotated[float, Field(gt=0.0)] = Field(default=1.0, json_schema_extra=FUSIBLE)
    """Largest L2 norm of a member's gradient."""
    threat_weight: Annotated[float, Field(gt=0.0)] | Literal["balanced"] = Field(
        default=1.0, json_schema_extra=FUSIBLE
    )
    """Loss weight of a threat relative to a benign row; ``balanced``: benign rows / threats."""
    label_smoothing: Annotated[float, Field(ge=0.0, lt=0.5)] = Field(
        default=0.0, json_schema_extra=FUSIBLE
    )
    """How far the labels 0 and 1 are moved towards each other in the loss; 0: not at all."""
    focal_gamma: Annotated[float, Field(ge=0.0, le=10.0)] = Field(
        default=0.0, json_schema_extra={**FUSIBLE, **as_if_absent(0.0)}
    )
    """Focal loss of networks (Lin et al. 2017): rows that are right already count less; 2 is usual,
    0: all count alike."""
    logit_adjustment: Annotated[float, Field(ge=0.0, le=2.0)] = Field(
        default=0.0, json_schema_extra={**FUSIBLE, **as_if_absent(0.0)}
    )
    """Networks learn what the score adds to so many times the log-odds of a threat in training, so
    that scores are about those of balanced classes (Menon et al. 2021); 1 is usual."""
    threat_share: Annotated[float, Field(ge=0.001, le=0.9)] | None = Field(
        default=None, json_schema_extra={**FUSIBLE, **as_if_absent(None)}
    )
    """Share of threats in each batch of networks, drawn again and again where they are rare; 0.5:
    balanced batches. Probabilities stay those of the training rows: the loss accounts for it. None:
    each row once an epoch."""
    loss: Loss = Field(default="cross_entropy", json_schema_extra=as_if_absent("cross_entropy"))
    """Loss of networks: binary cross-entropy, or that of a plug-in by its name; weights, smoothing,
    focus and adjustment are those above."""
    batch_size: Annotated[int, Field(ge=1, le=1_048_576)] | None = None
    """Rows per optimizer step, over all workers. None: 256; where ``epochs`` is not given either,
    an eighth of the training rows, within 16 and 256."""
    accumulate: Annotated[int, Field(ge=1, le=1024)] = 1
    """Parts into which each worker cuts its share of a batch, run one after the other, so that
    large batches fit a small device; same result, except that batch norm sees one part at a
    time."""
    epochs: Annotated[float, Field(gt=0.0, le=100_000)] | None = None
    """Passes over the training rows; may be a fraction. None: until validation no longer improves;
    at most a million rows, within 2 and 200 passes."""
    schedule: Schedule | None = Field(default=None, json_schema_extra=as_if_absent(None))
    """``cosine``: the learning rate falls over all ``epochs``. ``plateau``: it stays at its peak
    until ``patience`` ends; the trial then goes back to its best weights and trains on for a
    quarter of the steps that it had, with a rate that falls to zero. None: ``plateau`` where
    ``epochs`` is not given, else ``cosine``."""
    report_rows: Annotated[int, Field(ge=1)] | None = None
    """Rows seen between two reports; each validates and may stop the trial (ASHA's resource). None:
    a sixteenth of ``epochs``; with ``plateau`` three eighths of an epoch, within 32 batches and
    65,536 rows. A sweep fixes it once, so that rungs agree between trials."""
    patience: Annotated[int, Field(ge=0)] | None = None
    """End a trial (``plateau``: lower its learning rate) after so many reports without improvement;
    0: never. None: 4 with ``plateau``, else 0."""
    val_rows: Annotated[int, Field(ge=100)] | None = None
    """A report judges at most so many validation rows (one fixed stratified sample, the same for
    all trials); a trial's final value always comes from all of them. None: a third of
    ``report_rows``, within 2,048 (more where threats are rare) and 8,192."""

    @model_validator(mode="after")
    def _parts_have_rows(self) -> TrainingSection:
        # The last batch may have half the rows, and a batch norm needs two.
        if self.accumulate > 1 and (self.batch_size or 256) < 4 * self.accumulate:
            raise ValueError(
                f"`training.accumulate` must be at most a quarter of `training.batch_size` "
                f"({self.batch_size or 256}), but is {self.accumulate}. Lower it"
            )
        return self
