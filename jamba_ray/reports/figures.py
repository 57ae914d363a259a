"""Draws a study: history, curves, parallel coordinates, importance, slices and a contour."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution

from jamba_ray.config.direction import badness, better
from jamba_ray.reports.front import front_of
from jamba_ray.reports.importance import MIN_TRIALS, Compared, compared, importance
from jamba_ray.reports.run import Run
from jamba_ray.reports.svg import Figure, Plot, Scale, colour_of, fitted
from jamba_ray.reports.timeline import timeline
from jamba_ray.reports.trials_table import rungs_of
from jamba_ray.reports.words import LABELS, duration, names_of, params_in_words, trial_in_words
from jamba_ray.study.records import TrialRecord

_MAX_CURVES = 60
_MANY = 30
"""From this number of trials on, the importance of parameters is more than a hint."""
_MAX_SLICES = 12
_CELLS = 26


def study_figures(run: Run) -> dict[str, Figure]:
    """Returns the figures for which the trials of ``run`` have data, by name."""
    found: dict[str, Figure] = {}
    scored = [t for t in run.records if t.value is not None]
    if len(run.records) > 1 and scored:
        found["history"] = history(run, scored)
    if drawn := front_of(run):
        found["front"] = drawn
    if any(t.curve for t in run.records):
        found["curves"] = curves(run)
    if run.study is None:
        return found
    if (times := timeline(run)) is not None:
        found["timeline"] = times
    distributions = run.study.distributions
    if len(distributions) > 1 and len(scored) > 1:
        found["parallel"] = parallel(run, scored, distributions)
    shares = importances(run)
    if shares:
        among = compared(run.records)
        found["importance"] = importance_bars(shares, among)
    if len(scored) > 2:
        order = [*shares, *(p for p in distributions if p not in shares)][:_MAX_SLICES]
        for path in order:
            found[f"slice {path}"] = slice_of(run, scored, path, distributions[path])
        # A conditional parameter would hide the trials that lack it, and so a whole family.
        shared = [p for p in order if all(p in t.params for t in scored)]
        if len(shared) > 1 and len(scored) >= MIN_TRIALS:
            found["contour"] = contour(run, scored, shared[0], shared[1], distributions)
    return found


def importances(run: Run) -> dict[str, float]:
    """Returns the share of each parameter, from the study in its present state."""
    if run.study is None:
        return {}
    return importance(run.records, run.study.distributions, run.objective)


def label_of(run: Run) -> str:
    """Returns the usual name of the objective."""
    return LABELS.get(run.objective, run.objective)


def history(run: Run, scored: Sequence[TrialRecord]) -> Figure:
    """Draws the objective by trial, with the best so far; hollow marks are pruned trials."""
    plot = Plot(
        Scale.of([0, max(t.number for t in run.records)], whole=True),
        Scale.of([t.value for t in scored if t.value is not None]),
    )
    best: list[tuple[object, object]] = []
    for trial in scored:
        if trial.state == "complete" and trial.value is not None:
            ahead = best and not better(trial.value, float(best[-1][1]), run.direction)  # type: ignore[arg-type]
            best.append((trial.number, best[-1][1] if ahead else trial.value))
    if best:
        plot.line([*best, (run.records[-1].number, best[-1][1])], "s0 bold", steps=True)
    for trial in scored:
        style = "s0" if trial.state == "complete" else "grey"
        plot.dot(trial.number, trial.value, style, _tip(run, trial))
    for trial in run.records:
        if trial.state == "failed":
            at = plot.px(trial.number)
            plot.text(at - 3, plot.height - plot.bottom - 4, "×", "bad")
    n_reports = max((t.curve[-1][0] for t in run.records if t.curve), default=0)
    rungs = rungs_of(run, n_reports)
    note = "Blue: complete, and the best so far; grey: pruned, at their last report."
    if rungs:
        note += f" A rung follows each of the reports {', '.join(map(str, rungs))}."
        note = note.replace("each of the reports", "report") if len(rungs) == 1 else note
    return plot.figure("Optimisation history", "trial", label_of(run), note)


def curves(run: Run) -> Figure:
    """Draws learning curves: pruned trials grey, the best three in colour, rungs dashed."""
    every = run.epochs_per_report
    unit = every or 1.0
    drawn = [t for t in run.records if t.curve]
    done = sorted(
        (t for t in drawn if t.state == "complete"),
        key=lambda t: badness(t.value or 0.0, run.direction),
    )
    shown = drawn if len(drawn) <= _MAX_CURVES else [*done[:10], *drawn[-_MAX_CURVES + 10 :]]
    plot = Plot(
        Scale.of([0.0, *(t.curve[-1][0] * unit for t in shown)], margin=0.02),
        Scale.of([v for t in shown for _, v in t.curve]),
    )
    top = {t.number: i for i, t in enumerate(done[:3])}
    if len(top) > 1:
        plot.legend([(f"s{i}", f"trial {n}") for n, i in top.items()])
    for step in rungs_of(run, max(t.curve[-1][0] for t in drawn)):
        plot.vertical(step * unit)
    for trial in sorted(shown, key=lambda t: (t.number in top, t.state == "complete")):
        points: list[tuple[object, object]] = [(step * unit, v) for step, v in trial.curve]
        if trial.number in top:
            style = f"s{top[trial.number]} bold"
        else:
            style = {"complete": "s5 thin", "running": "s0 thin dash"}.get(trial.state, "grey thin")
        plot.line(points, style, _tip(run, trial))
    pruner = run.config.get("pruner", {})
    note = "Coloured: the best three; grey: pruned"
    if pruner.get("name", "asha") in ("asha", "hyperband"):
        note += f"; dashed lines: rungs, where one in {pruner.get('reduction_factor', 3)} goes on"
    note += "."
    if len(run.records) == 1:
        note = "The objective on the validation sample at each report."
    elif len(drawn) > len(shown):
        note += f" {len(shown)} of {len(drawn)} trials are drawn."
    x_label = "epoch" if every else "report"
    return plot.figure("Learning curves", x_label, f"{label_of(run)} (sample)", note)


def parallel(
    run: Run, scored: Sequence[TrialRecord], distributions: Mapping[str, BaseDistribution]
) -> Figure:
    """Draws a line per trial across its parameters, coloured by its rank."""
    paths = list(distributions)[:9]
    scales = [_scale(distributions[p], scored, p) for p in paths]
    value = Scale.of([t.value for t in scored if t.value is not None])
    apart = 130
    width = max(440, apart * len(paths) + 150)
    height, top, bottom, left, right = 300, 44, 14, 60, 60
    plot = Plot(Scale(0, len(paths)), Scale(0, 1), width, height, left, right, top, bottom)
    worst_first = sorted(scored, key=lambda t: -badness(t.value or 0.0, run.direction))
    ranks = {t.number: i for i, t in enumerate(worst_first)}
    for trial in sorted(scored, key=lambda t: ranks[t.number]):
        points: list[tuple[object, object]] = [
            (i, scale.at(trial.params[path]))
            for i, (path, scale) in enumerate(zip(paths, scales, strict=True))
            if path in trial.params
        ]
        points.append((len(paths), value.at(trial.value)))
        style = colour_of(ranks[trial.number] / max(1, len(scored) - 1))
        width_class = "bold" if ranks[trial.number] == len(scored) - 1 else ""
        plot.line(points, f"{style} {width_class}", _tip(run, trial))
    names = list(names_of(paths).values())
    for i, (name, scale) in enumerate(zip([*names, label_of(run)], [*scales, value], strict=True)):
        at = plot.px(i)
        plot.parts.append(f'<path class="axis" d="M{at:.1f} {top - 4}V{height - bottom + 4}"/>')
        section, _, last = name.rpartition(".")
        plot.text(at, top - 18, fitted(last, 0.9 * apart - 14), "b c")
        if section:
            plot.text(at, top - 31, fitted(section, 0.9 * apart - 14), "dim c")
        for place, label in scale.ticks(4):
            if -0.01 <= place <= 1.01:
                plot.text(at + 4, plot.py(place) + 4, fitted(label, apart - 20), "dim halo")
    inner = "".join(plot.parts)
    return Figure(
        "Parallel coordinates",
        inner,
        width,
        height,
        "The stronger the colour, the better; the best trial is bold.",
        {
            "axes": " ".join(f"{plot.px(i):.1f}" for i in range(len(paths) + 1)),
            "span": f"{top} {height - bottom}",
        },
    )


def importance_bars(shares: dict[str, float], among: Compared | None) -> Figure:
    """Draws a bar per parameter."""
    names = names_of(shares)
    row, width = 26, 440
    left = min(210, max(128, 7 * max(map(len, names.values()))))
    height = row * len(shares) + 14
    plot = Plot(Scale(0, max(shares.values()) * 1.18), Scale(0, 1), width, height, left, 12, 8, 6)
    for i, (path, share) in enumerate(shares.items()):
        y = 8 + row * i
        plot.text(left - 6, y + 14, fitted(names[path], left - 6), "r")
        plot.box(left, y + 3, plot.px(share), y + row - 7, "bar s0", f"{path}: {share:.1%}")
        plot.text(plot.px(share) + 5, y + 14, f"{share:.0%}", "dim")
    note = "What sets the good trials apart (PED-ANOVA"
    note += f", {among.words})." if among is not None else ")."
    if among is not None and len(among.values) < _MANY:
        note += " So few trials give a hint only."
    return Figure("Parameter importance", "".join(plot.parts), width, height, note)


def slice_of(
    run: Run, scored: Sequence[TrialRecord], path: str, distribution: BaseDistribution
) -> Figure:
    """Draws the objective over one parameter."""
    having = [t for t in scored if path in t.params]
    x = _scale(distribution, having, path)
    plot = Plot(x, Scale.of([t.value for t in having if t.value is not None]), height=220)
    last = max(1, max(t.number for t in run.records))
    for trial in sorted(having, key=lambda t: t.state == "complete"):
        spread = 0.0
        if x.categories:  # so that equal choices do not hide each other
            spread = (((trial.number * 0.618) % 1) - 0.5) * 0.5 / len(x.categories)
        style = colour_of(0.25 + 0.75 * trial.number / last)
        style = style if trial.state == "complete" else "grey"
        at = plot.left + (x.at(trial.params[path]) + spread) * (plot.width - plot.left - plot.right)
        plot.parts.append(
            f'<circle class="dot {style}" cx="{at:.1f}" cy="{plot.py(trial.value):.1f}" r="3.4">'
            f"<title>{escape(_tip(run, trial))}</title></circle>"
        )
    name = names_of(run.study.distributions if run.study else [path])[path]
    note = "Stronger colour: later trials; grey: pruned."
    return plot.figure(f"Slice: {name}", path, label_of(run), note)


def contour(
    run: Run,
    scored: Sequence[TrialRecord],
    first: str,
    second: str,
    distributions: Mapping[str, BaseDistribution],
) -> Figure:
    """Draws the objective over two parameters: the trials, and a smooth estimate between them."""
    having = [t for t in scored if first in t.params and second in t.params]
    x, y = (_scale(distributions[p], having, p) for p in (first, second))
    names_left = min(130, 30 + 8 * max(map(len, y.categories), default=2))
    plot = Plot(x, y, height=280, left=max(46, names_left))
    places = np.array([[x.at(t.params[first]), y.at(t.params[second])] for t in having])
    values = np.array([t.value for t in having], dtype=float)
    worst_first = np.argsort([-badness(float(value), run.direction) for value in values])
    ranks = np.argsort(worst_first) / max(1, len(values) - 1)
    n_x, n_y = (len(s.categories) or _CELLS for s in (x, y))
    for i, j in itertools.product(range(n_x), range(n_y)):
        centre = np.array([(i + 0.5) / n_x, (j + 0.5) / n_y])
        weight = np.exp(-((places - centre) ** 2).sum(axis=1) / (2 * 0.12**2)) + 1e-9
        if weight.max() < 0.02:
            continue  # no trial is near enough for an estimate
        guess = float((weight * ranks).sum() / weight.sum())
        plot.box(
            _within(plot, i / n_x),
            _above(plot, j / n_y),
            _within(plot, (i + 1) / n_x),
            _above(plot, (j + 1) / n_y),
            f"bar cell {colour_of(0.8 * guess)}",
        )
    for trial in sorted(having, key=lambda t: t.state == "complete"):
        style = "s0" if trial.state == "complete" else "grey"
        plot.dot(trial.params[first], trial.params[second], style, _tip(run, trial))
    if (best := run.best) is not None and best in having:
        plot.dot(best.params[first], best.params[second], "s1", _tip(run, best), radius=5)
    note = (
        "Orange: the winner; shading: ranks of the trials near by, the stronger the better, blank "
        "where none is near."
    )
    names = names_of(distributions)
    a, b = names[first], names[second]
    return plot.figure(f"{a} and {b}", first, second, note)


def _within(plot: Plot, place: float) -> float:
    return plot.left + place * (plot.width - plot.left - plot.right)


def _above(plot: Plot, place: float) -> float:
    return plot.height - plot.bottom - place * (plot.height - plot.top - plot.bottom)


def _scale(distribution: BaseDistribution, trials: Sequence[TrialRecord], path: str) -> Scale:
    if isinstance(distribution, CategoricalDistribution):
        return Scale.naming(distribution.choices)
    values = [float(t.params[path] or 0) for t in trials if path in t.params]
    return Scale.of(values, log=bool(getattr(distribution, "log", False)))


def _tip(run: Run, trial: TrialRecord) -> str:
    value = "-" if trial.value is None or not math.isfinite(trial.value) else f"{trial.value:.5f}"
    params = params_in_words(trial.params, ", ")
    name = trial_in_words(trial.number, trial.origin)
    return f"trial {name} {trial.state}: {label_of(run)} {value}, {duration(trial.seconds)}" + (
        f"\n{params}" if params else ""
    )
