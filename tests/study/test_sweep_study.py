"""The study: what is promised of trials, their states, their curves and the end of a sweep."""

from __future__ import annotations

import math
import os

import optuna
import pytest
from optuna.trial import TrialState

from jamba_ray.config.budget import Limit
from jamba_ray.errors import ConfigError, RunExistsError
from jamba_ray.runs.checked_lines import commits
from jamba_ray.study.first_trials import FirstTrials
from jamba_ray.study.records import TrialOutcome
from tests.study.studies import curve, line, open_study, plain, run_to_end, train

SMALL = {"model": {"width": {"type": "categorical", "choices": [1, 2, 3]}}}


def reopened(tmp_path) -> optuna.Study:
    return plain(tmp_path / "study.journal")


def test_optuna_alone_sees_pruned_trials_with_curves_and_none_running(tmp_path):
    study = open_study(tmp_path, n_trials=20)
    specs = run_to_end(study)
    study.close()
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
    study = open_study(tmp_path, n_trials=18)
    reference = optuna.create_study(
        direction="maximize",
        pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=3, reduction_factor=3),
    )
    told = {}
    for wave in range(6):
        specs = [study.ask(f"s/{wave}-{runner}").spec for runner in range(3)]
        asked = {s.number: reference.ask() for s in specs}
        for step in range(1, 10):
            for spec in [s for s in specs if s.number in asked]:
                value = curve(spec.params, spec.number)[step - 1]
                (decision,) = study.report([line(spec.number, step, value)])
                trial = asked[spec.number]
                trial.report(value, step)
                told[spec.number, step] = decision
                assert (decision == "prune") == trial.should_prune(), (spec.number, step)
                if decision == "prune":
                    study.finish(TrialOutcome(spec.number, "pruned"))
                    reference.tell(trial, state=TrialState.PRUNED)
                    del asked[spec.number]
        for spec in [s for s in specs if s.number in asked]:
            value = curve(spec.params, spec.number)[-1]
            study.finish(TrialOutcome(spec.number, "complete", value=value))
            reference.tell(asked[spec.number], value)
    assert {"prune", "continue"} == set(told.values())
    study.close()


def test_a_decision_is_the_same_when_it_is_asked_for_again(tmp_path):
    study = open_study(tmp_path, n_trials=20)
    for i in range(20):
        spec = study.ask(f"s/{i}").spec
        values = curve(spec.params, spec.number)
        decisions = []
        for step in range(1, 10):
            decisions += study.report([line(spec.number, step, values[step - 1])])
            if decisions[-1] == "prune":
                break
        again = [
            study.report([line(spec.number, step + 1, values[step])])[0]
            for step in range(len(decisions))
        ]
        assert again == decisions
        study.finish(
            TrialOutcome(spec.number, "pruned" if "prune" in decisions else "complete", value=1)
        )
    study.close()


def test_calls_made_twice_change_nothing(tmp_path):
    study = open_study(tmp_path)
    spec = study.ask("s/a").spec
    assert study.ask("s/a").spec == spec
    finish = TrialOutcome(spec.number, "complete", value=0.5)
    study.finish(finish)
    study.finish(TrialOutcome(spec.number, "failed", reason="late"))
    (record,) = study.records()
    assert (record.state, record.value) == ("complete", 0.5)
    assert study.report([line(spec.number, 1, 0.1)]) == ["stop"]
    study.close()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None])
def test_what_is_no_number_fails_and_is_never_best(tmp_path, value):
    study = open_study(tmp_path)
    good, bad = study.ask("s/a").spec, study.ask("s/b").spec
    study.finish(TrialOutcome(good.number, "complete", value=0.1))
    study.finish(TrialOutcome(bad.number, "complete", value=value, metrics={"val/f1": math.nan}))
    study.close()
    study = reopened(tmp_path)
    assert study.trials[bad.number].state == TrialState.FAIL
    assert "average_precision" in study.trials[bad.number].user_attrs["reason"]
    assert study.best_trial.number == good.number


