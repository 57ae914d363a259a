"""A command says what it is doing: once a phase where lines stay, in place on a terminal."""

import io
import re
import sys
import time
from types import ModuleType, SimpleNamespace

import pytest
from rich.console import Console

from jamba_ray.cli.phases import Phases
from jamba_ray.reports.words import fitting


def test_elsewhere_a_phase_is_one_line_without_control_characters():
    out = io.StringIO()
    with Phases(Console(file=out, width=20)) as phases:
        phases.begin("looking", is_brief=True)
        phases.begin("reading the data of a long name")
        phases.begin("reading the data of a long name")
        phases.begin("training")
    assert out.getvalue() == "reading the data of a long name\ntraining\n"


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    out = io.StringIO()
    with Phases(Console(file=out, force_terminal=True)) as phases:
        assert not phases.is_animated
        phases.begin("reading the data")
    assert out.getvalue() == "reading the data\n"


def test_a_terminal_shows_the_seconds_of_a_phase_and_is_given_back(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    out, now = io.StringIO(), [0.0]
    console = Console(file=out, force_terminal=True, width=60, legacy_windows=False)
    with Phases(console, clock=lambda: now[0]) as phases:
        phases.note = lambda: "about 1 min left"
        phases.begin("starting Ray")
        now[0] = 125.0
        deadline = time.monotonic() + 10
        while "2 min 05 s" not in out.getvalue() and time.monotonic() < deadline:
            time.sleep(0.05)
    text = out.getvalue()
    assert "starting Ray, 2 min 05 s, about 1 min left" in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1  # the cursor is shown again


def test_no_color_is_respected(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    out = io.StringIO()
    with Phases(Console(file=out, force_terminal=True, width=60)) as phases:
        phases.begin("starting Ray")
    assert not re.search(r"\x1b\[(?:\d+;)*(?:3\d|4\d|9\d|10\d)(?:;\d+)*m", out.getvalue())


@pytest.mark.parametrize(
    ("width", "text"),
    [(2, "abc"), (5, "abc"), (6, "abc, h"), (9, "abc, defg"), (12, "abc, defg, h")],
)
def test_parts_that_do_not_fit_a_line_are_left_out(width, text):
    assert fitting(["abc", "defg", "h"], width, ", ") == text


def test_a_notebook_redraws_one_output_of_its_cell(monkeypatch):
    """IPython is not needed to test this: of it, a display and its handle are used."""
    shown = []
    handle = SimpleNamespace(update=shown.append)
    module = ModuleType("IPython.display")
    module.HTML = lambda html: html
    module.display = lambda html, display_id: (shown.append(html), handle)[1]
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    out, now = io.StringIO(), [0.0]
    console = Console(file=out, force_jupyter=True, width=60)
    with Phases(console, clock=lambda: now[0]) as phases:
        assert phases.is_animated
        phases.begin("reading <the> data")
        now[0] = 65.0
        deadline = time.monotonic() + 10
        while "1 min 05 s" not in shown[-1] and time.monotonic() < deadline:
            time.sleep(0.05)
        assert "reading &lt;the&gt; data, 1 min 05 s" in shown[-1]
        phases.begin("training")
        assert "training" in shown[-1]
    assert shown[-1] == ""
    assert out.getvalue() == ""
    assert not Phases(Console(force_jupyter=True, quiet=True)).is_animated
