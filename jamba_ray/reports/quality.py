"""Draws the quality of the winner: ROC, precision-recall, calibration, confusion, groups."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from jamba_ray.evaluation import confusion, operating_points
from jamba_ray.reports.rivals import baseline_of
from jamba_ray.reports.run import Run
from jamba_ray.reports.svg import Figure, Plot, Scale, colour_of, fitted

Floats = npt.NDArray[np.float64]
_POINTS = 220
_LOWEST_FPR = 1e-4


def quality_figures(run: Run) -> dict[str, Figure]:
    """Returns the figures of the winner's stored scores; empty before it was evaluated."""
    scores = run.scores
    best = run.summary.get("best")
    if scores is None or not best:
        return {}
    part, rows = decisive(scores)
    y, p = rows["label"].to_numpy(dtype=float), rows["probability"].to_numpy(dtype=float)
    if y.min() == y.max():
        return {}
    baseline = rows["baseline"].to_numpy(dtype=float) if _has(rows, "baseline") else None
    threshold, name = float(best["threshold"]), baseline_of(run.summary)
    found = {
        "roc": roc(part, y, p, baseline, threshold, name),
        "precision_recall": precision_recall(part, y, p, baseline, threshold, name),
        "calibration": calibration(part, y, p),
        "confusion": confusion_figure(part, y, p, threshold),
    }
    groups = [g for g in run.summary.get("groups") or [] if g["threats"]]
    if groups:
        found["groups"] = groups_figure(part, groups)
    return found


