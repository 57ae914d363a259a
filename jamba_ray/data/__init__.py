"""Reads files or generates rows, and turns them into matrices that models train on; no torch, no
Ray."""

from jamba_ray.data.labels import LabelRule, labels
from jamba_ray.data.prepare import prepare, prepare_for, prepare_frame
from jamba_ray.data.prepared import FeatureSchema, PreparedData, Rows
from jamba_ray.data.preprocessing import Preprocessor
from jamba_ray.data.source import SourceFile, changed_files, source_files, source_fingerprint
from jamba_ray.data.synthetic import generate
from jamba_ray.data.table import read_table

__all__ = [
    "FeatureSchema",
    "LabelRule",
    "PreparedData",
    "Preprocessor",
    "Rows",
    "SourceFile",
    "changed_files",
    "generate",
    "labels",
    "prepare",
    "prepare_for",
    "prepare_frame",
    "read_table",
    "source_files",
    "source_fingerprint",
]
