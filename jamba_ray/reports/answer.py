"""Describes a run in sentences and small tables, from which both formats of the report are made."""

from __future__ import annotations

import copy
import shlex
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jamba_ray.config.command_line import command, override
from jamba_ray.config.params import put
from jamba_ray.config.run import SweepConfig, TrainConfig
from jamba_ray.config.settings import settings_of
from jamba_ray.reports.rivals import better_rival, family_in_words, rival_sentences, rivals_of
from jamba_ray.reports.run import FINAL, Run
from jamba_ray.reports.words import (
    LABELS,
    duration,
    front_in_words,
    labelled,
    search_in_words,
    short,
    size_in_words,
    trial_in_words,
)
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.study.reading import is_being_written

_OF_ONE_START = ("resume", "overwrite", "dry_run", "verbose")
_NOT_AGAIN = ("tracking", "run", *_OF_ONE_START)
Table = list[list[str]]
"""Rows of cells; the first row is the heading."""


def status_of(run: Run) -> str:
    """Returns the status of a run in words.

    One of ``finished``, ``running``, ``interrupted``, ``ended early`` (the store was lost),
    ``stopped without an end`` (crash, kill -9), or ``without an end yet`` for a ``train`` run that
    may still be running.
    """
    if is_being_written(run.folder.study):
        return "running"
    status = run.summary.get("status")
    if status in (None, "running"):
        return "without an end yet" if run.study is None else "stopped without an end"
    if status in FINAL:
        return "finished"
    return "interrupted" if status == "interrupted" else "ended early"


def headline(run: Run) -> str:
    """Returns the result of a run in one sentence."""
    best = run.best
    label = LABELS.get(run.objective, run.objective)
    judged = run.summary.get("best")
    if judged:
        part = "test" if judged.get("test") else "val"
        if run.objective not in judged[part] and "val" in judged:  # logged without it
            part = "val"
        for key, kind in (("fpr", "benign rows"), ("recall", "threats")):
            if key in judged[part]:  # rows of one class, on which the objective is undefined
                return f"This model flags {judged[part][key]['value']:.2%} of the {kind}."
        interval = judged[part].get(run.objective) or judged[part]["average_precision"]
        where = "test rows" if part == "test" else "validation rows"
        winner = trial_in_words(judged["trial"], judged.get("origin"))
        who = f"Trial {winner} wins" if run.study else "This model reaches"
        if (team := run.summary.get("team") or {}).get("used"):
            who = f"A team of {size_in_words(team['members'])} wins"
        joint = " with" if run.study else ""
        reached = f"{who}{joint} {label} {interval['value']:.4f} on the {where}"
        if "low" in interval:
            reached += f" (95 % interval {interval['low']:.4f} to {interval['high']:.4f})"
        if (better := better_rival(run.summary)) is not None:
            name = family_in_words(better["model"])
            return f"{reached}, but {name} with its defaults is better."
        return f"{reached}."
    if best is None:
        counts = ", ".join(f"{n} {state}" for state, n in _states(run).items())
        return f"No trial has completed yet ({counts or 'none begun'})."
    state = status_of(run)
    so_far = "so far" if state in {"running", "interrupted"} else "before the sweep stopped"
    leader = trial_in_words(best.number, best.origin)
    return f"Trial {leader} leads {so_far} with {label} {best.value:.4f} on validation rows."


def summary_difference(run: Run) -> tuple[str, dict[str, Any]] | None:
    """Returns (metric, interval of winner minus baseline) for the deciding metric; None: no
    baseline."""
    comparison = run.summary.get("comparison")
    if not comparison:
        return None
    key = run.objective if run.objective in comparison else "average_precision"
    return key, comparison[key]


