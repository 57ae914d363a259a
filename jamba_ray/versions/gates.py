"""Judges whether a version may be promoted: by the champion, thresholds, parity and cost."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from jamba_ray.checkpoints.encoding import decode
from jamba_ray.checkpoints.manifest import MANIFEST, parse
from jamba_ray.checkpoints.thresholds import FILE, digest_of, read_calibration, read_thresholds
from jamba_ray.config.data import TableSection
from jamba_ray.config.registry import CHALLENGER, GateSection, JudgedSection
from jamba_ray.data import prepare_for
from jamba_ray.evaluation import compare
from jamba_ray.evaluation.promise import disproof
from jamba_ray.inference.latency import latency_ms, size_mb
from jamba_ray.inference.predictor import Predictor, SavedModel
from jamba_ray.versions.actions import Candidate
from jamba_ray.versions.content import EVIDENCE, MODEL, SCORES
from jamba_ray.versions.gate_result import Gate
from jamba_ray.versions.opening import Found

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class JudgedRows:
    """Holds labelled rows with the scores of a version, and of the one it would replace."""

    labels: npt.NDArray[Any]
    new: Floats
    old: Floats | None
    group: npt.NDArray[Any] | None
    where: str


def judged(
    candidate: Candidate, gate: GateSection, data: JudgedSection, tell: Callable[[str], object]
) -> list[Gate]:
    """Returns what each gate found; none for a challenger, which is only looked at."""
    if candidate.alias == CHALLENGER:
        return []
    new = saved_model(candidate.version)
    predictor = new.predictor()
    champion = candidate.champion
    old = None if champion is None else saved_model(champion).predictor()
    rows = _rows(candidate, predictor, old, data, tell)
    return [
        against_champion(gate, candidate.alias, candidate.held if champion else None, rows),
        thresholds_hold(gate, predictor, rows),
        parity_of_exports(gate, candidate.version.content.facts),
        _latency(gate, predictor),
        _size(gate, new),
    ]


def saved_model(found: Found) -> SavedModel:
    """Reads the model of a version; raises the errors of a checkpoint that is damaged."""
    files = {
        name.removeprefix(f"{MODEL}/"): found.read(name)
        for name in found.content.files
        if name.startswith(f"{MODEL}/")
    }
    where, raw = f"{found.where}/{MODEL}", files.get(FILE)
    thresholds = read_thresholds(raw, digest_of(files[MANIFEST]), where)
    listed = parse(files[MANIFEST], where).files
    snapshot = decode({name: files[name] for name in listed}, where)
    return SavedModel(snapshot, thresholds, read_calibration(raw))


def _rows(
    candidate: Candidate,
    new: Predictor,
    old: Predictor | None,
    data: JudgedSection,
    tell: Callable[[str], object],
) -> JudgedRows | None:
    """Returns rows that judge both; None: there are none on which both can be judged."""
    if data.path is not None:
        section = TableSection.model_validate(data.model_dump(exclude_defaults=True))
        return _scored(new, old, section, data.path, tell)
    mine = _evidence(candidate.version)
    if candidate.champion is None:
        return mine
    theirs = _evidence(candidate.champion)
    if mine is None or theirs is None or not np.array_equal(mine.labels, theirs.labels):
        return None
    prints = [
        one.content.facts["fingerprints"].get("data")
        for one in (candidate.version, candidate.champion)
    ]
    if prints[0] is None or prints[0] != prints[1]:
        return None
    where = "the test rows of both runs"
    return JudgedRows(mine.labels, mine.new, theirs.new, mine.group, where)


def _scored(
    new: Predictor,
    old: Predictor | None,
    section: TableSection,
    path: str,
    tell: Callable[[str], object],
) -> JudgedRows:
    rows = prepare_for(new.preprocessing, section, tell, new.label_rule)
    theirs = None
    if old is not None:
        again = prepare_for(old.preprocessing, section, lambda note: None, old.label_rule)
        theirs = old.score_rows(again)
    return JudgedRows(rows.y, new.score_rows(rows), theirs, rows.group, path)


def _evidence(found: Found) -> JudgedRows | None:
    """Returns the scores of the run's test rows that the version keeps."""
    name = f"{EVIDENCE}/{SCORES}"
    if name not in found.content.files:
        return None
    try:
        frame = pd.read_parquet(io.BytesIO(found.read(name)))
        frame = frame[frame["part"] == "test"]
        group = frame["group"].to_numpy() if "group" in frame else None
        if group is not None and pd.isna(group).any():
            group = None
        labels, scores = frame["label"].to_numpy(), frame["probability"].to_numpy(float)
    except (ValueError, KeyError, OSError):
        return None
    if not len(labels):
        return None
    return JudgedRows(labels, scores, None, group, f"the test rows of version {found.number}")


