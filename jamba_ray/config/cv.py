"""Defines ``cv``: whether each trial is trained on several folds of the training rows."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from jamba_ray.config.section import Section


class CvSection(Section):
    """Judges each trial by cross-validation, so that one lucky division decides nothing.

    The folds divide the training rows as ``data.split.kind`` divides the table; validation and test
    rows are in none of them. ``cv.folds=5`` turns it on.
    """

    folds: Annotated[int, Field(ge=0, le=50)] = 0
    """Folds of the training rows; a trial's objective is the mean over them. By ``time`` each fold
    trains on what came before it. 0: trials are judged on the validation rows."""
    repeats: Annotated[int, Field(ge=1, le=50)] = 1
    """Times that the rows are divided into folds anew; a trial trains ``folds`` x ``repeats``
    models. Rows in the order of time have one division: 1."""

    @model_validator(mode="after")
    def _has_folds(self) -> CvSection:
        if self.folds == 1:
            raise ValueError(
                "`folds` must be 0 (no cross-validation) or at least 2, but is 1. Set `cv.folds=5`"
            )
        if self.repeats > 1 and not self.folds:
            raise ValueError(
                f"`repeats` needs folds, but `folds` is 0 and `repeats` is {self.repeats}. "
                "Set `cv.folds=5` too, or drop `cv.repeats`"
            )
        return self

    @property
    def models(self) -> int:
        """Returns the models that a trial trains."""
        return self.folds * self.repeats


def check_folds(
    cv: CvSection, *, workers: int, split: str, rows_in: str, refit: bool = False
) -> None:
    """Refuses what cannot be combined with folds.

    Args:
        cv: The folds that are asked for.
        workers: ``workers_per_trial``.
        split: ``data.split.kind``.
        rows_in: ``data.rows_in``.
        refit: ``refit``.

    Raises:
        ValueError: With a sentence for the first that cannot.
    """
    if not cv.folds:
        return
    if workers > 1:
        raise ValueError(
            f"`cv.folds` needs `workers_per_trial` to be 1, but it is {workers}: a trial's folds "
            "train in one process. Drop `workers_per_trial`, or set `cv.folds=0`"
        )
    if refit:
        raise ValueError(
            "`refit` must be false with `cv.folds`, but is true: the winner is trained again on "
            "all training rows as it is. Drop one of the two"
        )
    if cv.repeats > 1 and split == "time":
        raise ValueError(
            f"`cv.repeats` must be 1 where `data.split.kind` is time, but is {cv.repeats}: rows in "
            "the order of time have one division. Drop it, or raise `cv.folds`"
        )
    if rows_in == "disk":
        raise ValueError(
            "`cv.folds` needs rows in memory, but `data.rows_in` is disk: each fold has rows of "
            "its own. Set `data.rows_in=host` on a larger machine, or `cv.folds=0`"
        )
