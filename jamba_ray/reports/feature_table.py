"""Shows what the model relies on: a table for text, and a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jamba_ray.evaluation.permutation import CORRELATED
from jamba_ray.reports.svg import Figure, Plot, Scale, fitted
from jamba_ray.reports.words import LABELS

_MOST = 20
_MOST_NAMES = 6


def feature_table(found: Mapping[str, Any] | None, most: int = _MOST) -> list[list[str]]:
    """Returns a row for each of the most important groups of columns; empty without any."""
    if not found or not found["groups"]:
        return []
    label = LABELS.get(found["metric"], found["metric"])
    table = [["columns", f"{label} lost without", "95 % interval"]]
    for one in found["groups"][:most]:
        interval = f"{one['low']:.4f} to {one['high']:.4f}"
        table.append([_names(one["columns"]), f"{one['drop']:.4f}", interval])
    if (left := len(found["groups"]) - most) > 0:
        table.append([f"{left} more, each less", "", ""])
    return table


def feature_figure(found: Mapping[str, Any] | None) -> Figure | None:
    """Draws a bar with its interval for each of the most important groups; None without any."""
    if not found or not found["groups"]:
        return None
    shown = found["groups"][:_MOST]
    label = LABELS.get(found["metric"], found["metric"])
    names = [_names(one["columns"]) for one in shown]
    row, width, right, bottom = 26, 440, 62, 40
    left = min(170, max(80, 7 * max(map(len, names)) + 12))
    ends = [end for one in shown for end in (one["low"], one["high"], 0.0)]
    x = Scale.of(ends, margin=0.03)
    plot = Plot(x, Scale(0, 1), width, row * len(shown) + bottom + 8, left, right, 8, bottom)
    for i, (one, name) in enumerate(zip(shown, names, strict=True)):
        middle = 8 + row * i + row / 2
        low, high = plot.px(one["low"]), plot.px(one["high"])
        tip = f"{name}: {one['drop']:.4f}, 95 % interval {one['low']:.4f} to {one['high']:.4f}"
        style = f"bar {'s0' if one['low'] > 0 else 'grey'} faint"
        plot.text(left - 6, middle + 4, fitted(name, left - 6), "r")
        plot.box(plot.px(0.0), middle - 8, plot.px(one["drop"]), middle + 8, style, tip)
        # The interval's line ends in two short ones, so that it is seen on the bar and beside it.
        ticks = f"M{low:.1f} {middle - 4:.0f}v8M{high:.1f} {middle - 4:.0f}v8"
        plot.parts.append(f'<path class="range" d="{ticks}M{low:.1f} {middle:.0f}H{high:.1f}"/>')
        plot.text(width - right + 8, middle + 4, f"{one['drop']:.4f}", "dim")
    for place, words in x.ticks(4):
        at = left + place * (width - left - right)
        plot.text(at, plot.height - bottom + 14, words, "dim c")
    plot.vertical(0.0, style="axis")
    plot.text((left + width - right) / 2, plot.height - 6, f"{label} lost without", "dim c")
    note = f"{feature_note(found)} Grey: such an interval."
    if (more := len(found["groups"]) - len(shown)) > 0:
        note += f" {more} more lose less."
    return Figure("Importance of columns", "".join(plot.parts), width, plot.height, note)


def _names(columns: Sequence[str]) -> str:
    shown = " + ".join(columns[:_MOST_NAMES])
    return shown + (f" + {more} more" if (more := len(columns) - _MOST_NAMES) > 0 else "")


def feature_note(found: Mapping[str, Any]) -> str:
    """Returns a sentence on how the importance was measured."""
    label = LABELS.get(found["metric"], found["metric"])
    where = "validation" if found["part"] == "val" else found["part"]
    return (
        f"By how much {label} ({found['value']:.4f}) gets worse when the cells of a column are "
        f"exchanged for those of other rows, on {found['rows']:,} {where} rows. Columns that "
        f"correlate by {CORRELATED:g} or more (Spearman) are exchanged together. An interval that "
        "holds 0 may be chance."
    )
