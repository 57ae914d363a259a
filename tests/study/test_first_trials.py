"""What a sweep tries before its sampler is asked: the configuration as composed, and the user's."""

from __future__ import annotations

import pytest

import jamba_ray.models  # noqa: F401  (registers the families)
from jamba_ray.config.data import SplitSection
from jamba_ray.config.fingerprint import fingerprint, fingerprinted
from jamba_ray.config.params import flatten, with_params
from jamba_ray.config.run import SweepConfig
from jamba_ray.config.search import PrunerSection, SamplerSection
from jamba_ray.config.sweep_space import parse_space
from jamba_ray.errors import ConfigError
from jamba_ray.study import identity
from jamba_ray.study.first_trials import FirstTrials, first_trials
from jamba_ray.study.reading import begun_with
from tests.study.studies import TREE, curve, line, open_study, plain, run_to_end, train

RATE = {"type": "float", "low": 1e-4, "high": 1e-1, "log": True}
HEADS = {"type": "categorical", "choices": [1, 2, 4, 8]}
FAMILIES = {
    "model": {
        "name": {"type": "categorical", "choices": ["attention", "mlp", "lightgbm"]},
        "n_heads": {**HEADS, "when": {"model.name": "attention"}},
        "dropout_rate": {
            "type": "float",
            "low": 0.0,
            "high": 0.5,
            "when": {"model.name": ["attention", "mlp"]},
        },
    },
    "training": {"learning_rate": {**RATE, "when": {"model.name": ["attention", "mlp"]}}},
}


def config(search_space=None, model="attention", **changes):
    return SweepConfig.model_validate(
        {
            "model": {"name": model},
            "data": {"name": "synthetic"},
            "search_space": search_space or {"training": {"learning_rate": RATE}},
            **changes,
        }
    )


def first(chosen):
    return first_trials(chosen, parse_space(chosen))


@pytest.mark.parametrize("model", ["attention", "mlp", "lightgbm"])
def test_trial_0_is_exactly_what_train_would_train(model):
    chosen = config(FAMILIES, model)
    found = first(chosen)
    assert found.note is None
    assert found.defaults["model.name"] == model
    assert ("model.n_heads" in found.defaults) == (model == "attention")
    assert with_params(chosen.trial(), found.defaults) == chosen.trial()


def test_what_a_user_set_is_what_trial_0_has():
    chosen = config(training={"learning_rate": 0.05})
    assert first(chosen).defaults == {"training.learning_rate": 0.05}


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({"training": {"learning_rate": {**RATE, "low": 0.02}}}, "`training.learning_rate` is"),
        ({"model": {"n_heads": {**HEADS, "choices": [1, 2, 8]}}}, "`model.n_heads` is 4"),
        ({"model": {"hidden_dim": {"type": "int", "low": 48, "high": 96, "step": 48}}}, "steps of"),
        ({"training": {"report_rows": {"type": "int", "low": 9, "high": 99}}}, "is None"),
        ({"model": {"name": {"type": "categorical", "choices": ["mlp", "lightgbm"]}}}, "attention"),
    ],
)
def test_defaults_outside_the_space_are_not_tried_and_a_line_says_why(space, said):
    found = first(config(space))
    assert found.defaults is None
    assert said in found.note


def test_it_can_be_left_out():
    assert len(first(config(default_first=False))) == 0


def test_enqueued_ones_come_after_the_defaults_and_none_twice():
    chosen = config(
        enqueue=[{"training": {"learning_rate": 0.01}}, {"training.learning_rate": 1e-2}]
    )
    assert first(chosen).enqueued == ({"training.learning_rate": 0.01},)
    default = first(chosen).defaults
    assert first(config(enqueue=[default])).enqueued == ()


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (
            {"learning_rate": 0.01},
            r"`enqueue\[0\]` names `learning_rate`.*`training.learning_rate`\?",
        ),
        ({"training.speed": 1}, "no parameter of the space.*They are"),
        ({"training.learning_rate": 3.0}, r"search space \(0.0001 to 0.1\), but has 3.0"),
        ({"training.learning_rate": "fast"}, "but has 'fast'"),
        ({"model.n_heads": 2}, "exists only when model.name = attention"),
        ({"model.name": "mlp", "model.n_heads": 2}, "exists only when"),
        ({"model.name": "attention", "model.n_heads": True}, "but has True"),
        ({}, "is empty"),
    ],
)
def test_a_wrong_entry_is_a_sentence(entry, said):
    with pytest.raises(ConfigError, match=said):
        first(config(FAMILIES, enqueue=[entry]))


