"""From a command line to one configuration: choices, settings, refusals; no Hydra run folder."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from jamba_ray.cli.composition import compose_section, compose_tree
from jamba_ray.cli.options import groups
from jamba_ray.config.run import RenamedSettingWarning, SweepConfig, TrainConfig
from jamba_ray.config.sweep_space import parse_space
from jamba_ray.errors import ConfigError
from tests.commands import run_here

ALL_OPTIONS = [(g, o) for g, options in groups().items() for o in options if g != "sweep"]


def compose(*overrides):
    return compose_section(SweepConfig, "config", overrides)


def mistakes_of(*overrides):
    with pytest.raises(ConfigError) as caught:
        compose(*overrides)
    return list(caught.value.mistakes)


@pytest.mark.parametrize(("group", "option"), ALL_OPTIONS)
def test_every_option_composes(group, option):
    extra = ["data.path=x.csv"] if option == "table" else []
    config = compose(f"{group}={option}", *extra)
    found = getattr(config, group)
    assert found.name in {option, "table"} or getattr(found, option, None) is True


@pytest.mark.parametrize("name", groups()["sweep"])
@pytest.mark.parametrize("data", ["synthetic", "nsl_kdd"])
def test_every_sweep_composes_and_its_space_fits(name, data):
    config = compose(f"+sweep={name}", f"data={data}")
    space = parse_space(config)
    assert config.sweep_name == name
    assert space.parameters


def test_the_four_promised_sweeps_ship():
    assert {"attention_heads", "learning_rate", "architecture", "rivals"} <= set(groups()["sweep"])


def test_settings_need_no_plus_and_win_over_files():
    config = compose("+sweep=attention_heads", "n_trials=3", "training.epochs=0.5", "sweep=rivals")
    assert (config.n_trials, config.training.epochs) == (3, 0.5)
    assert compose("sweep=rivals").sweep_name == compose("+sweep=rivals").sweep_name == "rivals"


def test_a_new_leaf_replaces_the_old_one():
    config = compose(
        "+sweep=attention_heads",
        "search_space.model.n_heads={type: int, low: 1, high: 2}",
        "search_space.training.weight_decay={type: float, low: 1e-5, high: 1e-2, log: true}",
    )
    assert config.search_space["model"]["n_heads"] == {"type": "int", "low": 1, "high": 2}
    assert "weight_decay" in config.search_space["training"]


def test_a_setting_can_be_taken_away():
    config = compose("+sweep=attention_heads", "~search_space.model.n_heads")
    assert "n_heads" not in config.search_space.get("model", {})


def test_mistakes_of_all_kinds_in_one_go():
    found = mistakes_of("training.learnin_rate=1", "n_trials=many", "precison=bf16")
    assert len(found) == 3


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("+sweep=attention_head", "Did you mean `attention_heads`?"),
        ("model=atention", "Did you mean `attention`?"),
        ("hydra.run.dir=../../x", "Hydra's own settings are fixed"),
        ("+hydra.callbacks.x._target_=os.system", "Hydra's own settings are fixed"),
        ("hydra/launcher=joblib", "Hydra's own settings are fixed"),
        ("training.epochs=1,2,3", "asks Hydra for several runs"),
        ("model._target_=os.system", "settings run no code"),
        ("search_space.x={_target_: os.system}", "settings run no code"),
        ("=3", "cannot be read as `name=value`"),
        ("~nothing.here", "must name a setting that is set"),
        ("run=../../x", "Choose a plain name"),
        ("training.learning_rate=.inf", "must be a"),
        ("n_trials=", "`n_trials` must be an integer"),
    ],
)
def test_refusals(override, words):
    (sentence,) = mistakes_of(override)
    assert words in sentence


def test_missing_values_are_named():
    assert mistakes_of("data=table") == [
        "`data.path` must be given, but is missing. Set `data.path=...`."
    ]


def test_train_has_no_sweep_settings():
    with pytest.raises(ConfigError, match="`n_trials` is not a setting"):
        compose_section(TrainConfig, "config", ["n_trials=3"])


def test_a_sweep_file_of_the_users_own(tmp_path, monkeypatch):
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "mine.yaml").write_text(
        "sweep_name: mine\nn_trials: 2\n"
        "search_space: {training: {weight_decay: {type: float, low: 0, high: 0.1}}}\n"
    )
    (tmp_path / "sweeps" / "broken.yaml").write_text("a: [")
    monkeypatch.chdir(tmp_path)
    assert compose("+sweep=mine").n_trials == 2
    assert "no valid YAML" in mistakes_of("+sweep=broken")[0]


def unfolding(text):
    """Nine levels, each ten times the one below."""
    return "\n".join(["a0: &a0 [x]", *(text.format(i, i - 1) for i in range(1, 9))]) + "\n"


BOMBS = {
    "aliases": unfolding("a{0}: &a{0} [" + "*a{1}," * 10 + "]"),
    "texts": unfolding("a{0}: '" + "${{a{1}}}" * 10 + "'"),
    "nodes": unfolding("a{0}: [" + "'${{a{1}}}'," * 10 + "]"),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_sweep_file_cannot_unfold_without_limit(kind, tmp_path, monkeypatch):
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "bomb.yaml").write_text(f"sweep_name: bomb\n{BOMBS[kind]}")
    monkeypatch.chdir(tmp_path)
    (sentence,) = mistakes_of("+sweep=bomb")
    assert "unfold" in sentence


def test_a_sweep_file_may_refer_to_its_own_values(tmp_path, monkeypatch):
    (tmp_path / "sweeps").mkdir()
    lines = [
        "sweep_name: mine",
        "n_trials: 8",
        "seed: ${n_trials}",
        """training: {epochs: "${seed}"}""",
    ]
    (tmp_path / "sweeps" / "mine.yaml").write_text("\n".join(lines))
    (tmp_path / "sweeps" / "list.yaml").write_text("- a\n")
    (tmp_path / "sweeps" / "bytes.yaml").write_bytes(b"a: \xff\n")
    (tmp_path / "sweeps" / "folder.yaml").mkdir()
    monkeypatch.chdir(tmp_path)
    assert compose("+sweep=mine").training.epochs == 8.0
    for name in ("list", "bytes", "folder"):
        assert len(mistakes_of(f"+sweep={name}")) == 1


def test_composition_leaves_the_folder_as_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    compose_tree(SweepConfig, "config", ["n_trials=3"])
    assert list(tmp_path.iterdir()) == []


def command(*args, cwd: Path):
    return subprocess.run(
        [sys.executable, "-m", *args], cwd=cwd, capture_output=True, text=True, timeout=120
    )


def test_cfg_job_prints_yaml_that_composes_again(tmp_path):
    done = run_here("sweep", "+sweep=rivals", "--cfg", "job", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    tree = yaml.safe_load(done.stdout)
    assert SweepConfig.model_validate(tree).sweep_name == "rivals"
    assert list(tmp_path.iterdir()) == []


def test_a_users_mistake_shows_sentences_and_no_traceback(tmp_path):
    done = command("jamba_ray.sweep", "n_trals=3", "model.n_heads=7", cwd=tmp_path)
    assert done.returncode == 64
    assert "2 mistakes" in done.stderr
    assert "Did you mean `n_trials`?" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_setting_that_was_renamed_is_taken_by_its_old_name_with_a_warning():
    with pytest.warns(RenamedSettingWarning, match="`trials_per_lane` is called"):
        assert compose("trials_per_lane=2").trials_per_runner == 2


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("learning_rate=0.1", "training.learning_rate` or `model.learning_rate"),
        ("lr=1", "training.learning_rate` or `model.learning_rate"),
        ("epochs=5", "training.epochs"),
        ("target=x", "data.target"),
        ("n_heads=2", "model.n_heads"),
        ("min_row=9", "pruner.min_rows"),
    ],
)
def test_a_setting_without_its_section_is_told_its_full_name(given, meant):
    name = given.partition("=")[0]
    assert mistakes_of(given) == [f"`{name}` is not a setting. Did you mean `{meant}`?"]
