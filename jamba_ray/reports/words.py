"""Formats numbers and names as text, the same on the terminal and in the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


class _Labels(dict[str, str]):
    """Holds what metrics are called; one of a plug-in is called by its name."""

    def __missing__(self, key: str) -> str:
        return key


LABELS = _Labels()
LABELS |= {
    "average_precision": "avg precision",
    "roc_auc": "ROC AUC",
    "f1": "F1",
    "recall_at_fpr_1e-2": "recall@1% FPR",
    "recall_at_fpr_1e-3": "recall@0.1% FPR",
    "partial_auc_1e-2": "pAUC@1% FPR",
    "precision_at_alerts_1e-3": "prec@0.1% alerts",
    "accuracy": "accuracy",
    "ece": "calibr. error",
    "brier": "Brier score",
    "log_loss": "log loss",
    "latency_ms": "ms for a row",
    "model_size_mb": "megabytes",
    "robustness": "robustness",
    "fpr": "false positives",
    "recall": "recall",
}


def labelled(keys: Iterable[str]) -> dict[str, str]:
    """Returns key -> label of our metrics, in our order, and then of the other ``keys``."""
    return {**LABELS, **{key: key for key in keys if key not in LABELS}}


MINOR = ("partial_auc_1e-2", "precision_at_alerts_1e-3", "brier")
"""Metrics that a terminal shows only where they are the objective."""
_ORIGINS = {"defaults": " (the defaults)", "enqueue": " (enqueued)"}


def origin_in_words(origin: str | None) -> str:
    """Returns `` (the defaults)`` or `` (enqueued)``; empty for what a sampler proposed."""
    return _ORIGINS.get(origin or "", "")


def trial_in_words(number: int, origin: str | None) -> str:
    """Returns ``7``, or ``0 (the defaults)`` for a trial that no sampler proposed."""
    return f"{number}{origin_in_words(origin)}"


def difference_in_words(difference: Mapping[str, Any], other: str) -> str:
    """Says whether an interval of (winner - other) means better, worse, or not distinguishable."""
    if difference.get("too_few"):
        return f"no verdict beside {other} ({difference['value']:+.4f}): {difference['too_few']}"
    low, high = difference["low"], difference["high"]
    over = f" (over {difference['groups']:,} groups)" if difference.get("groups") else ""
    interval = f"{difference['value']:+.4f} [{low:+.4f}, {high:+.4f}]{over}"
    if low > 0:
        return f"better than {other} by {interval}"
    if high < 0:
        return f"WORSE than {other} by {interval}"
    return f"not distinguishable from {other}: {interval}"


def winner_notes(summary: Mapping[str, Any]) -> list[str]:
    """Returns what attacks cost the winner, and how long threats stay undetected."""
    return robustness_notes(summary["robustness"]) + delay_notes(summary["detection_delay"])


def robustness_notes(found: Mapping[str, Mapping[str, Any]] | None) -> list[str]:
    """Says of each part that was attacked what the attack costs, and by which columns."""
    notes = []
    for part, one in (found or {}).items():
        used = [c for c in one["columns"] if c["share"] > 0.0]
        by = ", ".join(
            f"{c['column']!r} in {c['share']:.0%} of {one['threats']:,} malicious rows (median "
            f"{c['median_change']:+.3g})"
            for c in used
        )
        where = {"val": "validation", "test": "test"}.get(part, part)
        notes.append(
            f"Under attack the average precision on {where} rows falls from "
            f"{one['without_attack']:.4f} to {one['value']:.4f} [{one['low']:.4f}, "
            f"{one['high']:.4f}]: the attacker changed {by or 'no column'}. It is what "
            f"{one['attack']} found with {one['scored']:,} scores; a better attacker may find more."
        )
    return notes


def delay_notes(found: Mapping[str, Any] | None) -> list[str]:
    """Says how long threats stay undetected; ``found`` is ``detection_delay`` of ``summary.json``
    (None: not known)."""
    if found is None:
        return []
    where = {"val": "validation", "test": "test"}.get(found["part"], found["part"])
    share, rows, time = found["found"], found["rows"], found["time"]
    said = f"an alert in {round(share['value'] * found['groups'])} of {found['groups']:,} groups"
    if rows["median"] is None:
        half = "no alert in half of them"
    else:
        long = duration(time["median"]) if found["unit"] == "s" else f"{time['median']:.3g}"
        half = f"half of them after at most {rows['median']:,.0f} rows and {long}"
    return [
        f"Detection delay on {where} rows, from a group's first malicious row to the first that is "
        f"an alert: {said}, {half}; at once in {found['at_once']:,}."
    ]


_DIVIDED = {"random": "by chance", "time": "by time", "group": "by group"}


def folds_in_words(cv: Mapping[str, Any], objective: str) -> list[str]:
    """Says what the winner reached over its folds, and what ``best/`` is trained on; ``cv`` is that
    of ``summary.json``."""
    label, values = LABELS.get(objective, objective), cv["values"]
    times = f" x {cv['repeats']}" if cv["repeats"] > 1 else ""
    error = "" if cv["std_error"] is None else f" ± {cv['std_error']:.4f} (standard error)"
    return [
        f"Mean {label} over {cv['folds']}{times} folds of the training rows, divided "
        f"{_DIVIDED.get(str(cv['kind']), 'by chance')}: {cv['mean']:.4f}{error}, "
        f"{min(values):.4f} to {max(values):.4f} by fold.",
        f"The model that is kept was trained once more, on all {cv['refit_rows']:,} training rows; "
        f"its threshold has the best F1 of {cv['threshold_rows']:,} out-of-fold predictions.",
    ]


def team_in_words(team: Mapping[str, Any], best: Mapping[str, Any], objective: str) -> str:
    """Says whether a team of trials is the winner, and why; ``team`` and ``best`` are those of
    ``summary.json``."""
    alone = f"trial {trial_in_words(best['trial'], best.get('origin'))}"
    gain, members = team["gain"], team["members"]
    if (told := team.get("distilled")) is not None:
        kept = {k: v for k, v in team.items() if k != "distilled"} | {"used": True}
        return f"{team_in_words(kept, best, objective)} {told['sentence']}"
    if team["too_few"] is not None:
        return f"No team was sought, since {team['too_few']}: {alone} was kept."
    if len(team["candidates"]) + len(team.get("variants", ())) < 2:
        return f"No team was sought, since no other trial was trained to its end: {alone} was kept."
    if gain is None:
        return (
            f"No team of the best {len(team['candidates'])} trials has a better "
            f"{LABELS[objective]} than {alone} on validation rows."
        )
    what = (
        f"{gain['value']:+.4f} [{gain['low']:+.4f}, {gain['high']:+.4f}] of {LABELS[objective]} on "
        "validation rows that did not choose it"
    )
    if not team["used"]:
        return (
            f"Equal within noise: a team of {size_in_words(members)} gains {what}, so {alone} was "
            "kept."
        )
    tested = ""
    if (value := team["single"].get("test")) is not None:
        tested = f" (on the test, which decided nothing, that trial alone has {value:.4f})"
    return (
        f"The team of {members_in_words(members)} is better than {alone} alone by {what}{tested}."
    )


def search_in_words(search: Mapping[str, Any]) -> str:
    """Says how trials were proposed and stopped; ``search`` is that of ``summary.json``."""
    pruner = search["pruner"]["name"]
    stopped = "trained to their end" if pruner == "none" else f"stopped early by {pruner}"
    return f"Trials were proposed by {search['sampler']['name']} and {stopped}."


def front_in_words(front: Mapping[str, Any]) -> str:
    """Says which trials are best in some objective, and which was picked; ``front`` is that of
    ``summary.json``."""
    names, rule = list(front["objectives"]), front["pick"]
    found = {t["trial"]: _values_in_words(t["values"]) for t in front["trials"]}
    within = f"the best in {' and then '.join(names[1:])} within {rule} of the best {names[0]}"
    why = "the knee" if rule == "knee" else within
    n = len(found)
    ends = [f"trial {trial} ({values})" for trial, values in found.items()]
    shown = ", ".join(ends if n <= 4 else [*ends[:2], "...", *ends[-1:]])
    trials = f"{n} trials are" if n > 1 else "1 trial is"
    return (
        f"{trials} not dominated in {', '.join(names)}: {shown}. Trial {front['picked']} was "
        f"picked, {why} (`pick={rule}`). With several objectives no team is sought."
    )


def _values_in_words(values: Mapping[str, float]) -> str:
    return ", ".join(f"{LABELS.get(name, name)} {value:.4g}" for name, value in values.items())


def members_in_words(members: Iterable[Mapping[str, Any]]) -> str:
    """Lists the members of a team with their weights: ``trials 3 (0.60) and 7 (0.40)``."""
    ordered = sorted(members, key=lambda m: -m["weight"])
    listed = [f"{member_name(m)} ({m['weight']:.2f})" for m in ordered]
    return f"trials {', '.join(listed[:-1])} and {listed[-1]}" if listed[1:] else listed[0]


def size_in_words(members: Sequence[Mapping[str, Any]]) -> str:
    """Returns ``3 trials``, or ``3 models`` where some are of one trial's configuration."""
    n = len(members)
    what = "model" if any(m.get("variant") for m in members) else "trial"
    return f"{n} {what}{'s'[: n != 1]}"


