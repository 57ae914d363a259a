"""Shows what a command is doing: a line that counts seconds on a terminal, else a line a phase."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from jamba_ray.cli.notebook_live import NotebookLive
from jamba_ray.cli.stand_in import StandIn
from jamba_ray.reports.words import duration, fitting

_PER_S = 4
_STAND_IN_AFTER_S = 1.0
"""Most commands that end sooner never need a second process, whose start takes a while."""


class Phases:
    """Shows one phase at a time: what the command is doing, and for how long.

    On a terminal that can move its cursor the phase is one line (or what ``shown`` returns) that a
    thread redraws (a second process, while compiled code stops all threads), and that is erased
    when the phase ends. Elsewhere (a pipe, a log, ``TERM=dumb``)
    each phase is a line when it begins, without control characters.

    Use it as a context manager: the terminal is restored, whatever happens.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._clock = console, clock
        self._words, self._since = "", clock()
        self._shown: Callable[[], RenderableType] | None = None
        self._live: Live | NotebookLive | None = None
        self._stand_in: StandIn | None = None
        self._stands_in_at: float | None = None
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
        live, self._live = self._live, None
        if live is not None:
            self._stands_in_at = None
            self._end_stand_in()
            live.stop()
            self._end_stand_in()  # its thread may just have started one
        self._words = ""

    def __enter__(self) -> Phases:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def _end_stand_in(self) -> None:
        stand_in, self._stand_in = self._stand_in, None
        if stand_in is not None:
            stand_in.end()

    def _tell_stand_in(self, parts: list[str]) -> None:
        if self._stands_in_at is not None and self._clock() >= self._stands_in_at:
            self._stands_in_at = None
            with suppress(OSError, ValueError):  # no terminal of its own, or no more processes
                self._stand_in = StandIn(self._console.file)
        if self._stand_in is not None:
            since = time.monotonic() - (self._clock() - self._since)
            is_dim = self._console.color_system is not None
            self._stand_in.tell(parts, since, self._console.width, is_dim=is_dim)

    def _new_live(self) -> Live | NotebookLive:
        if self._console.is_jupyter:
            return NotebookLive(self._render, self._console.width)
        self._stands_in_at = self._clock() + _STAND_IN_AFTER_S
        return Live(
            console=self._console,
            get_renderable=self._render,
            refresh_per_second=_PER_S,
            transient=True,
        )

    def _render(self) -> RenderableType:
        if self._shown is not None:
            self._tell_stand_in([])
            try:
                return self._shown()
            except Exception:
                # Now only the words are shown: an error of the display must not stop the run.
                self._shown = None
        seconds = self._clock() - self._since
        spent = duration(seconds) if seconds >= 1.0 else ""
        note = self.note()
        self._tell_stand_in([self._words, note])
        words = fitting([self._words, spent, note], self._console.width, ", ")
        return Text(words, style="dim", no_wrap=True)


def is_animated(console: Console) -> bool:
    """Says whether a console is a terminal or a notebook that can redraw what it shows."""
    if console.is_jupyter:
        return not console.quiet
    return console.is_terminal and not console.is_dumb_terminal
