"""Says which configuration is surely better, as ``certification`` of ``summary.json`` has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jamba_ray.reports.rivals import family_in_words
from jamba_ray.reports.words import LABELS, duration

_SURELY = "with 95 % confidence"


def certified_in_words(
    certification: Mapping[str, Any], objective: str, *, is_team: bool = False
) -> list[str]:
    """Returns a sentence for each comparison, or one that says why there is none.

    ``is_team``: the winner is a team, so that no default model is advised in place of it.
    """
    if (few := certification["too_few"]) is not None:
        return [f"Not certified: the validation part has {few}."]
    comparisons = certification["comparisons"]
    if not comparisons:
        return [
            "Not certified: no other configuration was trained to its end, and no default model "
            "(`rivals=`) was trained beside it."
        ]
    margin = certification["settings"]["margin"]
    return [_sentence(one, certification, margin, objective, is_team) for one in comparisons]


def _sentence(
    found: Mapping[str, Any],
    certification: Mapping[str, Any],
    margin: float,
    objective: str,
    is_team: bool,
) -> str:
    a, b = (_name(found[side]) for side in ("a", "b"))
    shown = _interval(found, objective)
    verdict, family = found["verdict"], found["b"]["model"]
    is_default = "trial" not in found["b"]
    advice = f"Use {family_in_words(family)} with its defaults (`model={family}`): {_SURELY} it"
    if verdict == "better":
        return f"{_first(a)} beats {b} {_SURELY} ({shown})."
    if verdict == "worse":
        if is_default and not is_team:
            return f"{advice} beats {a} ({_turned(found, objective)})."
        ending = "" if is_default else f": {b} is the winner"
        return f"{_first(b)} beats {a} {_SURELY} ({_turned(found, objective)}){ending}."
    if verdict in ("equal", "not_better"):
        within = f"equal within noise, {_SURELY} less than {margin:g} apart"
        what = (
            f"{_first(a)} and {b} are {within}"
            if verdict == "equal"
            else f"{_SURELY[0].upper()}{_SURELY[1:]} {a} is not better than {b} by {margin:g}"
        )
        cheaper = found["b"]["seconds"] < 0.8 * found["a"]["seconds"]
        if is_default and cheaper and not is_team:
            return f"{advice} is not worse than {a} by {margin:g} ({shown}), and it is cheaper."
        if is_default:
            return f"{what} ({shown})."
        taken = f"{b}, the cheaper one, was taken" if "taken" in found else f"{a} was kept"
        return f"{what} ({shown}): {taken}."
    return f"Not certified: {_open(found, certification, a, b, shown)}"


def _open(
    found: Mapping[str, Any], certification: Mapping[str, Any], a: str, b: str, shown: str
) -> str:
    why = found["why"]
    if why == "rows":
        return (
            f"the validation rows are too few to tell {a} and {b} apart ({shown}), also with "
            "further seeds."
        )
    if why == "budget":
        allowed = certification["settings"]["max_share"]
        return (
            f"further seeds of {a}, to compare it with {b}, take some "
            f"{duration(found['needs_s'])}, more than `certify.max_share={allowed:g}` of the "
            f"search allows; `certify.max_share={found['needs_share']:g}` does."
        )
    if why == "failed":
        failed = found["failed"].replace("trial-", "trial ")
        return f"{failed} could not be trained with another seed: {found['reason']}"
    n = max(found["seeds"])
    return f"{a} and {b} were not separated ({shown}); `certify.seeds={2 * n}` tries on."


def _name(side: Mapping[str, Any]) -> str:
    if "trial" in side:
        return f"trial {side['trial']}"
    return f"{family_in_words(side['model'])} with its defaults"


def _first(name: str) -> str:
    return f"{name[0].upper()}{name[1:]}"


def _interval(found: Mapping[str, Any], objective: str) -> str:
    if "value" not in found:
        return ""
    low, value, high = found["low"], found["value"], found["high"]
    return f"validation {_what(objective)} {value:+.4f} [{low:+.4f}, {high:+.4f}]{_seeds(found)}"


def _turned(found: Mapping[str, Any], objective: str) -> str:
    low, value, high = -found["high"], -found["value"], -found["low"]
    return f"validation {_what(objective)} {value:+.4f} [{low:+.4f}, {high:+.4f}]{_seeds(found)}"


def _what(objective: str) -> str:
    better = " (above 0: better)" if objective == "log_loss" else ""
    return f"{LABELS.get(objective, objective)}{better}"


def _seeds(found: Mapping[str, Any]) -> str:
    n = max(found["seeds"])
    if n:
        return f" over {n} seeds"
    return "" if found["verdict"] == "open" else "; neither depends on a seed"
