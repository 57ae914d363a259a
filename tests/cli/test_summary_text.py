"""The summary says the answer in words that match its numbers."""

import io
import shlex
import shutil
import subprocess
from dataclasses import replace
from types import SimpleNamespace

import pytest
from rich.console import Console

from jamba_ray import threshold
from jamba_ray.cli.composition import compose_section
from jamba_ray.cli.positional import as_settings
from jamba_ray.cli.summary import count_states, exit_code, failures, finite, next_commands
from jamba_ray.cli.summary_text import _chosen_on, duration, print_summary
from jamba_ray.config.run import TrialConfig
from jamba_ray.driver.verdict import best_epoch, most_epochs
from jamba_ray.errors import ExitCode
from jamba_ray.reports.words import difference_in_words, team_in_words
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.study.records import SweepResult, TrialRecord


def trial(number, state="complete", reason=None, value=0.9):
    return TrialRecord(
        number=number,
        state=state,
        params={"model.n_heads": 4, "training.learning_rate": 0.00123456},
        value=value,
        metrics={},
        best_step=3,
        rows_seen=1000,
        epochs=1.5,
        seconds=61.0,
        goodput_s=50.0,
        reason=reason,
        checkpoint=None,
        curve=(),
    )


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.001, 0.003, "better than X"),
        (-0.003, -0.001, "WORSE than X"),
        (-0.001, 0.003, "not distinguishable from X"),
    ],
)
def test_a_difference_is_claimed_only_where_the_interval_excludes_zero(low, high, words):
    assert words in difference_in_words({"value": (low + high) / 2, "low": low, "high": high}, "X")


def test_no_difference_is_claimed_on_one_threat():
    difference = {"value": 0.166, "low": 0.09, "high": 0.5, "too_few": "only 1 threat"}
    words = difference_in_words(difference, "LightGBM")
    assert words == "no verdict beside LightGBM (+0.1660): only 1 threat"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")],
)
def test_durations(seconds, words):
    assert duration(seconds) == words


def test_failures_are_grouped_by_cause_the_most_frequent_first():
    trials = [
        trial(0),
        trial(1, "failed", "out of memory"),
        trial(2, "failed", "ValueError: x"),
        trial(3, "failed", "out of memory"),
    ]
    assert failures(trials) == [
        {"reason": "out of memory", "count": 2, "trials": [1, 3]},
        {"reason": "ValueError: x", "count": 1, "trials": [2]},
    ]
    assert count_states({"complete": 1, "failed": 3}) == {
        "complete": 1,
        "pruned": 0,
        "failed": 3,
        "running": 0,
    }


@pytest.mark.parametrize(
    ("best", "counts", "code"),
    [
        (trial(0), {"complete": 2, "pruned": 1}, ExitCode.OK),
        (trial(0), {"complete": 2, "failed": 1}, ExitCode.SOME_FAILED),
        (None, {"failed": 3}, ExitCode.NONE_SUCCEEDED),
    ],
)
def test_the_exit_code_tells_how_it_went(best, counts, code):
    result = SweepResult((), best, counts, {}, "done", 1.0, 0.5, 2)
    assert exit_code(result) == code


def test_json_gets_no_nan():
    assert finite({"a": float("nan"), "b": [float("inf"), 1.0], "c": (2,)}) == {
        "a": None,
        "b": [None, 1.0],
        "c": [2],
    }


def interval(value):
    return {"value": value, "low": value - 0.01, "high": value + 0.01}


def printed(summary):
    out = io.StringIO()
    print_summary(Console(file=out, width=100), summary)
    return out.getvalue()


BASE = {
    "command": "sweep",
    "run": "r",
    "objective": "average_precision",
    "trials": {"complete": 2, "pruned": 1, "failed": 1, "running": 0},
    "failures": [{"reason": "out of memory", "count": 1, "trials": [3]}],
    "notes": ["1 column is constant [and left out]"],
    "wall_s": 75.0,
    "goodput": 0.5,
    "folder": "runs/r",
    "next": ["jamba-ray evaluate checkpoint=runs/r"],
}


