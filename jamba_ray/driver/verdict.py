"""Judges a trained model: its metrics with intervals, the baseline's, and the Bayes limit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from jamba_ray.checkpoints import Snapshot, write_checkpoint
from jamba_ray.config.data import DataSection, TableSection
from jamba_ray.config.family import trains_alone
from jamba_ray.config.params import with_params
from jamba_ray.config.run import ExperimentConfig, SweepConfig, TrialConfig
from jamba_ray.config.training_length import length_of
from jamba_ray.data.prepared import PreparedData, Rows
from jamba_ray.data.reference import reference_of
from jamba_ray.data.to_come import drawn_for
from jamba_ray.driver.certify import Certification
from jamba_ray.driver.distil import distilled
from jamba_ray.driver.expectation import expectation
from jamba_ray.driver.more_rows import refit_winner
from jamba_ray.driver.refit import Refit
from jamba_ray.driver.rivals import rivals_of, strongest, train_rivals
from jamba_ray.driver.score_table import score_table
from jamba_ray.driver.team import Sought, seek_team
from jamba_ray.evaluation import (
    bayes_limit,
    by_group,
    choose_threshold,
    compare,
    intervals,
    too_few,
)
from jamba_ray.evaluation.clusters import clusters_of
from jamba_ray.evaluation.delay import detection_delay
from jamba_ray.evaluation.groups import drawn_groups
from jamba_ray.inference import Predictor, score_rows
from jamba_ray.inference.importance import feature_importance
from jamba_ray.inference.robustness import robustness as robustness_of
from jamba_ray.inference.team import Part
from jamba_ray.runs.file_writes import write_bytes
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.study.records import TrialRecord
from jamba_ray.training.validation import ROBUSTNESS

Probabilities = npt.NDArray[np.float64]
_PART_NAMES = {"val": "the validation part", "test": "the test"}
_RANKING = "average_precision"
"""A metric that rows of one class leave undefined."""


@dataclass(frozen=True)
class Judged:
    """Holds a model's scores on every part of the data that it was not trained on."""

    threshold: float
    """The threshold with the best F1 on validation rows, or out of fold; used unchanged on the
    tests."""
    probabilities: Mapping[str, Probabilities]
    """Part ('val', then the tests) -> [N] probability of a threat."""
    metrics: Mapping[str, dict[str, Any]]
    """Part -> metric -> {"value", "low", "high"}."""
    robustness: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    """Part that was attacked -> what was found; see ``inference.robustness``."""

    def to_json(self) -> dict[str, Any]:
        """Returns the part ``best`` or ``baseline`` of ``summary.json``.

        A test of one class goes to ``extra_tests``: it decides nothing between models.
        """
        decides = _RANKING in self.metrics.get("test", {})
        usual = {"val", "test"} if decides else {"val"}
        extra = {k: v for k, v in self.metrics.items() if k not in usual}
        return {
            "threshold": self.threshold,
            "val": self.metrics["val"],
            **({"test": self.metrics["test"]} if decides else {}),
            **({"extra_tests": extra} if extra else {}),
        }


