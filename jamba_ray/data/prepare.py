"""Turns a data section into matrices: read or generate, check, split, fit on train, transform.

There is one way, whatever the size: only where the raw columns and the matrices lie differs. A
table that fits memory is read once and held; of one that does not, a few columns are read at a time
(columns are fitted and transformed independently of each other), and the matrices are written to
files.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from jamba_ray import __version__
from jamba_ray.config.cv import CvSection
from jamba_ray.config.data import DataSection, SyntheticSection, TableSection
from jamba_ray.config.fingerprint import fingerprint, fingerprint_json
from jamba_ray.data import duplicates, raw_sources
from jamba_ray.data.cells import to_numbers
from jamba_ray.data.columns import detect
from jamba_ray.data.evasion import Attacker, attacker_of
from jamba_ray.data.folds import divide_folds
from jamba_ray.data.labels import IN_DOCUMENT, LabelRule, asked_rule, check_both_labels, rule_note
from jamba_ray.data.leaks import leak_notes
from jamba_ray.data.mapped_rows import MappedRows, files_of, write_rest
from jamba_ray.data.matrices import (
    Make,
    Matrices,
    in_memory,
    matrices,
    unreadable_notes,
    unseen_shares,
)
from jamba_ray.data.number_format import PLAIN
from jamba_ray.data.overview import overview
from jamba_ray.data.parts import Parts, Source, divide
from jamba_ray.data.prepared import FeatureSchema, PreparedData, Rows
from jamba_ray.data.preprocessing import Preprocessor
from jamba_ray.data.raw_sources import Extents, no_features
from jamba_ray.data.raw_table import RawTable
from jamba_ray.data.row_cache import cached
from jamba_ray.data.row_location import Place, free_bytes, where_rows_live
from jamba_ray.data.source import source_fingerprint
from jamba_ray.data.splits import Hashes
from jamba_ray.data.synthetic import BAYES, GROUP, TARGET, TIMESTAMP
from jamba_ray.data.times import span_note
from jamba_ray.errors import DataError

_JUDGED = "test"
_LOG = logging.getLogger(__name__)
"""Takes what nobody else is told."""


def prepare(
    section: DataSection,
    tell: Callable[[str], object] = _LOG.info,
    cv: CvSection = CvSection(),  # noqa: B008  (it is frozen)
) -> PreparedData:
    """Prepares rows to train on, and the folds of ``cv``.

    Raises:
        DataError: The data cannot be used; one sentence.

    Everything that is fitted (which columns are features, scales, categories) is fitted on the
    training rows alone, of a fold on those that train in it. The test set, if any, is
    ``tests["test"]``; further ones follow under their own names. ``tell`` is given a sentence where
    rows are kept on disk, before that begins.
    """
    place, extents = raw_sources.place_of(section)
    if place.kind == "host":
        return _prepared(section, place, extents, in_memory, cv)
    if cv.folds:
        raise DataError(
            f"cv.folds needs the rows in memory, but they would lie on disk: {place.reason}. "
            "Set data.rows_in=host on a larger machine, train on fewer rows, or set cv.folds=0."
        )
    _tell(tell, section, place)
    return _on_disk(section, place, extents)


def prepare_for(
    preprocessor: Preprocessor,
    section: TableSection,
    tell: Callable[[str], object] = _LOG.info,
    rule: LabelRule | None = None,
) -> Rows:
    """Prepares the rows that a trained model is to be judged on with its own preprocessing.

    They are ``test`` if there is one, else ``path``; labels are read by ``rule`` unless the section
    says how.

    Raises DataError. ``tell`` is given a sentence on each thing that is assumed of the rows, and
    for each column with cells that are no numbers."""
    path = section.test or section.path
    section = section.model_copy(update={"path": path, "test": None, "extra_tests": {}})
    keep = preprocessor.columns
    extents = {path: raw_sources.extent_of(section, path, keep)}
    place = where_rows_live(extents[path].reading_bytes, free_bytes(), section.rows_in)
    asked = asked_rule(section.positive, section.negative)

    def transformed(make: Make) -> tuple[Rows, tuple[str, ...]]:
        source = raw_sources.table(
            section, path, place, extents, is_test=True, rule=asked or rule, keep=keep
        )
        made = matrices({_JUDGED: source}, preprocessor, make)
        raw = raw_values(source, preprocessor, section)
        labelled = rule_note(source.rule, section.target)
        notes = dict.fromkeys((*source.notes, labelled, *unreadable_notes(made)))
        return _rows(source, made[_JUDGED], raw), tuple(note for note in notes if note)

    def write(folder: Path) -> Mapping[str, Any]:
        rows, notes = transformed(files_of(folder))
        write_rest(folder / _JUDGED, rows)
        return {"notes": list(notes)}

    if place.kind == "host":
        rows, notes = transformed(in_memory)
        for note in notes:
            tell(note)
        return rows
    _tell(tell, section, place)
    read_by = None if rule is None else rule.to_json()
    made_from = [preprocessor.to_json(), read_by, __version__, fingerprint(section)]
    key = fingerprint_json([*made_from, source_fingerprint(section)])
    folder, index = cached(section.cache_folder, key, write)
    for note in index["notes"]:
        tell(note)
    return MappedRows(folder / _JUDGED)


def prepare_frame(
    frame: pd.DataFrame, y: npt.NDArray[np.float32], section: DataSection
) -> PreparedData:
    """Prepares rows that are in memory to be trained on.

    Args:
        frame: The features [N, F].
        y: 0.0 or 1.0 for each row [N].
        section: The split and the preprocessing.

    Raises:
        DataError: See ``prepare``.
    """
    source = Source("the rows", RawTable.of(frame), np.arange(len(frame)), y)
    return _of_parts(section, _divided(section, source, {}, set()), set(), in_memory)


def _prepared(
    section: DataSection,
    place: Place,
    extents: Extents,
    make: Make,
    cv: CvSection = CvSection(),  # noqa: B008  (it is frozen)
) -> PreparedData:
    parts, exclude = _parts(section, place, extents)
    folds = divide_folds(parts, cv, section.split)
    data = _of_parts(section, parts, exclude, make)
    made = tuple(_of_parts(section, fold, exclude, make) for fold in folds)
    return replace(data, folds=made) if made else data


def _of_parts(
    section: DataSection, parts: Parts, exclude: Collection[str], make: Make
) -> PreparedData:
    for name, part in parts.named().items():
        if name in ("train", "val"):
            check_both_labels(part.y, f"the {name} part of {part.name}")
    train = parts.train.columns
    typed = section if isinstance(section, TableSection) else None
    roles = detect(
        train,
        exclude=exclude,
        numeric=typed.numeric if typed else (),
        categorical=typed.categorical if typed else (),
        keep=typed.keep if typed else (),
    )
    train.columns = (*roles.numeric, *roles.categorical)
    preprocessor, notes = Preprocessor.fit(train, roles, section.preprocessing)
    del train
    made = matrices(parts.named(), preprocessor, make)
    rule = parts.train.rule
    labelling = {} if rule is None else {IN_DOCUMENT: rule.to_json()}
    preprocessing = {**preprocessor.to_json(), **labelling}
    raw = {
        name: raw_values(part, preprocessor, section)
        if name != "train" or section.mutable
        else None
        for name, part in parts.named().items()
    }
    attacker = attacker_for(section, preprocessor, raw["train"])
    raw["train"] = None  # nothing attacks the rows that train
    rows = {name: _rows(part, made[name], raw[name]) for name, part in parts.named().items()}
    hashes = {name: part.hashes for name, part in made.items()}
    targets = {name: part.y for name, part in rows.items()}
    repeated = duplicates.count(hashes, targets)
    on_columns = (*roles.notes, *notes)
    return PreparedData(
        schema=preprocessor.schema,
        preprocessing=preprocessing,
        train=rows["train"],
        val=rows["val"],
        fingerprint=_fingerprint(section, preprocessing, hashes, targets),
        notes=(
            *dict.fromkeys(note for part in parts.named().values() for note in part.notes),
            *parts.notes,
            *on_columns,
            *unreadable_notes(made),
            *_spans(section, parts),
            *leak_notes(preprocessor.schema, made["train"].telling, len(rows["train"])),
            *duplicates.notes(repeated, {name: len(part) for name, part in rows.items()}),
        ),
        overview={
            **overview(parts.named(), made, preprocessor, _purposes(section), on_columns, repeated),
            "split": {"kind": parts.kind, "cut": sorted(parts.cut)},
            "unseen": {
                name: unseen_shares(part.unseen) for name, part in made.items() if name != "train"
            },
        },
        tests={name: rows[name] for name in parts.tests},
        rows_in=section.rows_in,
        attacker=attacker,
    )


def raw_values(
    part: Source, preprocessor: Preprocessor, section: DataSection
) -> npt.NDArray[np.float64] | None:
    """Returns the values [N, M] of the mutable columns as the table has them; None: there are
    none."""
    names = [name for name in section.mutable if name in preprocessor.columns]
    if not names:
        return None
    columns = part.columns
    columns.columns = tuple(names)
    forms = preprocessor.formats
    return np.stack([to_numbers(columns[name], forms.get(name, PLAIN)) for name in names], axis=1)


def attacker_for(
    section: DataSection, preprocessor: Preprocessor, raw: npt.NDArray[np.float64] | None
) -> Attacker | None:
    """Returns what may be done to ``data.mutable``; None where it names no column.

    ``raw`` [N, M] says which columns hold whole numbers alone. Raises DataError where one is no
    numeric feature.
    """
    if not section.mutable:
        return None
    names = list(section.mutable)

    def is_whole(name: str) -> bool:
        cells = np.zeros(0) if raw is None else raw[:, names.index(name)]
        return bool((cells[np.isfinite(cells)] % 1 == 0).all())

    return attacker_of(preprocessor, section.mutable, is_whole)


def _parts(section: DataSection, place: Place, extents: Extents) -> tuple[Parts, set[str]]:
    """Returns the rows divided, and the columns that are no features."""
    if isinstance(section, SyntheticSection):
        special = {TARGET, TIMESTAMP, GROUP, BAYES}
        return _divided(section, raw_sources.synthetic(section), {}, special), special
    if isinstance(section, TableSection):
        source = raw_sources.table(section, section.path, place, extents)
        tests = raw_sources.tests(section, place, extents, source)
        exclude = no_features(section)
        return _divided(section, source, tests, exclude), exclude
    raise DataError(f"data must be synthetic or a table, but is {section.name!r}.")


def _divided(
    section: DataSection, source: Source, tests: Mapping[str, Source], exclude: Collection[str]
) -> Parts:
    table = section if isinstance(section, TableSection) else None
    same = partial(
        duplicates.same_rows,
        source.table,
        exclude=exclude,
        named=() if table is None else (*table.numeric, *table.categorical, *table.keep),
        rare_below=section.preprocessing.rare_below,
    )
    return divide(source, tests, section.split, same)


def _purposes(section: DataSection) -> dict[str, str]:
    """Maps the columns of a table that are no features to their purposes."""
    named: tuple[str | None, ...] = (TARGET, TIMESTAMP, GROUP, BAYES)
    if isinstance(section, TableSection):
        named = (section.target, section.timestamp, section.group, None)
    purposes = ("the label", "the time", "the group", "the true probability")
    return {name: what for name, what in zip(named, purposes, strict=True) if name is not None}


def _spans(section: DataSection, parts: Parts) -> tuple[str, ...]:
    """Says from when to when each part is, where rows of a table were divided by time."""
    times = parts.train.times
    if parts.kind != "time" or times is None or not isinstance(section, TableSection):
        return ()
    named = {name: part.time for name, part in parts.named().items()}
    return (span_note(str(section.timestamp), times.how, named),)


def _rows(part: Source, made: Matrices, raw: npt.NDArray[np.float64] | None = None) -> Rows:
    last = max(int(part.rows[-1]), 1) if len(part) else 1
    place = (part.rows / last).astype(np.float32)
    return Rows(made.x_num, made.x_cat, part.y, part.group, part.bayes, part.time, place, raw)


def _tell(tell: Callable[[str], object], section: DataSection, place: Place) -> None:
    tell(f"Rows are read in parts and kept in files under {section.cache_folder}: {place.reason}.")


# --- rows on disk -----------------------------------------------------------------------------


def _on_disk(section: DataSection, place: Place, extents: Extents) -> PreparedData:
    key = fingerprint_json([__version__, fingerprint(section), source_fingerprint(section)])

    def write(folder: Path) -> Mapping[str, Any]:
        data = _prepared(section, place, extents, files_of(folder))
        parts = {"train": data.train, "val": data.val, **data.tests}
        for name, rows in parts.items():
            write_rest(folder / name, rows)
        return {
            "schema": data.schema.to_json(),
            "preprocessing": data.preprocessing,
            "fingerprint": data.fingerprint,
            "notes": list(data.notes),
            "overview": data.overview,
            "parts": list(parts),
            "whole": [] if data.attacker is None else data.attacker.whole,
        }

    folder, index = cached(section.cache_folder, key, write)
    rows = {name: MappedRows(folder / name) for name in index["parts"]}
    preprocessor = Preprocessor.from_json(index["preprocessing"])
    whole = index.get("whole", ())
    attacker = attacker_of(preprocessor, section.mutable, lambda name: name in whole)
    return PreparedData(
        schema=FeatureSchema.from_json(index["schema"]),
        preprocessing=index["preprocessing"],
        train=rows.pop("train"),
        val=rows.pop("val"),
        fingerprint=index["fingerprint"],
        notes=tuple(index["notes"]),
        overview=index.get("overview", {}),
        tests=rows,
        rows_in=section.rows_in,
        attacker=attacker if section.mutable else None,
    )


def _fingerprint(
    section: DataSection,
    preprocessing: Mapping[str, Any],
    hashes: Mapping[str, Hashes],
    targets: Mapping[str, npt.NDArray[np.float32]],
) -> str:
    """Computes a fingerprint over what was fitted, how rows were divided, and every row in its
    order."""
    digest = hashlib.sha256(fingerprint(section.split).encode())
    digest.update(json.dumps(preprocessing, sort_keys=True, allow_nan=False).encode())
    for name, rows in hashes.items():
        digest.update(f"{name}:{len(rows)}".encode())
        digest.update(rows.tobytes())
        digest.update(targets[name].tobytes())
    return digest.hexdigest()[:16]