def test_a_report_that_is_no_number_fails_the_trial_with_the_reason(tmp_path):
    study = open_study(tmp_path)
    spec = study.ask("s/a").spec
    study.report([line(spec.number, 1, 0.5)])
    assert study.report([line(spec.number, 2, math.nan)]) == ["stop"]
    study.finish(TrialOutcome(spec.number, "stopped", value=0.5))
    (record,) = study.records()
    assert record.state == "failed"
    assert "nan" in record.reason
    assert record.curve == ((1, 0.5),)
    study.close()


def test_minimising_picks_the_smallest(tmp_path):
    study = open_study(tmp_path, direction="minimize", objective="log_loss")
    for i, value in enumerate([0.3, 0.1, 0.2]):
        study.finish(TrialOutcome(study.ask(f"s/{i}").spec.number, "complete", value=value))
    progress = study.progress()
    assert progress.best.value == 0.1
    assert study.standing(2) == ([1, 2], [0, 1, 2])
    study.close()


def test_a_finite_space_is_tried_once_and_the_end_is_said(tmp_path):
    study = open_study(tmp_path, tree=SMALL, n_trials=10)
    seen = []
    while (answer := study.ask(f"s/{len(seen)}")).spec is not None:
        seen.append(answer.spec.params["model.width"])
        study.finish(TrialOutcome(answer.spec.number, "complete", value=0.5))
    assert sorted(seen) == [1, 2, 3]
    assert "all 3 parameter sets" in answer.ended
    assert study.progress().n_trials == 3
    study.close()


def test_enqueued_parameters_come_first_and_the_rest_is_sampled(tmp_path):
    study = open_study(tmp_path, first=FirstTrials(enqueued=({"training.rate": 0.01},)))
    study.enqueue({"model.width": 64, "training.rate": 0.02})
    first, second, third = (study.ask(f"s/{i}").spec.params for i in range(3))
    assert first["training.rate"] == 0.01
    assert first["model.width"] in (8, 16, 32, 64)
    assert second == {"model.width": 64, "training.rate": 0.02}
    assert third["training.rate"] not in (0.01, 0.02)
    with pytest.raises(ConfigError, match="no parameter"):
        study.enqueue({"training.speed": 1})
    with pytest.raises(ConfigError, match="not in the search space"):
        study.enqueue({"model.width": 9})
    study.close()


def test_a_lost_runner_is_forgiven_once(tmp_path):
    study = open_study(tmp_path)
    spec = study.ask("s/a").spec
    study.report([line(spec.number, 1, 0.5)])
    study.lost("s/a", "killed")
    assert study.progress().running == ()
    again = study.ask("s/b").spec
    assert (again.number, again.resumed) == (spec.number, True)
    study.lost("s/b", "killed")
    (record,) = study.records()
    assert (record.state, record.reason, record.losses) == ("failed", "killed", 1)
    assert study.ask("s/c").spec.number == 1
    study.close()


def test_a_time_budget_stops_trials_and_keeps_their_results(tmp_path):
    now = [1000.0]
    study = open_study(
        tmp_path, limit=Limit(60.0, "`budget.hours` (0.0167 h)"), clock=lambda: now[0]
    )
    spec = study.ask("s/a").spec
    assert study.report([line(spec.number, 1, 0.5)]) == ["continue"]
    now[0] += 61
    assert study.report([line(spec.number, 2, 0.6)]) == ["stop"]
    study.finish(TrialOutcome(spec.number, "stopped", value=0.6))
    answer = study.ask("s/b")
    assert answer.spec is None
    assert "`budget.hours` (0.0167 h) is used up" in answer.ended
    progress = study.progress()
    assert (progress.best.value, progress.best.state) == (0.6, "complete")
    assert "budget.hours" in progress.best.reason
    study.close()


