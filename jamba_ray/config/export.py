"""Defines the settings of ``export`` and ``import``."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias, get_args

from pydantic import Field

from jamba_ray.config.data import Column
from jamba_ray.config.names import DEFAULT_REGISTRY, LocalPath
from jamba_ray.config.predict import ExplainedSection
from jamba_ray.config.run import RunName
from jamba_ray.config.section import Section

Format: TypeAlias = Literal["onnx", "pt", "gguf", "pt2"]
FORMATS: tuple[str, ...] = get_args(Format)
MAX_BYTES = 1 << 34
"""The largest file that is read."""


class ExportConfig(Section):
    """Configures ``export``."""

    run: LocalPath
    """A run folder, its ``best/``, any checkpoint folder, one of these in a bucket, or a version of
    a registry (``threats@champion``)."""
    format: Format = "onnx"
    """What to write. ``onnx``: one file with preprocessing, model, calibration and thresholds, for
    any runtime of ONNX. ``pt``: weights, optimizer and settings of a network, for PyTorch.
    ``gguf``: the quantised weights of a network: smaller, not faster. ``pt2``: a network
    with its scaling as a program of ``torch.export``, for the same version of torch."""
    quantization: Literal["q4_k_m", "q5_k_m", "q8_0"] = "q8_0"
    """How ``format=gguf`` stores weights; ``show_info=true`` says what each costs."""
    show_info: bool = False
    """Print what each quantization is, its size and what it costs this model; write nothing."""
    max_flip_rate: Annotated[float, Field(ge=0.0, le=1.0)] = 0.01
    """Most of the verdicts that quantised weights may turn."""
    max_loss: Annotated[float, Field(ge=0.0, le=1.0)] = 0.01
    """Most average precision that quantised weights may lose on validation rows."""
    output: LocalPath | None = None
    """The file to write; null: ``models/<format>/<run>.<format>``, of gguf
    ``models/gguf/<quantization>/<run>.gguf``."""
    verify: LocalPath | None = None
    """An exported file to compare with the run's model; nothing is written."""
    data: ExplainedSection = ExplainedSection()
    """Rows to compare on; without ``data.path`` those that the run was trained on."""
    rows: Annotated[int, Field(ge=0, le=10_000_000)] = 20_000
    """Rows of data to compare on at most; rows that are made to be hard come on top."""
    overwrite: bool = False
    """Replace the output file."""
    registry: LocalPath = DEFAULT_REGISTRY
    """Folder or bucket of the registry that a version is in."""
    verbose: bool = False
    """Let the libraries print what they like."""


class LabelledSection(Section):
    """Names labelled rows, from which a file without preprocessing gets one."""

    path: LocalPath | None = None
    """File, folder or glob of CSV, JSON lines or Parquet; null: the file has its preprocessing, as
    those of ``export`` do."""
    target: Column = "is_threat"
    """The column of labels."""
    drop: tuple[Column, ...] = ()
    """Columns that the model does not take."""
    numeric: tuple[Column, ...] = ()
    """Columns to read as numbers, whatever they look like."""
    categorical: tuple[Column, ...] = ()
    """Columns to read as names, whatever they look like."""


class ImportConfig(Section):
    """Configures ``import``."""

    pt: LocalPath
    """A file of ``torch.save``: a dictionary with ``model_state`` and ``config``."""
    data: LabelledSection = LabelledSection()
    run: RunName | None = None
    """The name of the run that gets the model; null: that of the file."""
    store: LocalPath = "runs"
    """Folder that holds the run folders."""
    overwrite: bool = False
    """Replace the model of this run."""
    verbose: bool = False
    """Let the libraries print what they like."""