def sentences(run: Run) -> list[str]:
    """Returns the sentences below the headline: baseline, Bayes limit, status of the run."""
    found: list[str] = []
    summary, judged = run.summary, run.summary.get("best")
    if judged:
        compared = rival_sentences(summary, "test" if judged.get("test") else "validation")
        if compared and (difference := summary_difference(run)) is not None:
            compared[0] = f"{compared[0]} {_matters(difference[1])}".rstrip()
        found += compared
    if judged and (cv := summary.get("cv")):
        found += cv["sentences"]
    if judged and (team := summary.get("team")):
        found.append(team["sentence"])
    if judged and (expected := judged.get("expected")):
        found.append(expected["sentence"])
    if judged and (certification := summary.get("certification")):
        found += certification["sentences"]
    if judged and (bayes := summary.get("bayes")):
        part = "test" if judged.get("test") and "test" in bayes else "val"
        limit = bayes[part]["average_precision"]
        gap = limit - judged[part]["average_precision"]["value"]
        found.append(
            f"{gap:.4f} of average precision below the Bayes limit of this data ({limit:.4f}), "
            "which no model can pass."
        )
    if judged and judged.get("test") and summary.get("command") != "log_run":
        found.append(
            f"It was chosen {'over folds' if summary.get('cv') else 'on validation rows'}; the "
            "test rows were scored once, for this model"
            + (" and its rivals" if summary.get("baseline") else "")
            + (
                " and, for comparison, the best single trial."
                if (summary.get("team") or {}).get("used")
                else "."
            )
        )
    if judged and (front := summary.get("front")):
        found.append(front_in_words(front))
    if search := summary.get("search"):
        found.append(search_in_words(search))
    state = status_of(run)
    if state == "interrupted":
        found.append(f"The run was interrupted. Continue it with `{resume_command(run)}`.")
    elif state == "running":
        found.append("The sweep is still running; this is how it stands.")
    elif state == "ended early":
        found.append(f"{summary.get('ended')} Continue it with `{resume_command(run)}`.")
    elif state == "without an end yet":
        found.append(
            "The run has no end yet: it is training, or its process was killed. If it was, "
            f"continue it with `{resume_command(run)}`."
        )
    elif state != "finished":
        found.append(
            f"The run has no end: its process was killed. Continue it with `{resume_command(run)}`."
        )
    return found


def winner_parameters(run: Run) -> dict[str, str]:
    """Returns the parameters of the best trial as text."""
    best = run.best
    return {} if best is None else {path: short(value) for path, value in best.params.items()}


def metrics_table(run: Run) -> Table:
    """Returns the metrics of each part with intervals; the baseline and the limit are columns
    beside them."""
    summary, judged = run.summary, run.summary.get("best")
    if not judged:
        best = run.best
        if best is None:
            return []
        rows = [
            [label, f"{best.metrics[f'val/{key}']:.4f}"]
            for key, label in labelled(k.removeprefix("val/") for k in best.metrics).items()
            if f"val/{key}" in best.metrics and key != "loss"
        ]
        return [["metric", "validation"], *rows]
    columns: list[tuple[str, Mapping[str, Any]]] = []
    columns += [("validation", judged["val"])] if judged.get("val") else []
    columns += [("test", judged["test"])] if judged.get("test") else []
    columns += list((judged.get("extra_tests") or {}).items())
    for rival in rivals_of(summary):
        if part := next((part for part in ("test", "val") if rival.get(part)), None):
            columns.append((f"{family_in_words(rival['model'])}, {part}", rival[part]))
    if bayes := summary.get("bayes"):
        part = "test" if "test" in bayes else "val"
        columns.append((f"limit, {part}", {k: {"value": v} for k, v in bayes[part].items()}))
    # The standard metrics come first, then the user's own (`log_run`).
    keys = dict.fromkeys([*LABELS, *(key for _, scores in columns for key in scores)])
    rows = [
        [LABELS.get(key, key), *(_interval(scores.get(key)) for _, scores in columns)]
        for key in keys
        if any(key in scores for _, scores in columns)
    ]
    return [["metric", *(name for name, _ in columns)], *rows]


def failures_table(run: Run) -> Table:
    """Returns the failed trials, grouped by cause."""
    causes: dict[str, list[int]] = {}
    for trial in run.records:
        if trial.state == "failed":
            causes.setdefault(trial.reason or "no reason given", []).append(trial.number)
    rows = [
        [str(len(numbers)), cause, _some(numbers)]
        for cause, numbers in sorted(causes.items(), key=lambda item: -len(item[1]))
    ]
    return [["trials", "cause", "which"], *rows] if rows else []


def cost_table(run: Run) -> Table:
    """Returns what the run cost, and how much of it was training."""
    trained = sum(t.seconds for t in run.records)
    rows = sum(t.rows_seen for t in run.records)
    saved = _saved_by_pruning(run)
    table: Table = [["cost", ""]]
    table.append(["trials", ", ".join(f"{n} {s}" for s, n in _states(run).items()) or "none"])
    if (wall := run.summary.get("wall_s")) is not None:
        table.append(["wall time", duration(wall)])
    table.append(["training time of all trials", duration(trained)])
    table.append(["rows trained on", f"{rows:,}"])
    if saved is not None:
        table.append(["saved by stopping early", f"{saved:.0%} of the rows of full trials"])
    if (goodput := run.summary.get("goodput")) is not None:
        table.append(["runner time in training steps (goodput)", f"{goodput:.0%}"])
    return table


