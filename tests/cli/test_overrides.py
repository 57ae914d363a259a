"""Pasted settings: a text is taken as it stands, Hydra's syntax means what it means, and what we
print comes back as the same value through a shell and our parser."""

import shlex
import subprocess
from functools import partial

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from jamba_ray.cli.composition import compose_section
from jamba_ray.cli.options import groups
from jamba_ray.cli.overrides import parsed, read_text
from jamba_ray.cli.split_settings import split_settings
from jamba_ray.config.command_line import command, override
from jamba_ray.config.predict import EvaluateConfig
from jamba_ray.config.report import ReportConfig
from jamba_ray.config.run import SweepConfig, TrainConfig
from jamba_ray.config.settings import GROUPS, settings_of, text_setting
from jamba_ray.config.submit import SubmitSection
from jamba_ray.errors import ConfigError

PATHS = [
    *("/d/run=3/f.csv", "data[1]/f.csv", "~/x.csv", "x,y/f.csv", "a@b", "50%", "naïve/标签.csv"),
    *("my data/f.csv", "{a:1}", "glob(*)", "choice(a,b)", "/d/[1]/*.csv", "x'y", 'a "b" c', "(1)"),
    *("a=b=c", "0", "007", "1e3", "true", "-x", "a#b", "a;b", "a&b", "a<b>", "${a}/b=c", ".5"),
]


@pytest.mark.parametrize(
    ("path", "plus"),
    [
        *((path, "") for path in PATHS),
        *((path, plus) for path in PATHS[:3] for plus in ("+", "++")),
    ],
)
def test_a_text_is_taken_as_it_stands(path, plus):
    train = compose_section(TrainConfig, "config", ["data=table", f"{plus}data.path={path}"])
    assert train.data.path == path


def test_it_is_the_same_in_every_command():
    texts = ["data=table", "data.path=/d/run=3/f.csv", "data.target=0"]
    for section, primary, more in (
        (TrainConfig, "config", []),
        (SweepConfig, "config", ["+sweep=rivals"]),
        (EvaluateConfig, "evaluate", ["checkpoint=/d/my runs=3/best"]),
    ):
        config = compose_section(section, primary, [*texts, *more])
        assert (config.data.path, config.data.target) == ("/d/run=3/f.csv", "0")
    assert config.checkpoint == "/d/my runs=3/best"
    assert compose_section(ReportConfig, "report", ["runs=[a=b,7]"]).runs == ["a=b", "7"]
    own, _ = split_settings(SubmitSection, "submit", ["submit.key=7", "submit.results=a: b/=3"])
    assert (own.key, own.results) == ("7", "a: b/=3")


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("[proto=name]", ["proto=name"]),
        ("[dst port[tcp], proto=name]", ["dst port[tcp]", "proto=name"]),
        ("['bytes/s, mean',\"a=b\", c d]", ["bytes/s, mean", "a=b", "c d"]),
        ('[pkts "fwd",标签,id.orig_h:dur]', ['pkts "fwd"', "标签", "id.orig_h:dur"]),
        ("[0,007,true,null,1.50]", ["0", "007", "true", "null", "1.50"]),
        ("['a,b]", ["'a", "b"]),
        ("[]", []),
        ("[ a ]", ["a"]),
    ],
)
def test_a_list_of_texts_is_taken_element_by_element(given, meant):
    config = compose_section(
        TrainConfig, "config", ["data=table", "data.path=x", f"data.drop={given}"]
    )
    assert list(config.data.drop) == meant


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("'a b'", "a b"),
        ('"run=3"', "run=3"),
        (r"a\,b", "a,b"),
        ("${data.target}.csv", "is_attack.csv"),
        ("str(7)", "7"),
    ],
)
def test_what_hydra_reads_as_text_means_what_it_means_there(given, meant):
    words = ["data=table", "data.target=is_attack", f"data.path={given}"]
    assert compose_section(TrainConfig, "config", words).data.path == meant


def test_null_is_none_where_there_may_be_none_and_a_key_can_be_taken_away():
    words = ["data=table", "data.path=x", "data.test=y", "data.timestamp=null", "~data.test"]
    data = compose_section(TrainConfig, "config", words).data
    assert (data.timestamp, data.test) == (None, None)


def test_names_of_extra_tests_may_hold_dots():
    words = ["data=table", "data.path=x", "data.extra_tests.march.2=/d/run=3", "run=2024"]
    config = compose_section(TrainConfig, "config", words)
    assert config.data.extra_tests == {"march.2": "/d/run=3"}
    assert config.run == "2024"


