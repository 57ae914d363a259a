"""Reads again the rows that a run was trained and judged on, for comparisons with its exports."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from jamba_ray.config.data import DataSection, SyntheticSection, TableSection
from jamba_ray.config.run import DATA_SECTIONS
from jamba_ray.data import Preprocessor, Rows, generate, prepare
from jamba_ray.errors import JambaError
from jamba_ray.exports.subject import rows_at
from jamba_ray.inference import find_checkpoint
from jamba_ray.inference.predictor import SavedModel
from jamba_ray.runs.run_folder import RunFolder


def real_rows(
    run: str, preprocessing: Preprocessor, rows: int, tell: Callable[[str], object]
) -> pd.DataFrame | None:
    """Returns at most ``rows`` rows of a run's data; None where they are gone, which is told."""
    try:
        section = section_of(run)
        if isinstance(section, TableSection):
            return rows_at(section.path, section.columns, preprocessing, rows)
        if isinstance(section, SyntheticSection):
            return generate(section).iloc[:rows]
        why = f"{run} does not name its data"
    except JambaError as error:
        why = error.message.rstrip(".")
    tell(
        f"Compared on made-up rows alone, since the data of the run cannot be read ({why}); "
        "data.path=new.csv gives it rows."
    )
    return None


def labelled_rows(run: str, saved: SavedModel) -> Rows | None:
    """Returns the validation rows of a run; None where they are gone or have changed."""
    try:
        section = section_of(run)
        if section is None:
            return None
        data = prepare(section)
    except JambaError:
        return None
    written = saved.snapshot.documents.get("fingerprints", {}).get("data")
    return data.val if data.fingerprint == written else None


def section_of(run: str) -> DataSection | None:
    """Returns the data that a run was trained on; None where it is not known."""
    if "://" in run:
        return None
    folder = find_checkpoint(Path(run))
    config = RunFolder(folder.resolve().parent)
    if not config.config.exists():
        config = RunFolder(folder.resolve().parent / "evidence")  # of a version in a registry
    if not config.config.exists():
        return None
    tree = config.read_config()["data"]
    return DATA_SECTIONS[tree["name"]].model_validate(
        {**tree, "split": {"repeats": "anywhere", **tree.get("split", {})}}
    )
