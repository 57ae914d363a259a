"""Makes the summary of a sweep that ended: its winner judged once, its trials counted."""

from __future__ import annotations

import os
import time
from typing import Any

from jamba_ray.cli import summary
from jamba_ray.cli.phases import Phases
from jamba_ray.config.plugins import TROUBLES
from jamba_ray.config.run import SweepConfig
from jamba_ray.config.space import SearchSpace
from jamba_ray.data.prepared import PreparedData
from jamba_ray.driver import best_front, verdict
from jamba_ray.driver.refit import refit
from jamba_ray.errors import ExitCode, JambaError
from jamba_ray.reports.certificate import certified_in_words
from jamba_ray.reports.importance import importance
from jamba_ray.reports.words import folds_in_words, team_in_words, winner_notes
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.study.proposal import distribution
from jamba_ray.study.records import SweepResult


def judged(
    config: SweepConfig,
    space: SearchSpace,
    data: PreparedData,
    folder: RunFolder,
    result: SweepResult,
    begun: float,
    frame: dict[str, Any],
    earlier: dict[str, Any],
    phases: Phases,
) -> dict[str, Any]:
    """Returns the summary of a sweep that ended, with its winner judged once on the test rows."""
    is_free = not config.binds_winner
    is_same = all(
        (earlier.get(key) or {}).get("settings")
        == (section.model_dump(mode="json") if section.enabled and is_free else None)
        for key, section in (("team", config.ensemble), ("certification", config.certify))
    )
    is_same &= bool(earlier.get("refit")) == config.refit
    is_valid = is_same and folder.best.exists() and summary.is_of(earlier, frame, result)
    if not result.runners and is_valid:
        # Nothing has changed since the earlier summary.
        return {**earlier, "notes": list(dict.fromkeys([*earlier["notes"], *result.notes]))}
    return _summary(config, space, data, folder, result, begun, phases)


def _summary(
    config: SweepConfig,
    space: SearchSpace,
    data: PreparedData,
    folder: RunFolder,
    result: SweepResult,
    begun: float,
    phases: Phases,
) -> dict[str, Any]:
    report: dict[str, Any] = {
        **summary.frame("sweep", config, data),
        "status": result.status,
        "exit_code": int(summary.exit_code(result)),
        "ended": result.ended,
        "trials": summary.count_states(result.counts),
        "failures": summary.failures(result.trials),
        "search": summary.search(config),
        "bayes": verdict.bayes(data),
        "importance": importance(
            result.trials,
            {p.path: distribution(p.leaf) for p in space.parameters},
            config.objective,
        ),
        "notes": [*data.notes, *result.notes, *verdict.few_rows(verdict.labels_of(data))],
        "goodput": result.goodput if result.runners else None,
        "folder": str(folder.path),
        "report": str(folder.report),
        "next": summary.next_commands(folder, result, config.plugins),
    }
    if result.best is not None:
        # After a kill at the end no search is left to time: what trials trained is the least.
        trained_s = sum(t.goodput_s for t in result.trials) / (os.cpu_count() or 1)
        search_s = max(result.wall_s, trained_s)
        store = folder.checkpoint_store()
        found = best_front.picked(config, data.searched, store, result.best, result.trials)
        again = None
        if config.cv.folds:
            again = refit(config, data, folder, found.winner, phases.begin)
        report |= verdict.of_winner(
            config, data, folder, found.winner, result.trials, search_s, phases.begin, again
        )
        report["cv"] = None
        if again is not None:
            told = folds_in_words(again.summary, config.objective)
            report["cv"] = {**again.summary, "sentences": told}
        report["front"] = found.front
        report["notes"] += summary.limit_notes(config, found.winner)
        if team := report["team"]:
            words = team_in_words(team, report["best"], config.objective)
            report["team"] = {**team, "sentence": words}
        if certified := report["certification"]:
            is_team = bool(team and team["used"])
            told = certified_in_words(certified, config.objective, is_team=is_team)
            report["certification"] = {**certified, "sentences": told}
        if more := report["refit"]:
            report["notes"].append(more["sentence"])
        report["notes"] += verdict.group_notes(report["drawn_groups"], config.data)
        report["notes"] += winner_notes(report)
        report["notes"] += [*verdict.left_interval(report["best"]), *TROUBLES.values()]
    report["wall_s"] = time.monotonic() - begun
    plain: dict[str, Any] = summary.finite(report)
    return plain


def ended_early(
    frame: dict[str, Any], folder: RunFolder, error: JambaError, wall_s: float
) -> dict[str, Any]:
    """Returns the summary of a sweep that a signal, the store or the machine ended."""
    words = {ExitCode.INTERRUPTED: "interrupted", ExitCode.STORAGE: "storage_lost"}
    report: dict[str, Any] = {
        **frame,
        **summary.so_far(folder),
        "status": words.get(error.exit_code, "failed"),
        "exit_code": int(error.exit_code),
        "ended": error.message,
        "wall_s": wall_s,
    }
    plain: dict[str, Any] = summary.finite(report)
    return plain
