"""From a data section to matrices: read or generate, check, split, fit on train, transform."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

import numpy as np

from jamba_ray.config.data import DataSection, SyntheticSection, TableSection
from jamba_ray.config.fingerprint import fingerprint
from jamba_ray.config.names import nearest
from jamba_ray.data import repeats
from jamba_ray.data.cells import to_names
from jamba_ray.data.columns import detect
from jamba_ray.data.labels import check_both_labels, labels
from jamba_ray.data.leaks import leak_notes
from jamba_ray.data.parts import Source, divide
from jamba_ray.data.prepared import PreparedData, Rows
from jamba_ray.data.preprocessing import Preprocessor
from jamba_ray.data.splits import Labels
from jamba_ray.data.synthetic import BAYES, GROUP, TARGET, TIMESTAMP, generate
from jamba_ray.data.table import column_names, read_table
from jamba_ray.data.times import in_order
from jamba_ray.errors import DataError

NO_GROUP = "(none)"
"""Group of the rows whose group cell is empty."""


def prepare(section: DataSection) -> PreparedData:
    """Rows ready to train on. Raises DataError, one sentence, for data that cannot be used.

    Everything that is fitted (which columns are features, scales, categories) is fitted on the
    training rows alone. The test set, if any, is ``tests["test"]``; further ones follow under their
    own names.
    """
    if isinstance(section, SyntheticSection):
        parts = divide(_synthetic(section), {}, section.split)
        roles = detect(parts.train.frame, exclude={TARGET, TIMESTAMP, GROUP, BAYES})
    elif isinstance(section, TableSection):
        _check_names(section)
        parts = divide(_table(section, section.path), _tests(section), section.split)
        roles = detect(
            parts.train.frame,
            exclude=_no_features(section),
            numeric=section.numeric,
            categorical=section.categorical,
        )
    else:
        raise DataError(f"data must be synthetic or a table, but is {section.name!r}.")
    for name, part in parts.named().items():
        check_both_labels(part.y, f"the {name} part of {part.name}")
    preprocessor, notes = Preprocessor.fit(parts.train.frame, roles, section.preprocessing)
    rows = {name: _rows(part, preprocessor) for name, part in parts.named().items()}
    hashes = {
        name: repeats.row_hashes(part.frame, preprocessor.columns)
        for name, part in parts.named().items()
    }
    targets = {name: part.y for name, part in rows.items()}
    return PreparedData(
        schema=preprocessor.schema,
        preprocessing=preprocessor.to_json(),
        train=rows["train"],
        val=rows["val"],
        fingerprint=_fingerprint(section, preprocessor, hashes, targets),
        notes=(
            *roles.notes,
            *notes,
            *leak_notes(preprocessor.schema, rows["train"]),
            *repeats.notes(hashes, targets),
        ),
        tests={name: rows[name] for name in parts.tests},
    )


def _synthetic(section: SyntheticSection) -> Source:
    frame = generate(section)
    return Source(
        "the synthetic data",
        frame,
        labels(frame, TARGET, source="the synthetic data"),
        group=frame[GROUP].to_numpy(dtype=str),
        time=np.arange(len(frame), dtype=np.int64),
        bayes=frame[BAYES].to_numpy(),
    )


def _check_names(section: TableSection) -> None:
    """Refuse misspelt column names before the rows are read: a misspelt ``drop`` would leak."""
    present = column_names(section.path)
    named = {
        "data.target": (section.target,),
        "data.timestamp": (section.timestamp,) if section.timestamp else (),
        "data.group": (section.group,) if section.group else (),
        "data.drop": section.drop,
        "data.numeric": section.numeric,
        "data.categorical": section.categorical,
    }
    for option, names in named.items():
        for name in names:
            if name not in present:
                raise DataError(
                    f"{option} must name a column of {section.path}, but it has no {name!r}"
                    f"{nearest(name, present) or '; its columns are ' + _listed(present) + '.'}"
                )


def _tests(section: TableSection) -> dict[str, Source]:
    taken = sorted({"train", "val", "test"} & section.extra_tests.keys())
    if taken:
        raise DataError(
            f"data.extra_tests must use names of its own, but {taken[0]!r} is taken; rename it."
        )
    paths = {"test": section.test} if section.test is not None else {}
    return {
        name: _table(section, path, is_test=True)
        for name, path in {**paths, **section.extra_tests}.items()
    }


def _table(section: TableSection, path: str, *, is_test: bool = False) -> Source:
    frame = read_table(path, max_cells=section.max_cells, drop=section.drop)
    y = labels(frame, section.target, source=path)
    group = time = None
    # A test file may lack the group and the time: they are told, not learnt from.
    if section.group is not None and section.group in frame.columns:
        codes, names = to_names(frame[section.group])
        group = np.array([*names, NO_GROUP])[codes]
    if section.split.kind == "time" and section.timestamp is not None and not is_test:
        time = in_order(frame[section.timestamp], path)
    return Source(path, frame, y, group, time)


def _no_features(section: TableSection) -> set[str]:
    special = (section.target, section.timestamp, section.group, *section.drop)
    return {name for name in special if name is not None}


def _rows(part: Source, preprocessor: Preprocessor) -> Rows:
    x_num, x_cat = preprocessor.transform(part.frame, source=part.name)
    return Rows(x_num, x_cat, part.y, part.group, part.bayes)


def _fingerprint(
    section: DataSection,
    preprocessor: Preprocessor,
    hashes: Mapping[str, repeats.Hashes],
    targets: Mapping[str, Labels],
) -> str:
    """Over what was fitted, how rows were divided, and every row of every part in its order."""
    digest = hashlib.sha256(fingerprint(section.split).encode())
    digest.update(json.dumps(preprocessor.to_json(), sort_keys=True, allow_nan=False).encode())
    for name, rows in hashes.items():
        digest.update(f"{name}:{len(rows)}".encode())
        digest.update(rows.tobytes())
        digest.update(targets[name].tobytes())
    return digest.hexdigest()[:16]


def _listed(names: Sequence[str], at_most: int = 8) -> str:
    more = f" and {len(names) - at_most} more" if len(names) > at_most else ""
    return ", ".join(names[:at_most]) + more
