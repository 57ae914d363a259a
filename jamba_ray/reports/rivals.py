"""Says how the winner compares with the default models that it is held against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jamba_ray.reports.words import LABELS, difference_in_words

_NAMES = {
    "lightgbm": "LightGBM",
    "xgboost": "XGBoost",
    "catboost": "CatBoost",
    "random_forest": "random forest",
    "extra_trees": "extra trees",
    "logistic": "logistic regression",
}


def family_in_words(family: str) -> str:
    """Returns the name of a family as it is written in sentences."""
    return _NAMES.get(family, family)


def baseline_of(summary: Mapping[str, Any]) -> str:
    """Returns the name of the rival that is the baseline; summaries of 0.1 do not say which, it was
    always LightGBM."""
    return family_in_words((summary.get("baseline") or {}).get("model", "lightgbm"))


def rivals_of(summary: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Returns what a summary says of each rival, the baseline first; earlier versions had one."""
    baseline = summary.get("baseline")
    if summary.get("rivals") is None:
        named = {"model": "lightgbm", **(baseline or {})}
        return [{**named, "comparison": summary.get("comparison")}] if baseline else []
    name = (baseline or {}).get("model")
    return sorted(summary["rivals"], key=lambda rival: rival["model"] != name)


def deciding(summary: Mapping[str, Any], comparison: Mapping[str, Any]) -> str:
    """Returns the metric by which winner and rival are compared."""
    objective = str(summary.get("objective"))
    return objective if objective in comparison else "average_precision"


def better_rival(summary: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Returns the rival that is surely better than the winner; of several the one with the best
    lower bound."""
    found: list[tuple[float, int, Mapping[str, Any]]] = []
    for rival in rivals_of(summary):
        if comparison := rival.get("comparison"):
            interval = comparison[deciding(summary, comparison)]
            if not interval.get("too_few") and interval["high"] < 0:
                found.append((interval["high"], len(found), rival))
    return min(found)[-1] if found else None


def rival_sentences(summary: Mapping[str, Any], where: str) -> list[str]:
    """Returns a sentence for each rival, and which to use if one is better; ``where`` is what they
    are compared on, such as 'test'."""
    found = []
    for rival in rivals_of(summary):
        name = family_in_words(rival["model"])
        if comparison := rival.get("comparison"):
            key = deciding(summary, comparison)
            words = difference_in_words(comparison[key], f"{name} with its defaults")
            found.append(f"{LABELS[key]} on {where}: {words}.")
        elif reason := rival.get("reason"):
            found.append(
                f"{name[0].upper()}{name[1:]} could not be trained for comparison: {reason}"
            )
    if (better := better_rival(summary)) is not None:
        family = better["model"]
        found.append(f"Use {family_in_words(family)} with its defaults instead: `model={family}`.")
    return found
