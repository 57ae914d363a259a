"""Shows what a command is doing: a line that counts seconds on a terminal, else a line a phase."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from jamba_ray.cli.notebook_live import NotebookLive
from jamba_ray.reports.words import duration

_PER_S = 4


class Phases:
    """Shows one phase at a time: what the command is doing, and for how long.

    On a terminal that can move its cursor the phase is one line (or what ``shown`` returns) that a
    thread redraws, and that is erased when the phase ends. Elsewhere (a pipe, a log, ``TERM=dumb``)
    each phase is a line when it begins, without control characters.

    Use it as a context manager: the terminal is restored, whatever happens.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._clock = console, clock
        self._words, self._since = "", clock()
        self._shown: Callable[[], RenderableType] | None = None
        self._live: Live | NotebookLive | None = None
        self.note: Callable[[], str] = lambda: ""
        """Returns the text after a phase's seconds, such as "about 2 min left"; empty: nothing."""

    @property
    def is_animated(self) -> bool:
        """Says whether each phase is drawn over the one before."""
        return is_animated(self._console)

    def begin(
        self,
        words: str,
        shown: Callable[[], RenderableType] | None = None,
        *,
        is_brief: bool = False,
    ) -> None:
        """Begins the phase with this name and ends the one before.

        Args:
            words: What is being done, such as "reading the data".
            shown: Returns what a terminal shows instead of the words and their seconds.
            is_brief: Whether no line is printed for it where lines stay.
        """
        if words == self._words:
            return
        self._words, self._shown, self._since = words, shown, self._clock()
        if not self.is_animated:
            if not is_brief:
                self._console.print(words, highlight=False, markup=False, soft_wrap=True)
            return
        if self._live is None:
            self._live = self._new_live()
            self._live.start(refresh=True)
        else:
            self._live.refresh()

    def end(self) -> None:
        """Restores the terminal; a second call does nothing."""
        live, self._live, self._words = self._live, None, ""
        if live is not None:
            live.stop()

    def __enter__(self) -> Phases:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def _new_live(self) -> Live | NotebookLive:
        if self._console.is_jupyter:
            return NotebookLive(self._render, self._console.width)
        return Live(
            console=self._console,
            get_renderable=self._render,
            refresh_per_second=_PER_S,
            transient=True,
        )

    def _render(self) -> RenderableType:
        if self._shown is not None:
            try:
                return self._shown()
            except Exception:
                # Now only the words are shown: an error of the display must not stop the run.
                self._shown = None
        seconds = self._clock() - self._since
        spent = duration(seconds) if seconds >= 1.0 else ""
        words = fitting([self._words, spent, self.note()], self._console.width, ", ")
        return Text(words, style="dim", no_wrap=True)


def is_animated(console: Console) -> bool:
    """Says whether a console is a terminal or a notebook that can redraw what it shows."""
    if console.is_jupyter:
        return not console.quiet
    return console.is_terminal and not console.is_dumb_terminal


def fitting(parts: Sequence[str], width: int, between: str) -> str:
    """Joins as many parts as fit in a line, from the left; the first is always there."""
    text = parts[0]
    for part in parts[1:]:
        if part and len(text) + len(between) + len(part) <= width:
            text += between + part
    return text
