"""Defines the settings of ``export``."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from jamba_ray.config.names import LocalPath
from jamba_ray.config.predict import ExplainedSection
from jamba_ray.config.section import Section

Format: TypeAlias = Literal["onnx"]


class ExportConfig(Section):
    """Configures ``export``."""

    run: LocalPath
    """A run folder, its ``best/`` or any checkpoint folder, or one of these in a bucket."""
    format: Format = "onnx"
    """What to write. ``onnx``: one file with preprocessing, model, calibration and thresholds, for
    any runtime of ONNX."""
    output: LocalPath | None = None
    """The file to write; null: ``models/<format>/<run>.<format>``."""
    verify: LocalPath | None = None
    """An exported file to compare with the run's model; nothing is written."""
    data: ExplainedSection = ExplainedSection()
    """Rows to compare on; without ``data.path`` those that the run was trained on."""
    rows: Annotated[int, Field(ge=0, le=10_000_000)] = 20_000
    """Rows of data to compare on at most; rows that are made to be hard come on top."""
    overwrite: bool = False
    """Replace the output file."""
    verbose: bool = False
    """Let the libraries print what they like."""
