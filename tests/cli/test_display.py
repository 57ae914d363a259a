"""What a sweep shows while it runs fits its terminal, and no number is cut."""

import io
import re
from itertools import pairwise

import pytest
from rich.console import Console

from jamba_ray.cli.display import Display, trial_line
from jamba_ray.cli.phases import Phases
from jamba_ray.cli.trial_table import row_of, row_of_running, trial_table
from jamba_ray.config.run import SweepConfig
from jamba_ray.config.sweep_space import parse_space
from jamba_ray.runs.file_writes import RunLog
from jamba_ray.study.records import RunningTrial, SweepProgress, TrialRecord

PARAMS = {
    "model.hidden_dim": 128,
    "model.n_heads": 4,
    "model.dropout_rate": 0.123456,
    "training.learning_rate": 0.00123456,
    "training.weight_decay": 1.5e-05,
    "training.batch_size": 256,
}
SPACE = {
    "model": {
        "hidden_dim": {"type": "int", "low": 16, "high": 256},
        "n_heads": {"type": "categorical", "choices": [1, 2, 4]},
        "dropout_rate": {"type": "float", "low": 0.0, "high": 0.5},
    },
    "training": {
        "learning_rate": {"type": "float", "low": 1e-5, "high": 1e-1, "log": True},
        "weight_decay": {"type": "float", "low": 1e-6, "high": 1e-1, "log": True},
        "batch_size": {"type": "int", "low": 32, "high": 1024},
    },
}


def trial(number, state="complete", reason=None, value=0.87654321, seconds=7261.0, rows=1000):
    return TrialRecord(
        number=number,
        state=state,
        params=PARAMS,
        value=value,
        metrics={},
        best_step=3,
        rows_seen=rows,
        epochs=1.5,
        seconds=seconds,
        goodput_s=1.0,
        reason=reason,
        checkpoint=None,
        curve=(),
    )


def running(number):
    return RunningTrial(number, PARAMS, 3, 500, 0.75, 0.81234567, 3600.0)


def progress(n=400, finished=(), n_running=2, best=None, **changes):
    values = {
        "n_trials": n,
        "counts": {"complete": len(finished), "running": n_running},
        "best": best,
        "running": tuple(running(100 + i) for i in range(n_running)),
        "finished": tuple(finished),
        "failures": {},
        "elapsed_s": 20.0,
        "goodput_s": 1.0,
        "runners": 2,
        "ended": None,
    }
    return SweepProgress(**{**values, **changes})


class Known:
    """Time that is left, as it was said to be."""

    def __init__(self, seconds=100.0):
        self._seconds = seconds

    def seconds(self):
        return self._seconds

    def look(self, _):
        return None


def display_on(console, tmp_path, phases=None):
    config = SweepConfig.model_validate(
        {"sweep_name": "x", "search_space": SPACE, "data": {"name": "synthetic"}}
        | {"model": {"name": "attention"}}
    )
    log = RunLog(tmp_path / "log.txt")
    space = parse_space(config)
    return Display(console, phases or Phases(console), config, space, 1000, log, Known())


def terminal(width, height):
    console = Console(
        file=io.StringIO(), width=width, height=height, force_terminal=True, legacy_windows=False
    )
    return console, console.file


def numbers(text):
    return set(re.findall(r"\d+\.\d+(?:e-?\d+)?|\d+", text))


@pytest.mark.parametrize("width", [30, 40, 60, 80, 100, 140, 200])
def test_columns_are_left_out_where_a_terminal_is_narrow_and_no_number_is_cut(width):
    rows = [row_of(trial(123456)), row_of_running(running(7), 1000)]
    table, left = trial_table(rows, list(PARAMS), "avg precision", width)
    out = io.StringIO()
    Console(file=out, width=width).print(table)
    lines = out.getvalue().splitlines()
    assert all(len(line.rstrip()) <= width for line in lines)
    assert "…" not in out.getvalue()
    known = {"123456", "7", "50", "0.87654", "0.81235", "1.5", "0.75", "2", "01", "1", "00"}
    known |= {"128", "4", "0.123", "0.00123", "1.5e-05", "256"}
    assert numbers(out.getvalue()) <= known
    assert "0.87654" in out.getvalue()
    assert "running 50%" in out.getvalue()
    assert left == (0 if width >= 140 else left)