def of_winner(
    config: ExperimentConfig,
    data: PreparedData,
    folder: RunFolder,
    winner: TrialRecord,
    trials: Sequence[TrialRecord] = (),
    search_s: float = 0.0,
    phase: Callable[[str], object] = lambda words: None,
    refit: Refit | None = None,
) -> dict[str, Any]:
    """Returns ``best``, ``team``, ``certification``, ``rivals``, ``baseline`` ... of
    ``summary.json``.

    The winner's checkpoint is published as ``best/``; in a sweep, which took ``search_s`` seconds,
    another of ``trials`` takes its place if it is surely as good and cheaper, and a team if it is
    surely better; with ``refit=true`` it is then trained again on more rows. This is the only place
    that scores the tests, and it does so once for the winner, once for each rival and, beside a
    team, once for the best single trial. The baseline is the rival that is best on validation rows.
    ``refit``: the winner of a cross-validated sweep as it was trained on all training rows.

    Raises:
        CheckpointError: The winner's checkpoint is gone or damaged.
        StorageError: The disk does not take ``best/``.
    """
    store = folder.checkpoint_store()
    winner = winner if refit is None else refit.winner
    team, certification, models = Sought(None, None), None, dict[str, Snapshot]()
    # Neither seeds nor teams are attacked.
    is_free = isinstance(config, SweepConfig) and not (
        config.binds_winner or config.objective == ROBUSTNESS
    )
    if isinstance(config, SweepConfig) and is_free and config.certify.enabled:
        certification = Certification(
            config.certify, config.objective, data, folder, trials, search_s, phase
        )
        winner = certification.winner(winner)
    trial = with_params(config.trial(), winner.params)
    phase("judging the winner")
    rivals = rivals_of(config.held_against, trial.model.name)
    missing = []
    for family, model in train_rivals(rivals, config.trial(), data, folder):
        if isinstance(model, str):
            missing.append({"model": family, "reason": model})
        else:
            models[family] = model
    parts = attacked_parts(config.objectives, data)
    rival_parts = parts if ROBUSTNESS in config.objectives else ()
    held = {family: judge(model, data, rival_parts) for family, model in models.items()}
    strong = None
    if held:
        strong = strongest({k: one.metrics["val"] for k, one in held.items()}, config.objective)
    if certification is not None and strong is not None:
        certification.against(strong, models[strong])
    if isinstance(config, SweepConfig) and is_free:
        own = certification
        scored = () if own is None else (own.seeds_of_winner(), own.log_odds_of_trials())
        team = seek_team(config.ensemble, data, store, winner, trials, config.objective, *scored)
        if config.ensemble.distil and team.snapshot is not None and team.summary is not None:
            single = Predictor(store.load(winner.checkpoint or ""))
            one = distilled(config, team.snapshot, single, data, folder, trials, phase)
            told = {**team.summary, "distilled": one.summary}
            if one.snapshot is not None:
                told["used"] = False
            team = Sought(one.snapshot or team.snapshot, told, team.parts)
    phase("judging the winner")
    made = team.snapshot if refit is None else refit.snapshot
    more = None
    if isinstance(config, SweepConfig) and config.refit:
        alone = (Part(winner.number, 1.0, made or store.load(winner.checkpoint or "")),)
        own_parts = team.parts or alone
        is_alike = is_free and not ((team.summary or {}).get("distilled") or {}).get("used")
        more = refit_winner(own_parts, data, folder, winner, trials, phase, is_free=is_alike)
        if more.snapshot is not None:
            made, data = more.snapshot, more.data
            again = train_rivals(list(held), config.trial(), data, folder)
            held = {name: judge(one, data) for name, one in again if isinstance(one, Snapshot)}
            phase("judging the winner")
    predictor = Predictor(made or store.load(winner.checkpoint or ""))
    judged = judge(predictor, data, parts, None if refit is None else refit.threshold)
    if made is None:
        store.publish(winner.checkpoint or "", folder.best)
    else:
        write_checkpoint(made, folder.best, winner.number, winner.best_step)
    baseline_judged = None if strong is None else held.get(strong)
    found: dict[str, Any] = {
        "best": {
            "trial": winner.number,
            "origin": winner.origin,
            "params": dict(winner.params),
            "step": winner.best_step,
            "epochs": winner.epochs,
            "best_epoch": best_epoch(winner),
            "most_epochs": most_epochs(trial, len(data.train)),
            "rows_seen": winner.rows_seen,
            "checkpoint": folder.best.name,
            "config": trial.model_dump(mode="json"),
            **judged.to_json(),
        },
        "team": team.summary,
        "certification": None if certification is None else certification.summary(),
        "refit": None if more is None else more.summary,
        "groups": recall_by_group(judged, data),
        "drawn_groups": drawn_whole(data),
        "robustness": judged.robustness or None,
        "detection_delay": delay_of(judged, data)
        if isinstance(config.data, TableSection)
        else None,
        "feature_importance": of_features(predictor, judged.threshold, data),
    }
    if more is not None and more.snapshot is not None:
        found["bayes"] = bayes(data)  # of the rows that are left to validate
    found["best"]["expected"] = expectation(
        data, judged.probabilities["val"], found["best"], config.objective
    )
    found["rivals"] = [
        {"model": family, **one.to_json(), "comparison": difference(judged, one, data)}
        for family, one in held.items()
    ] + missing
    if baseline_judged is not None:
        found["baseline"] = {"model": strong, **baseline_judged.to_json()}
        found["comparison"] = difference(judged, baseline_judged, data)
    theirs = None if baseline_judged is None else baseline_judged.probabilities
    to_come, drawn = drawn_for(data)
    parts_drawn = {name: one.to_json() for name, one in drawn.items()}
    found["to_come"] = {"rows": to_come, "parts": parts_drawn} if drawn else None
    write_bytes(folder.scores, score_table(judged.probabilities, theirs, data, drawn))
    write_bytes(folder.reference, reference_of(data, judged.probabilities).to_bytes())
    return found