def test_too_many_failures_end_the_sweep(tmp_path):
    study = open_study(tmp_path, n_trials=50)
    for i in range(11):
        study.finish(TrialOutcome(study.ask(f"s/{i}").spec.number, "failed", reason="broken"))
    answer = study.ask("s/x")
    assert answer.ended == "11 of the first 20 trials failed"
    assert study.progress().failures == {"broken": 11}
    study.close()


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
    study = open_study(tmp_path, **begun)
    spec = study.ask("s/a").spec
    study.close()
    with pytest.raises(ConfigError) as error:
        open_study(tmp_path, **changed)
    epochs, path, rows = error.value.mistakes
    assert epochs.startswith("`training.epochs` must be 4.0 as in the run being resumed, but is 8")
    assert "`allow_config_change=true`" in epochs
    assert "`allow_data_change=true`" in path
    assert "`allow_data_change=true`" in rows
    with pytest.raises(ConfigError, match=r"training\.epochs"):
        open_study(tmp_path, **changed, allow_data_change=True)
    open_study(tmp_path, **begun).close()
    both = {"allow_data_change": True, "allow_config_change": True}
    study = open_study(tmp_path, **changed, **both, session="t")
    assert any("training.epochs: 4.0 -> 8.0" in note for note in study.notes())
    # What was half trained with the old settings is no trial of the new ones.
    assert study.records()[spec.number].state == "failed"
    study.close()
    open_study(tmp_path, **changed).close()


def test_other_choices_are_another_parameter_and_never_accepted(tmp_path):
    path = "search_space.model.width.choices"
    open_study(tmp_path, config_fingerprint="a", config={path: [8, 16]}).close()
    with pytest.raises(ConfigError, match="choose another `run=`"):
        open_study(tmp_path, config_fingerprint="b", config={path: [8]}, allow_config_change=True)


def test_a_study_has_one_writer(tmp_path):
    study = open_study(tmp_path)
    with pytest.raises(RunExistsError, match=rf"one writer.*process {os.getpid()} on"):
        open_study(tmp_path)
    study.close()
    open_study(tmp_path).close()


def test_commits_are_durable_and_the_closed_file_is_whole(tmp_path, monkeypatch):
    """Each call that changes something is one write and one fdatasync of the journal."""
    study = open_study(tmp_path)
    synced, sync = [], os.fdatasync

    def noting(file):
        synced.append(os.readlink(f"/proc/self/fd/{file}"))
        sync(file)

    monkeypatch.setattr(os, "fdatasync", noting)
    spec = study.ask("s/a").spec
    assert synced == [str(tmp_path / "study.journal")]
    study.report([line(spec.number, 1, 0.5)])
    assert synced == [str(tmp_path / "study.journal")] * 2
    study.report([line(spec.number, 1, 0.5)])
    assert len(synced) == 2, "a report that changed nothing was written"
    train(study, spec, start=2)
    study.close()
    journal = (tmp_path / "study.journal").read_bytes()
    assert journal == (tmp_path / "study.copy.journal").read_bytes()
    assert [end.size for end in commits(journal)][-1] == len(journal)
    assert {f.name for f in tmp_path.iterdir()} == {
        "study.journal",
        "study.copy.journal",
        "study.lease",
    }


def test_progress_tells_each_finished_trial_once(tmp_path):
    study = open_study(tmp_path, runners=2)
    a, b = study.ask("s/a").spec, study.ask("s/b").spec
    study.report([line(a.number, 1, 0.4), line(b.number, 1, 0.3)])
    progress = study.progress()
    assert [(r.number, r.step, r.value) for r in progress.running] == [(0, 1, 0.4), (1, 1, 0.3)]
    assert progress.goodput_s == pytest.approx(0.2)
    study.finish(TrialOutcome(b.number, "complete", value=0.3))
    assert [r.number for r in study.progress(0).finished] == [1]
    study.finish(TrialOutcome(a.number, "failed", reason="x"))
    assert [r.number for r in study.progress(1).finished] == [0]
    assert study.progress().n_finished == 2
    study.close()


def test_the_newest_checkpoint_of_a_running_trial_and_notes_are_kept(tmp_path):
    study = open_study(tmp_path)
    spec = study.ask("s/a").spec
    assert spec.saved == 0
    for step in (1, 2, 3):
        study.report([line(spec.number, step, 0.1 * step)])
        study.saved(spec.number, step)
    study.saved(spec.number, 2)  # it went back, and saved again
    study.saved(99, 7)  # no such trial: said by a runner that was given up
    for _ in range(2):
        study.keep_note("trial 0: its newest checkpoint is gone")
    study.close()
    again = open_study(tmp_path, session="t")
    assert again.notes() == ["trial 0: its newest checkpoint is gone"]
    assert again.ask("t/a").spec.saved == 2
    again.close()
