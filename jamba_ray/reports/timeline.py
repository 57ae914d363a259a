"""Draws which trial ran when on which runner, and where a runner was lost or reports were
repeated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jamba_ray.reports.run import Run
from jamba_ray.reports.svg import Figure, Plot, Scale
from jamba_ray.reports.words import duration
from jamba_ray.runs.row_log import row_file, rows_of
from jamba_ray.study.reading import StudyReading
from jamba_ray.study.records import Stay, TrialRecord

_IDLE_SHARE = 0.05
"""A pause in which nothing ran is left out if it is longer than this share of the busy time."""
_HEIGHT = 260
_STYLES = {"complete": "s0", "pruned": "grey", "failed": "bad", "running": "s2"}


@dataclass(frozen=True)
class Bar:
    """Holds the period of a trial on a runner, in seconds."""

    trial: TrialRecord
    runner: str
    """Empty: the runner is unknown."""
    begun: float
    ended: float
    mark: str = ""
    """Why the trial left the runner before this one, in words; empty: there was none."""
    again: int = 0
    """Reports that were repeated, because the checkpoint was older."""


def timeline(run: Run) -> Figure | None:
    """Draws every trial as a bar on the rows of its runner; None: no trial has begun."""
    if run.study is None:
        return None
    bars = bars_of(run, run.study)
    if not bars:
        return None
    pauses = idle([(bar.begun, bar.ended) for bar in bars])
    start = min(bar.begun for bar in bars)
    end = max(bar.ended for bar in bars) - sum(b - a for a, b in pauses)
    unit, name = _unit(end - start)

    def at(time: float) -> float:
        cut = sum(min(b, time) - a for a, b in pauses if time > a)
        return (time - start - cut) / unit

    runners = list(dict.fromkeys(bar.runner for bar in sorted(bars, key=lambda b: b.begun)))
    known = [runner for runner in runners if runner]
    rows = {runner: packed([bar for bar in bars if bar.runner == runner]) for runner in runners}
    order = [*known, *(runner for runner in runners if not runner)]
    n_rows = sum(len(rows[runner]) for runner in order)
    high = max(4.0, min(20.0, (_HEIGHT - 8.0 * len(order)) / n_rows))
    height = round(n_rows * high + 8 * len(order)) + 52
    names = _names(known)
    left = 20 + 7 * max(map(len, [*names.values(), "no report" if known else "at a time"]))
    span = (end - start) / unit or 1.0
    plot = Plot(Scale(0.0, 1.01 * span), Scale.naming([""]), 840, height, left, 12, 10, 42)
    for pause in pauses:
        plot.vertical(at(pause[0]), f"{duration(pause[1] - pause[0])} idle", "axis dash")
    best = run.best.number if run.best is not None else None
    y = 10.0
    for runner in order:
        label = names.get(runner, "no report" if known else "at a time")
        plot.text(left - 8, y + len(rows[runner]) * high / 2 + 4, label, "dim r")
        for row in rows[runner]:
            for bar in row:
                _draw(plot, bar, at(bar.begun), at(bar.ended), y, high, bar.trial.number == best)
            y += high
        y += 8
    return plot.figure("When each trial ran", f"{name} since the start", "", _note(bars, known))


def bars_of(run: Run, study: StudyReading) -> list[Bar]:
    """Returns the bars of all trials that have begun, in their order."""
    shift = _clock_shift(study)
    bars: list[Bar] = []
    for trial in run.records:
        if trial.number not in study.begun:
            continue
        begun = study.begun[trial.number].timestamp() - shift
        stays = study.stays.get(trial.number, ())
        ended = study.ended.get(trial.number)
        times = [] if ended is not None and len(stays) < 2 else _row_times(run, trial.number)
        last = ended.timestamp() - shift if ended is not None else max(times, default=begun)
        if not stays:
            bars.append(Bar(trial, "", begun, max(begun, last)))
        for i, stay in enumerate(stays):
            first = begun if i == 0 else stay.begun
            until = last if i == len(stays) - 1 else _left(stay, stays[i + 1], times)
            mark = _mark(stays[i - 1], stay, study.sessions) if i else ""
            again = stay.known - stay.step if i else 0
            bars.append(Bar(trial, stay.runner, first, max(first, until), mark, again))
    return bars


def idle(spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Returns the pauses between ``spans`` that are long compared with the busy time."""
    gaps: list[tuple[float, float]] = []
    busy, until = 0.0, None
    for begun, ended in sorted(spans):
        if until is None or begun > until:
            if until is not None:
                gaps.append((until, begun))
            busy += ended - begun
            until = ended
        elif ended > until:
            busy += ended - until
            until = ended
    return [(a, b) for a, b in gaps if b - a > max(1.0, _IDLE_SHARE * busy)]