def decisive(scores: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """Returns (part, its rows): the test rows if they have both classes, else the validation
    rows."""
    if "part" not in scores.columns:
        return "rows", scores
    part = "test" if scores.loc[scores["part"] == "test", "label"].nunique() == 2 else "val"
    return part, scores[scores["part"] == part]


def roc_points(y: Floats, p: Floats) -> tuple[Floats, Floats, Floats]:
    """Returns (false-positive rate, recall, threshold) at every distinct score, beginning with none
    flagged."""
    order = np.argsort(-p, kind="stable")
    y, p = y[order], p[order]
    last = np.append(np.flatnonzero(np.diff(p)), len(p) - 1)
    tp, fp = np.cumsum(y)[last], np.cumsum(1 - y)[last]
    recall = np.append(0.0, tp / max(1.0, tp[-1]))
    fpr = np.append(0.0, fp / max(1.0, fp[-1]))
    return fpr, recall, np.append(np.inf, p[last])


def roc(
    part: str, y: Floats, p: Floats, baseline: Floats | None, threshold: float, name: str
) -> Figure:
    """Draws recall over the logarithmic false-positive rate, since rates below 1 % matter most."""
    plot = Plot(Scale(_LOWEST_FPR, 1.0, log=True), Scale(0.0, 1.02))
    plot.legend(_legend(baseline, name))
    plot.line([(x, x) for x in np.geomspace(_LOWEST_FPR, 1, 40)], "grey dash")
    if baseline is not None:
        fpr, recall, _ = roc_points(y, baseline)
        plot.line(_thinned(np.maximum(fpr, _LOWEST_FPR), recall), "s1 thin", name, steps=True)
    fpr, recall, _ = roc_points(y, p)
    plot.line(_thinned(np.maximum(fpr, _LOWEST_FPR), recall), "s0 bold", "winner", steps=True)
    at_fpr, at_recall = _rates(y, p, threshold)
    for name, point in operating_points(y, p).items():
        rate = {"fpr_1e-2": "1 %", "fpr_1e-3": "0.1 %"}[name]
        plot.vertical(float(name.removeprefix("fpr_")), rate)
        tip = f"{rate} false positives: recall {point['recall']:.3f} at {point['threshold']:.4f}"
        plot.dot(max(point["fpr"], _LOWEST_FPR), point["recall"], "s2", tip, radius=3.6)
    tip = f"chosen threshold {threshold:.4f}: recall {at_recall:.3f}, FPR {at_fpr:.4f}"
    plot.dot(max(at_fpr, _LOWEST_FPR), at_recall, "s4", tip, radius=5)
    note = f"{_rows(part, y)}. Red: the chosen threshold; green: best at 1 % and 0.1 %."
    return plot.figure("ROC", "false-positive rate (log)", "recall", note)


def precision_recall(
    part: str, y: Floats, p: Floats, baseline: Floats | None, threshold: float, name: str
) -> Figure:
    """Draws precision over recall."""
    plot = Plot(Scale(0.0, 1.02), Scale(0.0, 1.04))
    plot.legend(_legend(baseline, name))
    base = float(y.mean())
    plot.horizontal(base)
    plot.text(plot.px(0.5), plot.py(base) - 5, f"all flagged: {base:.3f}", "dim c halo")
    for scores, style in ((baseline, "s1 thin"), (p, "s0 bold")):
        if scores is None:
            continue
        fpr, recall, _ = roc_points(y, scores)
        tp, fp = recall * y.sum(), fpr * (1 - y).sum()
        precision = tp[1:] / np.maximum(tp[1:] + fp[1:], 1e-9)
        plot.line(_thinned(recall[1:], precision), style)
    at_fpr, at_recall = _rates(y, p, threshold)
    tp, fp = at_recall * float(y.sum()), at_fpr * float((1 - y).sum())
    if tp + fp > 0:
        tip = f"chosen threshold {threshold:.4f}: precision {tp / (tp + fp):.3f}"
        plot.dot(at_recall, tp / (tp + fp), "s4", tip, radius=5)
    note = f"{_rows(part, y)}. Red: the chosen threshold."
    return plot.figure("Precision and recall", "recall", "precision", note)


def calibration(part: str, y: Floats, p: Floats, bins: int = 12) -> Figure:
    """Draws the share of threats over the predicted probability, in bins of equally many rows."""
    plot = Plot(Scale(0.0, 1.0), Scale(0.0, 1.02))
    plot.line([(0.0, 0.0), (1.0, 1.0)], "grey dash")
    order = np.argsort(p, kind="stable")
    points: list[tuple[object, object]] = []
    for part_rows in np.array_split(order, min(bins, max(1, len(order) // 20))):
        n, k = len(part_rows), float(y[part_rows].sum())
        mean, share = float(p[part_rows].mean()), k / n
        # Wilson's interval: also valid where a bin has only threats or none.
        z = 1.96
        middle = (share + z * z / (2 * n)) / (1 + z * z / n)
        half = z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
        plot.parts.append(
            f'<line class="line s0 thin faint" x1="{plot.px(mean):.1f}" x2="{plot.px(mean):.1f}" '
            f'y1="{plot.py(middle - half):.1f}" y2="{plot.py(middle + half):.1f}"/>'
        )
        points.append((mean, share))
    plot.line(points, "s0")
    for x, share_of in points:
        plot.dot(x, share_of, "s0", f"predicted {x:.3f}, found {share_of:.3f}")
    note = f"{_rows(part, y)}, bins of equally many rows with 95 % intervals."
    return plot.figure("Calibration", "predicted probability", "share of threats", note)


def confusion_figure(part: str, y: Floats, p: Floats, threshold: float) -> Figure:
    """Draws the number of rows by label and alert at the chosen threshold."""
    cells = confusion(y, p, threshold)
    plot = Plot(Scale(0, 1), Scale(0, 1), 440, 220, 96, 12, 34, 12)
    n_threat = cells["true_positives"] + cells["false_negatives"]
    n_benign = cells["true_negatives"] + cells["false_positives"]
    layout = [
        ("false_negatives", 0, 0, n_threat, "missed"),
        ("true_positives", 1, 0, n_threat, "found"),
        ("true_negatives", 0, 1, n_benign, "left alone"),
        ("false_positives", 1, 1, n_benign, "false alarms"),
    ]
    wide, high = (440 - 96 - 12) / 2, (220 - 34 - 12) / 2
    for name, column, row, n, words in layout:
        count: int = cells[name]  # type: ignore[literal-required]
        x, y_at = 96 + column * wide, 34 + row * high
        share = count / max(1, n)
        plot.box(x, y_at, x + wide - 4, y_at + high - 4, f"bar faint {colour_of(share * 0.62)}")
        plot.text(x + wide / 2, y_at + high / 2 - 4, f"{count:,}", "c b")
        plot.text(x + wide / 2, y_at + high / 2 + 13, f"{words}, {share:.1%}", "c")
    for column, words in enumerate(("not flagged", "flagged")):
        plot.text(96 + (column + 0.5) * wide, 24, words, "c dim")
    for row, words in enumerate(("threats", "benign")):
        plot.text(88, 34 + (row + 0.5) * high + 4, words, "r dim")
    note = f"{_rows(part, y)} at threshold {threshold:.4f}, chosen for the best F1 on validation."
    return Figure("Confusion", "".join(plot.parts), 440, 220, note)


def groups_figure(part: str, groups: list[dict[str, Any]], most: int = 24) -> Figure:
    """Draws recall per group, the largest first; groups that training never saw have another
    colour."""
    shown = groups[:most]
    row, left, width = 22, 138, 440
    height = row * len(shown) + 30
    plot = Plot(Scale(0, 1.0), Scale(0, 1), width, height, left, 84, 6, 24)
    for i, group in enumerate(shown):
        y = 6 + row * i
        unseen = group["seen"] is False
        name = str(group["group"])
        plot.text(left - 6, y + 14, fitted(name, left - 6), "r")
        plot.box(left, y + 3, left + 1, y + row - 5, "bar grey")
        tip = f"{name}: {group['recall']:.3f} of {group['threats']} threats"
        plot.box(
            left,
            y + 3,
            plot.px(group["recall"]),
            y + row - 5,
            f"bar {'s1' if unseen else 's0'}",
            tip,
        )
        words = f"{group['recall']:.0%} of {group['threats']:,}"
        plot.text(width - 80, y + 14, words, "dim")
    for place in (0, 0.5, 1):
        plot.text(plot.px(place), height - 8, f"{place:.0%}", "dim c")
    note = f"Recall on {_part(part)} by group at the chosen threshold."
    if any(g["seen"] is False for g in shown):
        note += " Orange: groups that training never saw."
    if len(groups) > most:
        note += f" The largest {most} of {len(groups)}."
    return Figure("Recall by group", "".join(plot.parts), width, height, note)


def _legend(baseline: Floats | None, name: str) -> list[tuple[str, str]]:
    return [("s0", "winner"), *([("s1", f"{name}, defaults")] if baseline is not None else [])]


def _rates(y: Floats, p: Floats, threshold: float) -> tuple[float, float]:
    cells = confusion(y, p, threshold)
    threats = cells["true_positives"] + cells["false_negatives"]
    benign = cells["true_negatives"] + cells["false_positives"]
    return cells["false_positives"] / max(1, benign), cells["true_positives"] / max(1, threats)


def _thinned(x: Floats, y: Floats) -> list[tuple[object, object]]:
    """Returns at most some hundred points, which are enough for the eye."""
    if len(x) > _POINTS:
        logs = np.unique(np.geomspace(1, len(x), _POINTS // 2).astype(int) - 1)
        even = np.linspace(0, len(x) - 1, _POINTS // 2).astype(int)
        keep = np.unique(np.concatenate([logs, even]))
        x, y = x[keep], y[keep]
    return list(zip(x.tolist(), y.tolist(), strict=True))


def _part(part: str) -> str:
    return {"test": "test rows", "val": "validation rows"}.get(part, "the rows")


def _rows(part: str, y: Floats) -> str:
    return f"{len(y):,} {_part(part)}, {int(y.sum()):,} threats"


def _has(rows: pd.DataFrame, column: str) -> bool:
    return column in rows.columns and bool(rows[column].notna().all())
