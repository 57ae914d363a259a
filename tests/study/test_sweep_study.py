"""The study: what is promised of trials, their states, their curves and the end of a sweep."""

from __future__ import annotations

import math
import os

import optuna
import pytest
from optuna.trial import TrialState

from jamba_ray.config.budget import Limit
from jamba_ray.errors import ConfigError, RunExistsError
from jamba_ray.study.outcome import LaneOutcome
from jamba_ray.study.storage import STUDY_NAME
from tests.study.studies import curve, line, open_book, run_to_end, train

SMALL = {"model": {"width": {"type": "categorical", "choices": [1, 2, 3]}}}


def reopened(tmp_path) -> optuna.Study:
    """The study as a user opens it, with Optuna alone."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    url = f"sqlite:///{tmp_path / 'study.db'}"
    return optuna.load_study(study_name=STUDY_NAME, storage=url)


def test_optuna_alone_sees_pruned_trials_with_curves_and_none_running(tmp_path):
    book = open_book(tmp_path, n_trials=20)
    specs = run_to_end(book)
    book.close()
    trials = reopened(tmp_path).trials
    assert [t.params for t in trials] == [s.params for s in specs]
    assert {t.state for t in trials} == {TrialState.COMPLETE, TrialState.PRUNED}
    for trial in trials:
        values = curve(trial.params, trial.number)
        assert trial.intermediate_values == {
            step: values[step - 1] for step in range(1, (trial.last_step or 0) + 1)
        }
        if trial.state == TrialState.COMPLETE:
            assert trial.last_step == 9
    best = reopened(tmp_path).best_trial
    assert best.value == max(t.value for t in trials if t.state == TrialState.COMPLETE)


def test_asha_decides_as_optuna_would(tmp_path):
    """Equality with ``Study.ask``, ``report`` and ``should_prune`` on trials that interleave."""
    book = open_book(tmp_path, n_trials=18)
    reference = optuna.create_study(
        direction="maximize",
        pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=3, reduction_factor=3),
    )
    told = {}
    for wave in range(6):
        specs = [book.ask(f"s/{wave}-{lane}").spec for lane in range(3)]
        asked = {s.number: reference.ask() for s in specs}
        for step in range(1, 10):
            for spec in [s for s in specs if s.number in asked]:
                value = curve(spec.params, spec.number)[step - 1]
                (decision,) = book.report([line(spec.number, step, value)])
                trial = asked[spec.number]
                trial.report(value, step)
                told[spec.number, step] = decision
                assert (decision == "prune") == trial.should_prune(), (spec.number, step)
                if decision == "prune":
                    book.finish(LaneOutcome(spec.number, "pruned"))
                    reference.tell(trial, state=TrialState.PRUNED)
                    del asked[spec.number]
        for spec in [s for s in specs if s.number in asked]:
            value = curve(spec.params, spec.number)[-1]
            book.finish(LaneOutcome(spec.number, "complete", value=value))
            reference.tell(asked[spec.number], value)
    assert {"prune", "continue"} == set(told.values())
    book.close()


def test_a_decision_is_the_same_when_it_is_asked_for_again(tmp_path):
    book = open_book(tmp_path, n_trials=20)
    for i in range(20):
        spec = book.ask(f"s/{i}").spec
        values = curve(spec.params, spec.number)
        decisions = []
        for step in range(1, 10):
            decisions += book.report([line(spec.number, step, values[step - 1])])
            if decisions[-1] == "prune":
                break
        again = [
            book.report([line(spec.number, step + 1, values[step])])[0]
            for step in range(len(decisions))
        ]
        assert again == decisions
        book.finish(
            LaneOutcome(spec.number, "pruned" if "prune" in decisions else "complete", value=1)
        )
    book.close()


def test_calls_made_twice_change_nothing(tmp_path):
    book = open_book(tmp_path)
    spec = book.ask("s/a").spec
    assert book.ask("s/a").spec == spec
    finish = LaneOutcome(spec.number, "complete", value=0.5)
    book.finish(finish)
    book.finish(LaneOutcome(spec.number, "failed", reason="late"))
    (record,) = book.records()
    assert (record.state, record.value) == ("complete", 0.5)
    assert book.report([line(spec.number, 1, 0.1)]) == ["stop"]
    book.close()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None])
def test_what_is_no_number_fails_and_is_never_best(tmp_path, value):
    book = open_book(tmp_path)
    good, bad = book.ask("s/a").spec, book.ask("s/b").spec
    book.finish(LaneOutcome(good.number, "complete", value=0.1))
    book.finish(LaneOutcome(bad.number, "complete", value=value, metrics={"val/f1": math.nan}))
    book.close()
    study = reopened(tmp_path)
    assert study.trials[bad.number].state == TrialState.FAIL
    assert "average_precision" in study.trials[bad.number].user_attrs["reason"]
    assert study.best_trial.number == good.number


def test_a_report_that_is_no_number_fails_the_trial_with_the_reason(tmp_path):
    book = open_book(tmp_path)
    spec = book.ask("s/a").spec
    book.report([line(spec.number, 1, 0.5)])
    assert book.report([line(spec.number, 2, math.nan)]) == ["stop"]
    book.finish(LaneOutcome(spec.number, "stopped", value=0.5))
    (record,) = book.records()
    assert record.state == "failed"
    assert "nan" in record.reason
    assert record.curve == ((1, 0.5),)
    book.close()


def test_minimising_picks_the_smallest(tmp_path):
    book = open_book(tmp_path, direction="minimize", objective="log_loss")
    for i, value in enumerate([0.3, 0.1, 0.2]):
        book.finish(LaneOutcome(book.ask(f"s/{i}").spec.number, "complete", value=value))
    progress = book.progress()
    assert progress.best.value == 0.1
    assert book.standing(2) == ([1, 2], [0, 1, 2])
    book.close()


def test_a_finite_space_is_tried_once_and_the_end_is_said(tmp_path):
    book = open_book(tmp_path, tree=SMALL, n_trials=10)
    seen = []
    while (answer := book.ask(f"s/{len(seen)}")).spec is not None:
        seen.append(answer.spec.params["model.width"])
        book.finish(LaneOutcome(answer.spec.number, "complete", value=0.5))
    assert sorted(seen) == [1, 2, 3]
    assert "all 3 parameter sets" in answer.ended
    assert book.progress().n_trials == 3
    book.close()


def test_enqueued_parameters_come_first_and_the_rest_is_sampled(tmp_path):
    book = open_book(tmp_path, first=({"training.rate": 0.01},))
    book.enqueue({"model.width": 64, "training.rate": 0.02})
    first, second, third = (book.ask(f"s/{i}").spec.params for i in range(3))
    assert first["training.rate"] == 0.01
    assert first["model.width"] in (8, 16, 32, 64)
    assert second == {"model.width": 64, "training.rate": 0.02}
    assert third["training.rate"] not in (0.01, 0.02)
    with pytest.raises(ConfigError, match="no parameter"):
        book.enqueue({"training.speed": 1})
    with pytest.raises(ConfigError, match="not in the search space"):
        book.enqueue({"model.width": 9})
    book.close()


def test_a_lost_lane_is_forgiven_once(tmp_path):
    book = open_book(tmp_path)
    spec = book.ask("s/a").spec
    book.report([line(spec.number, 1, 0.5)])
    book.lost("s/a", "killed")
    assert book.progress().running == ()
    again = book.ask("s/b").spec
    assert (again.number, again.resumed) == (spec.number, True)
    book.lost("s/b", "killed")
    (record,) = book.records()
    assert (record.state, record.reason, record.losses) == ("failed", "killed", 1)
    assert book.ask("s/c").spec.number == 1
    book.close()


def test_a_time_budget_stops_trials_and_keeps_their_results(tmp_path):
    now = [1000.0]
    book = open_book(tmp_path, limit=Limit(60.0, "`budget.hours` (0.0167 h)"), clock=lambda: now[0])
    spec = book.ask("s/a").spec
    assert book.report([line(spec.number, 1, 0.5)]) == ["continue"]
    now[0] += 61
    assert book.report([line(spec.number, 2, 0.6)]) == ["stop"]
    book.finish(LaneOutcome(spec.number, "stopped", value=0.6))
    answer = book.ask("s/b")
    assert answer.spec is None
    assert "`budget.hours` (0.0167 h) is used up" in answer.ended
    progress = book.progress()
    assert (progress.best.value, progress.best.state) == (0.6, "complete")
    assert "budget.hours" in progress.best.reason
    book.close()


def test_too_many_failures_end_the_sweep(tmp_path):
    book = open_book(tmp_path, n_trials=50)
    for i in range(11):
        book.finish(LaneOutcome(book.ask(f"s/{i}").spec.number, "failed", reason="broken"))
    answer = book.ask("s/x")
    assert answer.ended == "11 of the first 20 trials failed"
    assert book.progress().failures == {"broken": 11}
    book.close()


def test_what_changed_is_refused_in_words(tmp_path):
    begun = {
        "config_fingerprint": "a",
        "data_fingerprint": "d",
        "config": {"training.epochs": 4.0, "data.path": "a.csv"},
        "data": {"training rows": 1000},
    }
    changed = {
        "config_fingerprint": "b",
        "data_fingerprint": "e",
        "config": {"training.epochs": 8.0, "data.path": "b.csv"},
        "data": {"training rows": 1001},
    }
    book = open_book(tmp_path, **begun)
    spec = book.ask("s/a").spec
    book.close()
    with pytest.raises(ConfigError) as error:
        open_book(tmp_path, **changed)
    epochs, path, rows = error.value.mistakes
    assert epochs.startswith("`training.epochs` must be 4.0 as in the run being resumed, but is 8")
    assert "`allow_config_change=true`" in epochs
    assert "`allow_data_change=true`" in path
    assert "`allow_data_change=true`" in rows
    with pytest.raises(ConfigError, match=r"training\.epochs"):
        open_book(tmp_path, **changed, allow_data_change=True)
    open_book(tmp_path, **begun).close()
    both = {"allow_data_change": True, "allow_config_change": True}
    book = open_book(tmp_path, **changed, **both, session="t")
    assert any("training.epochs: 4.0 -> 8.0" in note for note in book.notes())
    # What was half trained with the old settings is no trial of the new ones.
    assert book.records()[spec.number].state == "failed"
    book.close()
    open_book(tmp_path, **changed).close()


def test_other_choices_are_another_parameter_and_never_accepted(tmp_path):
    path = "search_space.model.width.choices"
    open_book(tmp_path, config_fingerprint="a", config={path: [8, 16]}).close()
    with pytest.raises(ConfigError, match="choose another `run=`"):
        open_book(tmp_path, config_fingerprint="b", config={path: [8]}, allow_config_change=True)


def test_a_study_has_one_writer(tmp_path):
    book = open_book(tmp_path)
    with pytest.raises(RunExistsError, match=rf"one writer.*process {os.getpid()} on"):
        open_book(tmp_path)
    book.close()
    open_book(tmp_path).close()


def test_commits_are_durable_and_the_closed_file_is_whole(tmp_path):
    book = open_book(tmp_path)
    assert book._db._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert book._db._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    train(book, book.ask("s/a").spec)
    book.close()
    assert not list(tmp_path.glob("study.db-*"))


def test_progress_tells_each_finished_trial_once(tmp_path):
    book = open_book(tmp_path, lanes=2)
    a, b = book.ask("s/a").spec, book.ask("s/b").spec
    book.report([line(a.number, 1, 0.4), line(b.number, 1, 0.3)])
    progress = book.progress()
    assert [(r.number, r.step, r.value) for r in progress.running] == [(0, 1, 0.4), (1, 1, 0.3)]
    assert progress.goodput_s == pytest.approx(0.2)
    book.finish(LaneOutcome(b.number, "complete", value=0.3))
    assert [r.number for r in book.progress(0).finished] == [1]
    book.finish(LaneOutcome(a.number, "failed", reason="x"))
    assert [r.number for r in book.progress(1).finished] == [0]
    assert book.progress().n_finished == 2
    book.close()


def test_the_newest_checkpoint_of_a_running_trial_and_notes_are_kept(tmp_path):
    book = open_book(tmp_path)
    spec = book.ask("s/a").spec
    assert spec.saved == 0
    for step in (1, 2, 3):
        book.report([line(spec.number, step, 0.1 * step)])
        book.saved(spec.number, step)
    book.saved(spec.number, 2)  # it went back, and saved again
    book.saved(99, 7)  # no such trial: said by a lane that was given up
    for _ in range(2):
        book.keep_note("trial 0: its newest checkpoint is gone")
    book.close()
    again = open_book(tmp_path, session="t")
    assert again.notes() == ["trial 0: its newest checkpoint is gone"]
    assert again.ask("t/a").spec.saved == 2
    again.close()
