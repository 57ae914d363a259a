"""Flags: those that there are, and an answer to those of Hydra that users type."""

import shlex

import pytest
import yaml

from jamba_ray.cli.composition import compose_section
from jamba_ray.cli.flags import split_flags
from jamba_ray.cli.multirun import same_sweep
from jamba_ray.config.run import SweepConfig
from jamba_ray.config.sweep_space import parse_space
from jamba_ray.errors import ConfigError
from tests.commands import run_here


def mistake(*words, **how):
    with pytest.raises(ConfigError) as caught:
        split_flags(words, **how)
    (sentence,) = caught.value.mistakes
    return sentence


def test_cfg_job_resolve_and_package_print_what_hydra_prints(tmp_path):
    done = run_here("train", "model=mlp", "--cfg", "job", "--resolve", cwd=tmp_path)
    whole = yaml.safe_load(done.stdout)
    assert (done.returncode, whole["model"]["name"]) == (0, "mlp")
    for words in (["-p", "model"], ["--package", "model"], ["--package=model"]):
        part = run_here("train", "model=mlp", "--cfg=job", *words, cwd=tmp_path)
        assert yaml.safe_load(part.stdout) == whole["model"]
    one = run_here("train", "--cfg", "job", "-p", "training.learning_rate", cwd=tmp_path)
    assert one.stdout == "0.002\n"
    wrong = run_here("train", "--cfg", "job", "-p", "modell", cwd=tmp_path)
    assert wrong.returncode == 64
    assert "Did you mean `model`?" in wrong.stderr
    elsewhere = run_here("submit", "n_trials=3", "--cfg", "job", "-p", "n_trials", cwd=tmp_path)
    assert elsewhere.stdout == "3\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--cfg"], "must be followed by"),
        (["--cfg", "hydra"], "Say `--cfg job`"),
        (["--resolve"], "goes with `--cfg job`"),
        (["-p", "model"], "goes with `--cfg job`"),
        (["--config-dir=/nowhere/at/all"], "must be a folder"),
        (["--config-name", "x"], "`+sweep=<name>`"),
        (["-cp", "x"], "`./conf`"),
        (["--info"], "`--cfg job` prints"),
        (["-sc", "install=bash"], "jamba-ray completion bash"),
        (["--version"], "`jamba-ray --version`"),
        (["--config-dri=x"], "Did you mean `--config-dir`?"),
        (["--fly"], "Settings are written `name=value`"),
    ],
)
def test_each_flag_gets_an_answer(words, said):
    assert said in mistake(*words)


@pytest.mark.parametrize(
    ("asked", "values"),
    [
        (["training.learning_rate=0.001,0.01", "model=mlp,attention"], [[0.001, 0.01], ["mlp"]]),
        (["model.n_heads=range(1,3)"], [[1, 2]]),
        (["model=mlp", "model.embedding=choice(ple,'linear')"], [["ple", "linear"]]),
        (["training.learning_rate=interval(0.001,0.1)"], []),
        (["data=table", "data.path=my flows.csv", "seed=1,2,3"], [[1, 2, 3]]),
    ],
)
@pytest.mark.parametrize("flag", ["-m", "--multirun"])
def test_multirun_is_told_the_sweep_that_does_the_same(flag, asked, values):
    sentence = mistake(flag, *asked)
    line = sentence.partition("does the same: ")[2]
    program, name, *words = shlex.split(line)
    assert (program, name) == ("jamba-ray", "sweep")
    config = compose_section(SweepConfig, "config", words)
    space = parse_space(config)
    assert len(space.parameters) == sum("," in w.replace("choice(", ",") for w in asked)
    found = [list(getattr(p.leaf, "choices", ())) for p in space.parameters]
    for wanted in values:
        assert any(set(wanted) <= set(choices) for choices in found)
    assert config.pruner.name == "none"
    if values:
        product = 1
        for choices in found:
            product *= len(choices)
        assert (config.sampler.name, config.n_trials) == ("grid", product)


def test_multirun_without_values_or_over_data_is_answered_too():
    assert "--multirun training.learning_rate=" in mistake("-m")
    assert same_sweep(["data.path=a.csv,b.csv"]) is None
    assert same_sweep(["model=glob(*)"]) is None
    assert same_sweep(["seed=range(0,100000)"]) is None
    assert "does one thing at a time" in mistake("-m", "run=a,b", command="report")


def test_values_for_several_runs_without_the_flag_are_told_the_leaf():
    with pytest.raises(ConfigError) as caught:
        compose_section(SweepConfig, "config", ["training.epochs=1,2"])
    (sentence,) = caught.value.mistakes
    setting = shlex.split(sentence.partition("sweep as ")[2].rstrip("."))[0]
    assert parse_space(compose_section(SweepConfig, "config", [setting])).parameters


def test_a_topic_follows_help_and_a_setting_does_not():
    assert split_flags(["--help", "data"])[0].help == "data"
    assert split_flags(["--help=data"])[0].help == "data"
    flags, words = split_flags(["-h", "n_trials=3"])
    assert (flags.help, words) == ("", ["n_trials=3"])
    assert split_flags(["n_trials=3"])[0].help is None


def test_a_dash_alone_and_the_flags_of_a_command_stay_words():
    assert split_flags(["runs/x", "-", "-o", "-"], others=["-o"])[1] == ["runs/x", "-", "-o", "-"]
