"""Decides by the content of a run folder whether it may be replaced; touches no disk."""

from __future__ import annotations

import re
from collections.abc import Collection

BEING_DELETED = ".being-deleted"
"""An object that a run in a bucket has while it is deleted: what is left of it is no run."""
_ANY = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
_CHECKPOINT = r"checkpoints/trial-\d{4,}/(step|best|fold)-\d{6,}"
_SCRATCH = r"(checkpoints/(trial-\d{4,}/)?|rivals/|certify/)?\.scratch\.[^/]+"
"""A checkpoint that is being written, or was when its process was killed."""
_PART = r"study/\d{12}\.jsonl"
_TOP = (
    r"config\.yaml|(trials|scores|reference)\.parquet|summary\.json|report\.(html|md)|log\.txt|"
    r"tracking(-[a-z][a-z0-9_]*)?\.json|dashboard\.json|rows\.jsonl\.gz"
)
_FILES = re.compile(
    # Also temporary files that a killed process leaves.
    rf"{_TOP}|\.({_TOP})\.[a-z0-9_]{{8}}"
    # Also the copy, the lease, and damaged, replaced or earlier versions' files.
    rf"|\.?study\.{_ANY}|{_PART}"
    rf"|rows/trial-\d{{4,}}\.jsonl|rows/part-\d+\.jsonl\.gz|logs/{_ANY}\.log|(wandb|tensorboard)/.+"
    r"|(best|rivals/[a-z0-9_]+|certify/[a-z0-9_-]+)/([a-z0-9_]+\.json|(model|current)\.txt|model\.safetensors)"
    r"|certify/(state\.json|\.state\.json\.[a-z0-9_]{8})"
    rf"|({_CHECKPOINT}|{_SCRATCH})/{_ANY}|{re.escape(BEING_DELETED)}"
)
_FOLDERS = re.compile(
    rf"logs|rows|best|rivals(/[a-z0-9_]+)?|certify(/[a-z0-9_-]+)?|(wandb|tensorboard)(/.+)?|checkpoints(/trial-\d{{4,}})?|{_CHECKPOINT}|{_SCRATCH}"
)
_ALWAYS = {"checkpoints", "logs"}
_MARKS = re.compile(rf"config\.yaml|study\.db|{_PART}|checkpoints/.+|{re.escape(BEING_DELETED)}")


def why_no_run(files: Collection[str], folders: Collection[str]) -> str | None:
    """Returns why a folder with this content is not wholly a run; None: it is.

    Args:
        files: All but folders, links too: paths relative to the folder.
        folders: Folders in it, likewise.
    """
    if (stranger := _stranger(files, folders)) is not None:
        return f"it holds {stranger!r}, which no run has"
    if files and (missing := _ALWAYS.difference(folders)):
        return f"it has no folder {min(missing)!r}, which each run has"
    return None


def why_no_run_in_bucket(names: Collection[str]) -> str | None:
    """Returns why the objects below a prefix are not wholly a run; None: they are."""
    if (stranger := _stranger(names, ())) is not None:
        return f"it holds {stranger!r}, which no run has"
    if names and not any(map(_MARKS.fullmatch, names)):
        return "it has no 'config.yaml', no 'study/' and no checkpoint"
    return None


def why_no_copy(files: Collection[str], folders: Collection[str]) -> str | None:
    """Returns why a folder is not the local part of a run in a bucket; None: it is."""
    if (stranger := _stranger(files, folders)) is not None:
        return f"it holds {stranger!r}, which no run has"
    return None


def _stranger(files: Collection[str], folders: Collection[str]) -> str | None:
    strange = [name for name in files if not _FILES.fullmatch(name)]
    strange += [name for name in folders if not _FOLDERS.fullmatch(name)]
    return min(strange, default=None)