def against_champion(
    gate: GateSection, alias: str, held: int | None, rows: JudgedRows | None
) -> Gate:
    """Judges the paired test on the same labelled rows."""
    setting = f"gate.champion={gate.champion} gate.metric={gate.metric} gate.margin={gate.margin}"
    name = "champion"
    if held is None:
        words = f"champion: {alias} points at no other version, so there is nothing to beat"
        return Gate(name, True, words, setting)
    is_free = gate.champion == "none"
    if rows is None or rows.old is None:
        words = (
            f"champion: it cannot be compared with version {held}, since the two runs were judged "
            "on different rows; data.path=<labelled rows> gives both the same ones"
        )
        return Gate(name, is_free, words, setting)
    if len(np.unique(rows.labels)) < 2:
        words = f"champion: {rows.where} must have threats and benign rows, but lack one kind"
        return Gate(name, is_free, words, setting)
    all_of = compare(rows.labels, rows.new, rows.old, group=rows.group)
    one: Mapping[str, Any] = all_of[gate.metric]
    low, high, few = one["low"], one["high"], one["too_few"]
    least = 0.0 if gate.champion == "better" else -gate.margin
    passes = is_free or (few is None and low > least)
    demanded = {
        "better": "all of that must be above 0",
        "not_worse": f"all of that must be above {-gate.margin:g}",
        "none": "not judged",
    }[gate.champion]
    words = (
        f"champion: {gate.metric} differs from version {held} by {one['value']:+.4f} (95 % "
        f"interval {low:+.4f} to {high:+.4f}) on {len(rows.labels):,} rows of {rows.where}; "
        f"{demanded}{f', and there are too few rows: {few}' if few else ''}"
    )
    values = {"value": one["value"], "low": low, "high": high, "rows": len(rows.labels)}
    return Gate(name, passes, words, setting, {**values, "against": held})


def thresholds_hold(gate: GateSection, predictor: Predictor, rows: JudgedRows | None) -> Gate:
    """Judges whether what ``threshold`` promised still holds."""
    broken, kept, unproven = [], [], []
    for name in predictor.thresholds:
        promise = predictor.promise_of(name)
        if promise is None or promise.get("holds") is not True:
            unproven.append(name)
            continue
        cut, _ = predictor.threshold_of(name)
        against = None
        if rows is not None:
            against = disproof(
                promise, rows.labels, rows.new, cut, where=rows.where, group=rows.group
            )
        broken += [f"{name!r}: {against}"] if against else []
        kept += [] if against else [name]
    told = [f"a promise is broken ({'; '.join(broken)})"] if broken else []
    if kept:
        on = f", and {rows.where} do not refuse it" if rows is not None else ""
        told.append(f"what was promised of {_named(kept)} holds{on}")
    if unproven:
        told.append(f"nothing is promised of {_named(unproven)}")
    words = f"thresholds: {'; '.join(told) or 'none was saved with the model'}"
    passes = {
        "none": True,
        "kept": not broken,
        "proven": bool(kept) and not broken and not unproven,
    }[gate.thresholds]
    return Gate("thresholds", passes, words, f"gate.thresholds={gate.thresholds}")


def _named(names: list[str]) -> str:
    return ", ".join(map(repr, names))


def parity_of_exports(gate: GateSection, facts: Mapping[str, Any]) -> Gate:
    """Judges whether the exports were proven to give the model's answers."""
    parity = facts.get("parity", {})
    words = "parity: the version has no export"
    if parity:
        told = "; ".join(f"{kind} on {found}" for kind, found in sorted(parity.items()))
        words = f"parity: proven when it was registered: {told}"
    passes = all(parity.values()) or not gate.parity
    return Gate("parity", passes, words, f"gate.parity={str(gate.parity).lower()}")


def _latency(gate: GateSection, predictor: Predictor) -> Gate:
    columns = predictor.preprocessing.columns
    frame = pd.DataFrame({name: [np.nan] for name in columns})
    matrices = predictor.preprocessing.transform(frame)
    found = latency_ms(lambda: predictor.score_matrices(*matrices))
    return limited("latency", "ms for one row", found, gate.latency_ms, "gate.latency_ms")


def _size(gate: GateSection, saved: SavedModel) -> Gate:
    return limited("size", "MB of weights", size_mb(saved.snapshot), gate.size_mb, "gate.size_mb")


def limited(name: str, unit: str, value: float, most: float | None, setting: str) -> Gate:
    """Judges a number by the limit that a setting gives."""
    shown = "null" if most is None else f"{most:g}"
    rule = "not judged" if most is None else f"at most {most:g} may be"
    words = f"{name}: {value:.3g} {unit}; {rule}"
    passes = most is None or value <= most
    return Gate(name, passes, words, f"{setting}={shown}", {"value": value})