def packed(bars: Sequence[Bar]) -> list[list[Bar]]:
    """Distributes ``bars`` over as few rows as possible without overlap."""
    rows: list[list[Bar]] = []
    for bar in sorted(bars, key=lambda b: (b.begun, b.trial.number)):
        free = next((row for row in rows if row[-1].ended <= bar.begun), None)
        if free is None:
            rows.append([bar])
        else:
            free.append(bar)
    return rows


def _draw(
    plot: Plot, bar: Bar, begun: float, ended: float, y: float, high: float, is_best: bool
) -> None:
    left, right = plot.px(begun), plot.px(ended)
    tip = f"trial {bar.trial.number} {bar.trial.state}, {duration(bar.ended - bar.begun)} here"
    tip += f" on {bar.runner}" if bar.runner else ""
    if bar.mark:
        tip += f"; {bar.mark}"
    if bar.again:
        tip += f"; the last {bar.again} reports were made again, from an older checkpoint"
    style = "s1" if is_best else _STYLES[bar.trial.state]
    thick = high - (2.5 if high > 8 else 1)
    plot.box(left, y, max(right - 1, left + 1.5), y + thick, f"bar {style}", tip)
    if high >= 11 and right - left > 8 + 7 * len(str(bar.trial.number)):
        plot.text((left + right) / 2, y + thick / 2 + 4, str(bar.trial.number), "c on")
    if bar.mark:
        sign = "↶" if bar.again else "›"
        lost = "lost" in bar.mark
        plot.text(left - 1, y + thick / 2 + 5, f"×{sign}" if lost else sign, "bad halo b r")


def _note(bars: Sequence[Bar], known: Sequence[str]) -> str:
    note = "Blue: complete; orange: the winner; grey: pruned; red: failed."
    if any("lost" in bar.mark for bar in bars):
        note += " ×: its runner was lost, and another one went on."
    if any(bar.mark and "lost" not in bar.mark for bar in bars):
        note += " ›: it went on after the sweep was resumed."
    if any(bar.again for bar in bars):
        note += " ↶: it went back to an older checkpoint."
    if not known:
        note += (
            " This run did not note its runners: there are as many rows as trials ran at a time."
        )
    return note


def _names(known: Sequence[str]) -> dict[str, str]:
    hosts = {runner: runner.rpartition(" ")[0] for runner in known}
    if len(set(hosts.values())) < 2:
        return {runner: f"runner {i}" for i, runner in enumerate(known, 1)}
    return {runner: f"{hosts[runner][:16]} {i}" for i, runner in enumerate(known, 1)}


def _mark(before: Stay, now: Stay, sessions: Mapping[str, float]) -> str:
    if any(before.begun < begun <= now.begun for begun in sessions.values()):
        return "the sweep was resumed"
    return f"{before.runner} was lost"


def _left(stay: Stay, following: Stay, times: Sequence[float]) -> float:
    """Returns when a runner made its last report of a trial that another runner continued."""
    seen = [time for time in times if stay.begun <= time < following.begun]
    return max(seen, default=following.begun)


def _row_times(run: Run, trial: int) -> list[float]:
    rows = rows_of(row_file(run.folder.path, trial))
    return [float(row["time"]) for row in rows if row.get("time") is not None]


def _clock_shift(study: StudyReading) -> float:
    """Returns the seconds between this machine's time zone and that of the study's local times."""
    shifts = [
        study.begun[number].timestamp() - stays[0].begun
        for number, stays in study.stays.items()
        if number in study.begun
    ]
    return round(sorted(shifts)[len(shifts) // 2] / 900) * 900.0 if shifts else 0.0


def _unit(seconds: float) -> tuple[float, str]:
    if seconds < 180:
        return 1.0, "seconds"
    return (60.0, "minutes") if seconds < 3 * 3600 else (3600.0, "hours")
