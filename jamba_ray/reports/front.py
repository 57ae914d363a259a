"""Draws the front of a sweep with several objectives."""

from __future__ import annotations

from typing import Any

from jamba_ray.reports.run import Run
from jamba_ray.reports.svg import Figure, Plot, Scale
from jamba_ray.reports.words import LABELS, trial_in_words


def front_of(run: Run) -> Figure | None:
    """Draws complete trials by the first two objectives; None: there is one objective, or no trial
    is judged yet."""
    front: dict[str, Any] | None = run.summary.get("front")
    if not front:
        return None
    x, y = list(front["objectives"])[:2]
    on = {t["trial"]: (t["values"][x], t["values"][y]) for t in front["trials"]}
    others = [t for t in run.records if t.values and t.number not in on]
    points = [*on.values(), *((t.values[0], t.values[1]) for t in others)]
    plot = Plot(Scale.of([a for a, _ in points]), Scale.of([b for _, b in points]))
    ordered: list[tuple[object, object]] = [*sorted(on.values())]
    plot.line(ordered, "s0")
    for trial in others:
        style = "bad" if trial.violation else "grey"
        plot.dot(trial.values[0], trial.values[1], style, f"trial {trial.number}")
    for number, (a, b) in on.items():
        style = "s1" if number == front["picked"] else "s0"
        plot.dot(a, b, style, f"trial {trial_in_words(number, None)}: {a:.4g}, {b:.4g}")
    note = "Blue: dominated by no other; orange: the winner; grey: complete and dominated"
    broken = "; red: breaks a limit" if any(t.violation for t in others) else ""
    return plot.figure("Objectives", LABELS.get(x, x), LABELS.get(y, y), f"{note}{broken}.")
