"""A sweep on a terminal is never silent, cuts no number, and leaves the table of its trials."""

import os
import re
import subprocess
import sys
import threading
import time

import pandas as pd
import pytest

from tests.integration.conftest import SMALL
from tests.terminal import record

SWEEP = [*SMALL, "n_trials=5", "run=shown"]
FIRST_LINE_S, SILENCE_S = 1.0, 2.0
PYTHON_STARTS_S = 0.05
"""``python -c pass`` on an idle machine; limits grow with what it takes now."""


class Slowness:
    """While entered, starts a bare Python every second: how slow the machine was at the worst."""

    def __init__(self):
        self.times = 1.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def _work(self):
        while not self._stop.wait(1.0):
            begun = time.monotonic()
            subprocess.run([sys.executable, "-c", "pass"], check=True)
            self.times = max(self.times, (time.monotonic() - begun) / PYTHON_STARTS_S)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()


@pytest.fixture(
    scope="module",
    params=[pytest.param(size, marks=pytest.mark.slow) for size in ((80, 24), (140, 40))],
    ids=["80x24", "140x40"],
)
def shown(request, tmp_path_factory):
    columns, lines = request.param
    place = tmp_path_factory.mktemp("terminal")
    line = [sys.executable, "-m", "jamba_ray", "sweep", "+sweep=attention_heads", *SWEEP]
    with Slowness() as slow:
        found = record(line, cwd=place, columns=columns, lines=lines)
    (place / "screens.txt").write_text(found.text())
    assert found.code == 0, found.text()
    return found, place / "runs" / "shown", slow.times


def test_a_line_says_at_once_what_is_going_on_and_the_screen_is_never_still(shown):
    found, _, slow = shown
    assert found.first_s <= FIRST_LINE_S * slow
    longest = found.silences()
    assert longest[0][0] <= SILENCE_S * slow, longest[:3]


def test_every_phase_shows_itself(shown):
    found, _, _ = shown
    everything = found.raw.decode(errors="replace")  # some phases last less than a look
    phases = ["reading the settings", "loading PyTorch and Ray", "reading the data"]
    phases += ["starting Ray", "loading the workers", "/5 trials", "judging the winner"]
    at = [everything.find(phase) for phase in phases]
    assert -1 not in at, dict(zip(phases, at, strict=True))
    assert at == sorted(at)
    assert re.search(r"0/5 trials, \d+ s, about .* left", everything), "no estimate at the start"


def test_no_number_is_cut(shown):
    found, folder, _ = shown
    known = set()
    for row in pd.read_parquet(folder / "trials.parquet").to_dict("records"):
        known |= {f"{value:.5f}" for value in (row["value"],) if value == value}
    for _, screen in found.screens:
        for line in screen:
            assert "…" not in line, line
            if re.match(r" *(defaults )?\d+ +(complete|pruned)", line):
                assert re.findall(r"\d\.\d{5}", line)[0] in known, line


def test_the_table_of_all_trials_stays(shown):
    found, folder, _ = shown
    trials = pd.read_parquet(folder / "trials.parquet").set_index("number")
    rows = {}
    for line in found.everything:
        if match := re.match(
            r" *(?:defaults )?(\d+) +(complete|pruned) +(\S+) +(\S+) +(\d+ s|\d+ min \d+ s)", line
        ):
            rows[int(match[1])] = match, line
    assert set(rows) == set(trials.index)
    assert rows[0][1].lstrip().startswith("defaults 0 ")
    for number, (match, line) in rows.items():
        trial = trials.loc[number]
        assert match[2] == trial["state"]
        assert match[3] == f"{trial['value']:.5f}"
        assert match[4] == f"{trial['epochs']:.2g}"
        for path in ("model.dropout_rate", "training.learning_rate"):
            assert f"{trial['params.' + path]:.3g}" in line.split()
        assert str(trial["params.model.n_heads"]) in line.split()


def test_the_terminal_is_given_back(shown):
    found, _, _ = shown
    assert found.raw.count(b"\x1b[?25l") == found.raw.count(b"\x1b[?25h")
    ends = "\n".join(found.everything)
    assert "Winner: trial" in ends
    assert "The report is" in ends


def test_a_dumb_terminal_gets_plain_lines(tmp_path):
    line = [
        sys.executable,
        "-m",
        "jamba_ray",
        "train",
        *SMALL,
        "training.epochs=0.2",
        "rival=false",
    ]
    found = record(line, cwd=tmp_path, columns=80, lines=24, environment={"TERM": "dumb"})
    assert found.code == 0, found.text()
    assert b"\x1b" not in found.raw
    text = found.raw.decode()
    phases = ["loading PyTorch", "reading the data", "training", "judging the model"]
    assert re.findall(rf"^({'|'.join(phases)})\r?$", text, re.M) == phases


def test_a_mistake_leaves_only_its_sentence(tmp_path):
    line = [sys.executable, "-m", "jamba_ray", "sweep", "+sweep=attention_heads", "n_trial=3"]
    found = record(line, cwd=tmp_path, columns=80, lines=24, environment=dict(os.environ))
    assert found.code == 64
    shown = [line for line in found.everything if line.strip()]
    assert shown[0].startswith("error:")