def test_a_list_without_brackets_is_refused_with_the_way_out():
    with pytest.raises(ConfigError) as caught:
        compose_section(TrainConfig, "config", ["data=table", "data.path=x", "data.drop=a=b"])
    assert """Write 'data.drop=["a=b"]'.""" in str(caught.value)


@pytest.mark.parametrize("name", ["columns", "positive", "negative"])
def test_names_and_label_values_are_texts_too(name):
    given = f"data.{name}=[a=b,dst port[tcp],0]"
    config = compose_section(TrainConfig, "config", ["data=table", "data.path=x", given])
    assert getattr(config.data, name) == ("a=b", "dst port[tcp]", "0")


def test_a_home_folder_is_found_though_the_shell_did_not_expand_it(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    assert compose_section(TrainConfig, "config", ["store=~/runs"]).store == "/home/ann/runs"
    assert compose_section(ReportConfig, "report", ["run=~/runs/x"]).run == "/home/ann/runs/x"


def test_the_type_of_the_field_decides():
    kind = partial(text_setting, SweepConfig)
    assert kind("data.path").may_be_null is False
    assert kind("data.test").may_be_null is True
    assert kind("data.drop").is_list
    others = ("seed", "data.split.kind", "search_space.model", "data", "nothing.here", "rival")
    assert [key for key in others if kind(key) is not None] == []


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
NASTY = st.text("\\\"'${}[](),=:~ \t\n#&<>|;*?!%@0aé", max_size=10)
WORDS = st.one_of(TEXTS, NASTY, st.sampled_from([*PATHS, "null", "NaN", "1_0", "x\\", "\\${a}"]))


def through_a_shell(*words):
    return shlex.split(command("train", *words))[2:]


@given(path=WORDS, drop=st.lists(WORDS, max_size=3))
@settings(max_examples=300, deadline=None)
@example(path="a\n", drop=["\n"])
def test_whatever_is_printed_comes_back_as_the_same_value(path, drop):
    words = through_a_shell(override("data.path", path), override("data.drop", drop))
    read = [read_text(TrainConfig, word)[1] for word in words]
    assume("???" not in [path, *drop])  # OmegaConf's word for a missing value
    assert OmegaConf.to_container(OmegaConf.create(read), resolve=True) == [path, drop]


def test_a_whole_configuration_of_odd_texts_comes_back():
    tests = {f"t.{i}": path for i, path in enumerate(PATHS)}
    words = [override(f"data.extra_tests.{name}", path) for name, path in tests.items()]
    words += ["data=table", override("data.path", "a\n"), override("data.drop", PATHS)]
    data = compose_section(TrainConfig, "config", through_a_shell(*words)).data
    assert (data.extra_tests, data.path, list(data.drop)) == (tests, "a\n", PATHS)


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), WORDS
)


@given(value=st.one_of(SCALARS, st.lists(SCALARS, max_size=3)))
@settings(max_examples=300, deadline=None)
def test_a_value_of_any_type_comes_back_with_its_type(value):
    assume("${" not in str(value))  # resolved later, by OmegaConf
    (word,) = through_a_shell(override("x", value))
    again = parsed(word).value()
    assert again == value
    assert type(again) is type(value)


def test_a_real_shell_agrees():
    words = [override("data.path", path) for path in PATHS]
    line = command("train", *words).replace("jamba-ray train", "printf '%s\\0'")
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True)
    assert done.stdout.split("\0")[:-1] == words


def test_every_group_is_chosen_by_name():
    assert set(GROUPS) == set(groups()) - {"sweep"}


@pytest.mark.parametrize(
    "words",
    [
        ["+sweep=rivals", "store=/d/my runs", "sampler.name=random", "hang_timeout_s=null"],
        ["+sweep=architecture", "data=nsl_kdd", "tracking=wandb", "tracking.mode=online"],
        ["+sweep=learning_rate", "model=mlp", "data=table", "data.path=a=b", "data.drop=[c=d,0]"],
        ["data=table", "data.path=x", "data.extra_tests.march.2=a,b", "model=lightgbm", "seed=3"],
    ],
)
def test_a_configuration_comes_back_from_its_own_words(words):
    section = SweepConfig if words[0].startswith("+") else TrainConfig
    config = compose_section(section, "config", words)
    own = settings_of(section, config.model_dump(mode="json"))
    assert compose_section(section, "config", through_a_shell(*own)) == config