def best_epoch(trial: TrialRecord) -> float | None:
    """Returns the epoch of the checkpoint that is kept; None where the reports are not known."""
    last = trial.curve[-1][0] if trial.curve else 0
    return trial.epochs * trial.best_step / last if last else None


def most_epochs(config: TrialConfig, n_train: int) -> float | None:
    """Returns the epochs that a trial might take; None: no number of epochs ends it."""
    length = length_of(config.training, n_train)
    return None if trains_alone(config.model.name) and length.is_open else length.epochs


def attacked_parts(objectives: Sequence[str], data: PreparedData) -> tuple[str, ...]:
    """Returns the parts on which the winner is attacked: where ``data.mutable`` names columns the
    decisive one, and the validation rows where ``robustness`` is an objective."""
    if data.attacker is None:
        return ()
    decisive = decisive_part(data)
    return tuple(dict.fromkeys(("val", decisive) if ROBUSTNESS in objectives else (decisive,)))


def judge(
    model: Predictor | Snapshot,
    data: PreparedData,
    attacked: Sequence[str] = (),
    threshold: float | None = None,
) -> Judged:
    """Scores ``model`` once on the validation rows and on each test, and attacks it on the parts
    ``attacked``; ``threshold`` None: that with the best F1 on validation rows."""
    parts: dict[str, Rows] = {"val": data.val, **data.tests}
    probabilities = {name: score_rows(model, rows) for name, rows in parts.items()}
    if threshold is None:
        threshold = choose_threshold(data.val.y, probabilities["val"])
    units = {name: units_of(rows, data.train) for name, rows in parts.items()}
    metrics: dict[str, dict[str, Any]] = {
        name: dict(intervals(rows.y, probabilities[name], threshold, group=units[name]))
        for name, rows in parts.items()
    }
    found: dict[str, dict[str, Any]] = {}
    predictor = model if isinstance(model, Predictor) else Predictor(model)
    for name in attacked:
        one = robustness_of(predictor, parts[name], data.attacker, units[name])
        if one is not None:
            found[name] = one
            metrics[name][ROBUSTNESS] = {key: one[key] for key in ("value", "low", "high")}
    return Judged(threshold, probabilities, metrics, found)


def decisive_part(data: PreparedData) -> str:
    """Returns where winner and baseline are compared: a test with both classes, else 'val'."""
    test = data.tests.get("test")
    return "val" if test is None or len(np.unique(test.y)) < 2 else "test"


def difference(winner: Judged, baseline: Judged, data: PreparedData) -> dict[str, Any]:
    """Returns metric -> paired 95 % interval of (winner - baseline) on the decisive part."""
    part = decisive_part(data)
    rows = data.tests[part] if part != "val" else data.val
    p, q = winner.probabilities[part], baseline.probabilities[part]
    return dict(compare(rows.y, p, q, group=units_of(rows, data.train)))


def units_of(rows: Rows, train: Rows) -> npt.NDArray[np.str_] | None:
    """Returns the groups [N] that intervals of ``rows`` draw whole; None: they draw rows."""
    return drawn_groups(rows.y, rows.group, train.group)