def member_name(member: Mapping[str, Any]) -> str:
    """Returns ``3``, or ``3 seed 1`` for a further model of a trial's configuration."""
    variant = member.get("variant")
    return f"{member['trial']} {variant}" if variant else str(member["trial"])


def duration(seconds: float) -> str:
    """Formats seconds as ``42 s``, ``3 min 05 s`` or ``2 h 10 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def fitting(parts: Sequence[str], width: int, between: str) -> str:
    """Joins as many parts as fit in a line, from the left; the first is always there."""
    text = parts[0]
    for part in parts[1:]:
        if part and len(text) + len(between) + len(part) <= width:
            text += between + part
    return text


def names_of(paths: Iterable[str]) -> dict[str, str]:
    """Returns the last part of each parameter, or its whole path where two parameters end alike.

    ``model.name`` is called ``model``.
    """
    lasts = {path: path.removesuffix(".name").rpartition(".")[2] for path in paths}
    counts = Counter(lasts.values())
    return {path: path if counts[last] > 1 else last for path, last in lasts.items()}


def params_in_words(params: Mapping[str, Any], between: str) -> str:
    """Formats parameters as ``n_heads=4, learning_rate=0.001``."""
    names = names_of(params)
    return between.join(f"{names[path]}={short(value)}" for path, value in params.items())


def short(value: Any) -> str:
    """Formats a parameter's value with three digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