def test_a_sweep_with_a_winner():
    best = {
        "trial": 2,
        "params": {"model.n_heads": 4},
        "epochs": 3.0,
        "val": {"average_precision": interval(0.95)},
        "test": {"average_precision": interval(0.9)},
    }
    text = printed(
        {
            **BASE,
            "best": best,
            "baseline": {"test": {"average_precision": interval(0.85)}},
            "comparison": {"average_precision": {"value": 0.05, "low": 0.03, "high": 0.07}},
            "bayes": {"test": {"average_precision": 0.96}},
            "importance": {"model.n_heads": 1.0},
        }
    )
    for words in (
        "Winner: trial 2",
        "n_heads=4",
        "0.9000 .890-.910",
        "better than LightGBM with its defaults by +0.0500 [+0.0300, +0.0700]",
        "0.0600 of average precision below the Bayes limit of this data (0.9600)",
        "1 failed (trial 3): out of memory",
        "note: 1 column is constant [and left out]",
        "4 trials: 2 complete, 1 pruned, 1 failed, 1 min 15 s, 50% of runner time",
        "next: jamba-ray evaluate checkpoint=runs/r",
    ):
        assert words in text


def test_a_team_is_the_winner_or_is_not_and_why():
    best = {
        "trial": 2,
        "params": {},
        "epochs": 3.0,
        "val": {"average_precision": interval(0.95)},
        "test": {"average_precision": interval(0.9)},
    }
    team = {
        "used": True,
        "members": [{"trial": 2, "weight": 0.4}, {"trial": 5, "weight": 0.6}],
        "gain": {"value": 0.004, "low": 0.001, "high": 0.007},
        "single": {"trial": 2, "val": 0.95, "test": 0.895},
        "candidates": [2, 5, 7],
        "too_few": None,
    }
    sentence = team_in_words(team, best, "average_precision")
    text = printed({**BASE, "best": best, "team": {**team, "sentence": sentence}})
    assert "Winner: a team of 2 trials, the best of them 2" in text
    assert (
        "The team of trials 5 (0.60) and 2 (0.40) is better than trial 2 alone by +0.0040 "
        "[+0.0010, +0.0070] of avg precision on validation rows that did not choose it (on the "
        "test, which decided nothing, that trial alone has 0.8950)."
    ) in text
    equal = team_in_words({**team, "used": False}, best, "average_precision")
    assert equal.startswith("Equal within noise: a team of 2 trials gains +0.0040")
    none = team_in_words({**team, "used": False, "gain": None}, best, "average_precision")
    assert none.startswith("No team of the best 3 trials has a better avg precision than trial 2")


def test_a_sweep_without_one():
    assert "No winner: 4 trials: 2 complete" in printed({**BASE, "best": None})


def test_the_epoch_is_that_of_the_checkpoint_that_is_kept():
    curve = tuple((step, 0.9 - 0.01 * step) for step in range(1, 21))
    ended = replace(trial(3), epochs=10.0, best_step=8, curve=curve)
    assert best_epoch(ended) == 4.0
    assert best_epoch(replace(ended, curve=())) is None
    best = {"epochs": 10.0, "best_epoch": 4.0}
    summary = {"objective": "average_precision", "command": "sweep"}
    assert "(epoch 4 of 10)" in _chosen_on(summary, best)
    assert "(epoch 10)" in _chosen_on(summary, {**best, "best_epoch": 10.0})
    assert "(epoch 4 of 10)" in _chosen_on(summary, {**best, "most_epochs": 10.0})


def test_a_trial_that_ended_before_its_last_epoch_says_so():
    best = {"epochs": 34.0, "best_epoch": 21.0, "most_epochs": 200.0}
    summary = {"objective": "average_precision", "command": "train"}
    words = "(stopped after epoch 34 of at most 200, best at 21)"
    assert words in _chosen_on(summary, best)


def test_the_most_epochs_of_trees_are_their_rounds():
    training = {"training": {"schedule": "plateau"}}
    of = lambda name: TrialConfig.model_validate({"model": {"name": name}, **training})  # noqa: E731
    assert most_epochs(of("mlp"), 1000) == 200
    assert most_epochs(of("lightgbm"), 1000) is None


def test_the_next_commands_name_a_folder_of_any_name_through_a_shell(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path / "my 'runs'=3 $x" / "night-1")
    result = SimpleNamespace(best=object())
    monkeypatch.setattr(shutil, "which", lambda name: name)
    chosen, shown = map(shlex.split, next_commands(folder, result))
    words = as_settings(chosen[2:], threshold.COMMAND.positional, threshold.COMMAND.short)
    asked = compose_section(threshold.COMMAND.section, threshold.COMMAND.primary, words)
    assert (asked.run, asked.max_fpr) == (str(folder.path), 0.01)
    assert shown[-1] == str(folder.study)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert [shlex.split(line) for line in next_commands(folder, result)] == [chosen]
    (logs,) = next_commands(folder, SimpleNamespace(best=None))
    folder.logs.mkdir(parents=True)
    (folder.logs / "a.log").write_text("why\n")
    listed = subprocess.run(logs, shell=True, capture_output=True, text=True)
    assert listed.stdout == "why\n"