def test_parameters_are_left_out_first_then_the_time_then_the_epoch():
    rows = [row_of(trial(1))]

    def shown(width):
        table, _ = trial_table(rows, list(PARAMS), "F1", width)
        return [str(column.header).replace("\n", "") for column in table.columns]

    everything = ["trial", "state", "F1", "epoch", "time"]
    params = ["hidden_dim", "n_heads", "dropout_rate", "learning_rate", "weight_decay"]
    assert shown(200) == [*everything, *params, "batch_size"]
    orders = [shown(width) for width in range(200, 10, -1)]
    distinct = [order for i, order in enumerate(orders) if i == 0 or order != orders[i - 1]]
    dropped = [next(iter(set(a) - set(b))) for a, b in pairwise(distinct)]
    assert dropped == ["batch_size", *reversed(params), "time", "epoch"]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (140, 40), (60, 12)])
def test_the_screen_is_no_higher_than_the_terminal(tmp_path, width, height):
    console, _ = terminal(width, height)
    with Phases(console) as phases:
        display = display_on(console, tmp_path, phases)
        ended = [trial(i) for i in range(30)]
        display(progress(finished=ended, n_running=40, best=trial(3)))
    out = io.StringIO()
    Console(file=out, width=width).print(display._render())
    shown = out.getvalue()
    lines = shown.rstrip("\n").split("\n")
    assert len(lines) < height
    assert all(len(line.rstrip()) <= width for line in lines)
    assert "30/400 trials" in shown
    assert "about 1 min 40 s left" in shown
    assert "more run" in shown
    assert "…" not in shown


def test_the_table_of_all_trials_stays_on_a_terminal_the_best_first(tmp_path):
    console, out = terminal(100, 30)
    trials = [trial(0, "pruned", value=0.99, rows=10), trial(1, value=0.5), trial(2, value=0.7)]
    display_on(console, tmp_path).keep(trials, trials[2])
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    assert "all 3 trials, the best first" in text
    assert re.findall(r"^ +(\d) +(?:complete|pruned)", text, re.M) == ["2", "1", "0"]


def test_of_many_trials_the_best_stay(tmp_path):
    console, out = terminal(100, 30)
    trials = [trial(i, value=i / 100) for i in range(40)]
    display_on(console, tmp_path).keep(trials, trials[39])
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    assert "the best 16 of 40 trials" in text
    assert re.findall(r"^ +(\d+) +complete", text, re.M)[:2] == ["39", "38"]


def test_elsewhere_each_trial_is_a_line_and_no_table_stays(tmp_path):
    out = io.StringIO()
    console = Console(file=out, width=80)
    display = display_on(console, tmp_path)
    display(progress(n=3, finished=[trial(0)], n_running=1))
    display._time_left = Known(50.0)
    display(progress(n=3, n_running=2, counts={"complete": 1, "running": 2}))
    display.keep([trial(0)], trial(0))
    first, second = out.getvalue().splitlines()
    assert first == "training 3 trials, about 1 min 40 s left"
    assert second.startswith("1/3 trial 0 complete avg precision 0.87654 epoch 1.5 in 2 h 01 min")
    assert second.endswith("(about 1 min 40 s left)")


def test_a_cause_of_failures_is_said_once_on_a_terminal(tmp_path):
    console, out = terminal(100, 30)
    with Phases(console) as phases:
        display = display_on(console, tmp_path, phases)
        bad = [trial(i, "failed", f"out of memory at step {i}", None) for i in range(3)]
        display(progress(finished=bad, counts={"failed": 3, "running": 2}))
    assert out.getvalue().count("out of memory") == 1
    assert "3 failed" in out.getvalue()


def test_a_trial_is_one_line():
    one = trial(3, "failed", "out of memory", None, seconds=61.0)
    line = trial_line(one, "avg precision")
    assert line.startswith("trial 3 failed epoch 1.5 in 1 min 01 s hidden_dim=128 n_heads=4")
    assert line.endswith(": out of memory")