def drawn_whole(data: PreparedData) -> dict[str, int]:
    """Returns part -> the groups over which its intervals are; parts of which rows are drawn are
    left out."""
    found = {}
    for part, rows in {"val": data.val, **data.tests}.items():
        group = units_of(rows, data.train)
        clusters = None if group is None else clusters_of(rows.y == 1, group)
        if clusters is not None:
            found[part] = clusters.groups
    return found


def group_notes(drawn: Mapping[str, int], section: DataSection) -> list[str]:
    """Returns a note on the parts whose intervals are over groups (part -> groups)."""
    if not drawn:
        return []
    column = section.group if isinstance(section, TableSection) else None
    of = f" of {column!r}" if column else ""
    listed = [f"{n:,} groups{of} ({_PART_NAMES.get(part, part)})" for part, n in drawn.items()]
    return [
        f"Intervals are over {' and '.join(listed)} and not over rows: rows of a group are alike, "
        "and other groups will come."
    ]


def of_features(
    predictor: Predictor, threshold: float, data: PreparedData
) -> dict[str, Any] | None:
    """Returns ``feature_importance`` of ``summary.json``, on the decisive part."""
    part = decisive_part(data)
    rows = data.tests[part] if part != "val" else data.val
    found = feature_importance(predictor, rows, threshold)
    return None if found is None else {"part": part, **found}


def left_interval(best: Mapping[str, Any] | None) -> list[str]:
    """Returns a note where the test is outside what validation led to expect of it."""
    found = (best or {}).get("expected") or {}
    if found.get("holds") is not False:
        return []
    metric = found["metric"]
    value, low, high = best["test"][metric]["value"], found["low"], found["high"]  # type: ignore[index]
    return [
        f"The test's {metric.replace('_', ' ')} ({value:.4f}) is "
        f"{'below' if value < low else 'above'} what validation led to expect ({low:.4f} to "
        f"{high:.4f}, their numbers of rows counted): validation's rows chose the model, and may "
        "not be like the test's. Of other rows expect the test's value, not validation's."
    ]


Units = Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike | None]]
"""Part -> the labels [N] that a model is judged on, and the groups [N] that are drawn whole."""


def few_rows(parts: Units) -> list[str]:
    """Returns a note for each part of two classes with too few rows or groups of one."""
    return [
        f"{_PART_NAMES.get(part, part)} has {why}. Its intervals are as wide as that makes them."
        for part, (y, group) in parts.items()
        if len(np.unique(y)) == 2 and (why := too_few(y, group)) is not None
    ]


def labels_of(data: PreparedData) -> Units:
    """Returns the labels and the groups of each part."""
    parts = {"val": data.val, **data.tests}
    return {name: (rows.y, units_of(rows, data.train)) for name, rows in parts.items()}


def bayes(data: PreparedData) -> dict[str, dict[str, float]] | None:
    """Returns part -> metric -> what the true probabilities reach; None where they are unknown."""
    parts = {"val": data.val, **data.tests}
    known = {name: rows for name, rows in parts.items() if rows.bayes is not None}
    if not known:
        return None
    return {
        name: bayes_limit(rows.y, rows.bayes)
        for name, rows in known.items()
        if rows.bayes is not None
    }


def delay_of(judged: Judged, data: PreparedData) -> dict[str, Any] | None:
    """Returns how long threats stay undetected on the decisive part; see ``evaluation.delay``."""
    part = decisive_part(data)
    rows = data.tests[part] if part != "val" else data.val
    p = judged.probabilities[part]
    found = detection_delay(rows.y, p, rows.group, rows.time, judged.threshold)
    return None if found is None else {"part": part, **found}


def recall_by_group(judged: Judged, data: PreparedData) -> list[Any] | None:
    """Returns the recall per group (attack class, host) and whether training saw the group."""
    part = decisive_part(data)
    rows = data.tests[part] if part != "val" else data.val
    if rows.group is None:
        return None
    seen = None if data.train.group is None else set(data.train.group.tolist())
    return list(by_group(rows.y, judged.probabilities[part], rows.group, judged.threshold, seen))