def test_an_entry_that_makes_no_valid_configuration_is_a_sentence():
    space = {"model": {"n_heads": HEADS, "hidden_dim": {"type": "int", "low": 8, "high": 64}}}
    chosen = config()
    broken = chosen.model_copy(update={"enqueue": ({"model.n_heads": 8, "model.hidden_dim": 9},)})
    with pytest.raises(ConfigError, match="makes no valid configuration"):
        first_trials(broken, _unchecked(space))


def _unchecked(tree):
    from tests.study.studies import space_of

    return space_of(tree)


BAD = {"model.width": 8, "training.rate": 1e-4}
GOOD = {"model.width": 8, "training.rate": 1e-2}
ALL = {"pruner": PrunerSection(min_rows=1), "report_rows": 1, "n_trials": 12}


def test_first_trials_are_trained_to_their_end_though_every_rung_would_stop_them(tmp_path):
    study = open_study(tmp_path, first=FirstTrials(GOOD, (BAD,)), **ALL)
    run_to_end(study)
    records = study.records()
    assert [(r.origin, r.state) for r in records[:2]] == [
        ("defaults", "complete"),
        ("enqueue", "complete"),
    ]
    assert [r.params for r in records[:2]] == [GOOD, BAD]
    assert {r.origin for r in records[2:]} == {None}
    study.close()


def test_the_others_are_judged_as_if_the_defaults_were_not_there(tmp_path):
    """Good defaults inside the rungs would stop the next trial at the first one."""
    study = open_study(tmp_path, first=FirstTrials(GOOD), **ALL)
    train(study, study.ask("s/0").spec)
    spec = study.ask("s/1").spec
    value = curve(BAD, 0)[0]
    assert study.report([line(spec.number, 1, value)]) == ["continue"]
    study.close()
    keys = [list(t.system_attrs) for t in plain(tmp_path / "study.journal").trials]
    assert keys[0] == []
    assert keys[1] == ["completed_rung_0"]


def test_a_sweep_is_not_worse_than_its_defaults(tmp_path):
    """Sabotage twin: without them, it is."""
    for folder, defaults in (("with", GOOD), ("without", None)):
        study = open_study(
            tmp_path / folder,
            first=FirstTrials(defaults),
            sampler=SamplerSection(name="random"),
            **ALL,
        )
        run_to_end(study)
        best = study.progress().best.value
        assert (best >= curve(GOOD, 0)[-1]) == (defaults is not None)
        study.close()


def test_the_grid_holds_the_defaults_once(tmp_path):
    tree = {"model": TREE["model"]}
    study = open_study(
        tmp_path,
        tree=tree,
        sampler=SamplerSection(name="grid"),
        first=FirstTrials({"model.width": 32}),
    )
    widths = []
    while (spec := study.ask(f"s/{len(widths)}").spec) is not None:
        widths.append(spec.params["model.width"])
    assert widths[0] == 32
    assert sorted(widths) == [8, 16, 32, 64]
    study.close()


def test_running_defaults_are_no_bad_trial_to_the_sampler_once_they_passed_a_rung(tmp_path):
    """TPE takes a running trial for a bad one: the defaults run longest, and are mostly good."""
    study = open_study(tmp_path, first=FirstTrials(GOOD), **ALL)
    spec = study.ask("s/0").spec
    history = study._suggestions._history
    trials = study._study.get_trials(deepcopy=False)
    assert history.of(trials) is None
    study.report([line(spec.number, 1, 0.4)])
    (shown,) = history.of(study._study.get_trials(deepcopy=False))
    assert shown.state.name == "PRUNED"
    study.close()