def environment_table(run: Run) -> Table:
    """Returns the versions of the software and the fingerprints of the run."""
    summary = run.summary
    table: Table = [["what", "version"]]
    table += [[name, str(version)] for name, version in summary.get("versions", {}).items()]
    identity = run.study.identity if run.study is not None else {}
    for name in ("config_fingerprint", "data_fingerprint"):
        if value := summary.get(name) or identity.get(name):
            table.append([name.replace("_", " "), str(value)])
    return table if len(table) > 1 else []


def reproduce_command(run: Run) -> str | None:
    """Returns one command that trains the best trial again, alone; None: there is no such trial."""
    best = run.best
    if best is None or run.study is None:
        return None
    tree = {key: run.config[key] for key in TrainConfig.model_fields if key in run.config}
    tree = copy.deepcopy({key: value for key, value in tree.items() if key not in _NOT_AGAIN})
    tree["seed"] = (int(tree.get("seed", 0)) + best.number) % 2**31
    family = best.params.get("model.name", tree["model"]["name"])
    if family != tree["model"]["name"]:
        tree["model"] = {"name": family}
    for path, value in best.params.items():
        put(tree, path, value)
    if (report_rows := _report_rows(run)) is not None:
        put(tree, "training.report_rows", report_rows)
    words = settings_of(TrainConfig, tree)
    return command("train", *words, override("run", f"{run.name}-trial-{best.number}"))


def resume_command(run: Run) -> str:
    """Returns the command that continues the run: all its settings and ``resume=true``."""
    is_sweep = run.study is not None or "sweep_name" in run.config
    section = SweepConfig if is_sweep else TrainConfig
    tree = {key: value for key, value in run.config.items() if key not in _OF_ONE_START}
    if "://" not in str(tree.get("store")):
        tree["store"] = str(_store(run.folder.path))
    words = settings_of(section, {**tree, "run": run.name})
    return command("sweep" if is_sweep else "train", *words, "resume=true")


def _store(path: Path) -> Path:
    """Returns the folder that holds the run folder ``path``, which may be given as ``.``."""
    return path.parent if path.name not in ("", "..") else path.resolve().parent


def evaluate_command(checkpoint: str) -> str:
    """Returns the command that evaluates a checkpoint on rows that the reader fills in."""
    return command("evaluate", override("checkpoint", checkpoint), "data.path=NEW_ROWS.csv")


def dashboard_command(folder: RunFolder) -> str:
    """Returns the command that shows the study in optuna-dashboard."""
    return shlex.join(["optuna-dashboard", "--host", "127.0.0.1", str(folder.study)])


def _report_rows(run: Run) -> int | None:
    given = run.config.get("training", {}).get("report_rows")
    if given is not None:
        return int(given)
    # The number that the sweep chose is in each trial's checkpoint.
    found: Any = (run.summary.get("best") or {}).get("config", {})
    settled = found.get("training", {}).get("report_rows")
    return None if settled is None else int(settled)


def _matters(difference: Mapping[str, Any]) -> str:
    if difference.get("too_few"):
        return ""
    if difference["low"] > 0 or difference["high"] < 0:
        return "The difference is larger than the chance of these rows explains."
    return "The difference does not matter: chance alone explains it."


def _interval(metric: Mapping[str, float] | None) -> str:
    if metric is None:
        return "–"
    if "low" not in metric:
        return f"{metric['value']:.4f}"
    return f"{metric['value']:.4f} [{metric['low']:.3f}, {metric['high']:.3f}]"


def _states(run: Run) -> dict[str, int]:
    return dict(Counter(t.state for t in run.records).most_common())


def _saved_by_pruning(run: Run) -> float | None:
    full = max((t.rows_seen for t in run.records if t.state == "complete"), default=0)
    ended = [t for t in run.records if t.state in ("complete", "pruned") and t.rows_seen]
    if not full or len(ended) < 2:
        return None
    return max(0.0, 1.0 - sum(t.rows_seen for t in ended) / (full * len(ended)))


def _some(numbers: list[int], most: int = 8) -> str:
    return ", ".join(map(str, numbers[:most])) + (", …" if len(numbers) > most else "")
