"""Options of the user's own: ``./conf``, ``--config-dir`` and ``./sweeps`` beside ours."""

import os
import subprocess
import sys

import pytest

from jamba_ray.cli.composition import compose_section
from jamba_ray.cli.options import groups
from jamba_ray.config.run import SweepConfig
from jamba_ray.errors import ConfigError
from tests.commands import run_here


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(name, text):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
        return tmp_path

    return write


def compose(*words, config_dir=None):
    return compose_section(SweepConfig, "config", words, config_dir)


def mistake(*words, **how):
    with pytest.raises(ConfigError) as caught:
        compose(*words, **how)
    (sentence,) = caught.value.mistakes
    return sentence


def test_an_option_of_conf_is_chosen_by_its_name(own):
    own("conf/model/big.yaml", "name: attention\nhidden_dim: 64\n")
    own("conf/data/flows.yaml", "defaults: [table]\npath: flows.csv\ntarget: label\n")
    own("conf/sweep/mine.yaml", "n_trials: 5\ndefaults: [{override /model: big}]\n")
    assert compose("model=big").model.hidden_dim == 64
    assert compose("model=big", "model.hidden_dim=32").model.hidden_dim == 32
    assert (compose("data=flows").data.path, compose("data=flows").data.name) == (
        "flows.csv",
        "table",
    )
    mine = compose("+sweep=mine")
    assert (mine.n_trials, mine.model.hidden_dim) == (5, 64)
    assert "big" in groups()["model"]
    assert "Did you mean `big`?" in mistake("model=bg")


def test_config_dir_comes_before_conf_and_conf_before_ours(own, tmp_path):
    own("conf/model/mlp.yaml", "name: mlp\nhidden_dim: 8\n")
    own("team/model/mlp.yaml", "name: mlp\nhidden_dim: 16\n")
    own("team/sweep/rivals.yaml", "n_trials: 7\n")
    assert compose("model=mlp").model.hidden_dim == 8
    team = tmp_path / "team"
    assert compose("model=mlp", config_dir=team).model.hidden_dim == 16
    assert compose("+sweep=rivals", config_dir=team).n_trials == 7
    assert compose("+sweep=rivals").n_trials != 7
    assert compose().model.name == "attention"


def test_the_commands_take_them(own):
    folder = own("team/model/big.yaml", "name: attention\nhidden_dim: 64\n")
    for words in (["--config-dir=team"], ["--config-dir", "team"], ["-cd", "team"]):
        done = run_here("train", "model=big", "--cfg", "job", *words, cwd=folder)
        assert (done.returncode, "hidden_dim: 64" in done.stdout) == (0, True), done.stderr
    refused = run_here("train", "model=big", cwd=folder)
    assert (refused.returncode, "must be one of attention" in refused.stderr) == (64, True)
    there = ["--config-dir=team", "submit.dry_run=true"]
    submitted = run_here("submit", "+sweep=rivals", "model=big", *there, cwd=folder)
    assert (submitted.returncode, " --config-dir=team " in submitted.stdout) == (0, True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: mlp\n_target_: os.system\n", "`_target_` is refused"),
        ("name: mlp\nx: {_target_: os.system}\n", "`x._target_` is refused"),
        ("name: ${oc.env:WANDB_API_KEY}\n", "another variable may be a secret"),
        ("- mlp\n", "must hold settings"),
        ("a: [\n", "no valid YAML"),
        ("a0: &a [x]\na1: [*a, *a]\n" + "k: '" + "x" * (5 << 20) + "'\n", "longer than 4 MiB"),
        ("!!python/object/apply:os.system [id]\n", "no valid YAML"),
        ("name: mlp\nhiden_dim: 3\n", "Did you mean `hidden_dim`?"),
    ],
)
def test_what_is_wrong_in_one_is_told_where_it_is_chosen(text, said, own):
    own("conf/model/odd.yaml", text)
    own("conf/tracking/odd.yaml", text)
    assert compose("model=mlp").model.name == "mlp"
    assert said in mistake("model=odd")


def test_a_file_that_is_none_breaks_nothing(own):
    folder = own("conf/notes.txt", "x")
    (folder / "conf" / "data").mkdir()
    (folder / "conf" / "data" / "folder.yaml").mkdir()
    os.symlink(folder / "gone", folder / "conf" / "data" / "gone.yaml")
    assert compose().data.name == "synthetic"
    assert "cannot be read" in mistake("data=folder")
    assert "cannot be read" in mistake("data=gone")


def test_a_program_that_was_not_started_in_a_checkout_finds_them_too(own):
    folder = own("conf/model/big.yaml", "name: attention\nhidden_dim: 64\n")
    done = subprocess.run(
        [sys.executable, "-m", "jamba_ray", "train", "model=big", "--cfg=job", "-p", "model"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, "hidden_dim: 64" in done.stdout) == (0, True), done.stderr


def test_a_sweep_stands_on_another_one(own):
    own("sweeps/base.yaml", "n_trials: 9\nseed: 3\n")
    own("sweeps/mine.yaml", "defaults: [base, {override /model: mlp}, _self_]\nn_trials: 4\n")
    own("sweeps/on_ours.yaml", "defaults: [learning_rate, _self_]\nn_trials: 2\n")
    own("sweeps/broken.yaml", "n_trials: [\n")
    own("sweeps/on_broken.yaml", "defaults: [broken]\n")
    own("sweeps/lost.yaml", "defaults: [nowhere]\n")
    mine = compose("+sweep=mine")
    assert (mine.n_trials, mine.seed, mine.model.name) == (4, 3, "mlp")
    ours = compose("+sweep=on_ours")
    assert (ours.n_trials, "learning_rate" in str(ours.search_space)) == (2, True)
    assert "`sweeps/broken.yaml` is no valid YAML" in mistake("+sweep=on_broken")
    assert "Could not load 'sweep/nowhere'." in mistake("+sweep=lost")


def test_a_group_of_the_users_own_holds_experiments(own, tmp_path):
    text = "# @package _global_\ndefaults: [base, {override /model: mlp}]\ntraining: {epochs: 2}\n"
    own("team/experiment/night.yaml", text)
    own("team/experiment/base.yaml", "# @package _global_\nseed: 5\n")
    for word in ("+experiment=night", "experiment=night"):
        night = compose(word, config_dir=tmp_path / "team")
        assert (night.model.name, night.training.epochs, night.seed) == ("mlp", 2.0, 5)
    assert "Did you mean `night`?" in mistake("+experiment=nigt", config_dir=tmp_path / "team")
    assert "`experiment` is not a setting" in mistake("experiment=night")