def _settings_of(chosen):
    return {
        "config_fingerprint": fingerprint(chosen),
        "config": flatten(fingerprinted(chosen)),
        "first": FirstTrials(GOOD) if chosen.default_first else FirstTrials(),
    }


def test_a_sweep_of_an_earlier_version_goes_on_without_the_defaults(tmp_path):
    begun = _settings_of(config(default_first=False))  # what an earlier version kept
    open_study(tmp_path, **begun).close()
    resumed = identity.as_begun(config(), begun_with(tmp_path / "study.journal"))
    assert not resumed.default_first
    study = open_study(tmp_path, **_settings_of(resumed))
    assert study.ask("s/0").spec.params != GOOD
    study.close()


def test_a_sweep_of_an_earlier_version_keeps_its_split(tmp_path):
    data = config().data.model_copy(update={"split": SplitSection(repeats="anywhere")})
    begun = config(data=data)
    assert "data.split.repeats" not in flatten(fingerprinted(begun))
    open_study(tmp_path / "old", **_settings_of(begun)).close()
    resumed = identity.as_begun(config(), begun_with(tmp_path / "old" / "study.journal"))
    assert resumed.data.split.repeats == "anywhere"
    assert fingerprint(resumed) == fingerprint(begun)
    open_study(tmp_path / "new", **_settings_of(config())).close()
    resumed = identity.as_begun(config(), begun_with(tmp_path / "new" / "study.journal"))
    assert resumed.data.split.repeats == "together"


def test_the_defaults_of_a_sweep_that_began_with_them_are_kept(tmp_path):
    study = tmp_path / "study.journal"
    assert identity.as_begun(config(), begun_with(study)).default_first  # none has begun
    open_study(tmp_path, **_settings_of(config())).close()
    assert identity.as_begun(config(), begun_with(study)).default_first
    with pytest.raises(ConfigError, match=r"`default_first` must be True.*but is False"):
        open_study(tmp_path, **_settings_of(config(default_first=False)))


def test_what_is_enqueued_on_a_resume_is_tried_next(tmp_path):
    open_study(tmp_path, config_fingerprint="a").close()
    more = {"config_fingerprint": "b", "first": FirstTrials(None, (GOOD,))}
    study = open_study(tmp_path, **more, allow_config_change=True)
    assert study.ask("s/0").spec.params == GOOD
    study.close()
    study = open_study(tmp_path, **more, session="t")
    assert study.ask("t/0").spec.params == GOOD
    assert study.ask("t/1").spec.params != GOOD
    study.close()


def test_each_other_family_is_tried_with_its_own_defaults():
    chosen = config(FAMILIES, "mlp", enqueue=[{"model.name": "lightgbm"}])
    found = first(chosen)
    assert [params["model.name"] for params in found.families] == ["attention", "lightgbm"]
    for params in found.families:
        trial = with_params(chosen.trial(), params)
        assert trial == with_params(chosen.trial(), {"model.name": params["model.name"]})
    assert found.enqueued == ()  # it is one of them
    assert len(found) == 3
    assert first(config(FAMILIES, default_first=False)).families == ()
    assert first(config()).families == ()


def test_a_familys_defaults_outside_the_space_are_not_tried():
    narrow = {**FAMILIES["model"], "n_heads": {**FAMILIES["model"]["n_heads"], "choices": [2, 8]}}
    found = first(config({**FAMILIES, "model": narrow}, "mlp"))
    assert [params["model.name"] for params in found.families] == ["lightgbm"]


def test_the_families_defaults_come_first_and_are_said_to_be_defaults(tmp_path):
    given = FirstTrials(GOOD, (), None, (BAD,))
    study = open_study(tmp_path, first=given, **ALL)
    study.close()
    study = open_study(tmp_path, first=given, **ALL)  # a second session enqueues nothing again
    run_to_end(study)
    assert [r.origin for r in study.records()[:3]] == ["defaults", "defaults", None]
    study.close()
