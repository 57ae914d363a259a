"""A sweep file reads no secret of the person who runs it."""

import datetime
import re
import warnings

import pytest

from jamba_ray.cli.composition import compose_section
from jamba_ray.config.run import SweepConfig
from jamba_ray.errors import ConfigError

SECRET = "c4nary"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweeps").mkdir()
    monkeypatch.setenv("SECRET", SECRET)
    monkeypatch.setenv("JAMBA_RAY_STORE", "mine")
    return tmp_path


def compose(folder, lines, *overrides):
    (folder / "sweeps" / "x.yaml").write_text(f"# @package _global_\n{lines}\n")
    return compose_section(SweepConfig, "config", ["+sweep=x", *overrides])


@pytest.mark.parametrize(
    "value",
    [
        *("${oc.env:SECRET}", "a-${oc.env:SECRET,b}", "${ oc.env:SECRET}", "${oc.env: SECRET}"),
        *("${oc.decode:${oc.env:SECRET}}", "${oc.env:'SECRET'}", "${oc.env:${seed}}"),
        *("${oc.env:HOME,${oc.env:SECRET}}", "${${sweep_name}:SECRET}", "${oc.create:{a: 1}}"),
        *(
            "${hydra:runtime.cwd}",
            # A name or a text that is put together from harmless pieces.
            "${oc.env:USER${seed}}",
            "${oc.env:${sweep_name}HOME}",
            "${oc.decode:${run}}",
            "${oc.decode:'${run}${store}'}",
            "${oc.decode:'\\\\${oc.env:SECRET}'}",
            "${now:${oc.env:SECRET}}",
            "${oc.select:${oc.env:SECRET}}",
            "${oc.select:seed,${oc.env:SECRET}}",
            "${unknown:x}",
            "\\\\${oc.env:SECRET}",
            "${oc.env:TMPDIR,'}${x:y}'}",
        ),
    ],
)
@pytest.mark.parametrize("line", ['sweep_name: "{}"', 'search_space: {{a: {{choices: ["{}"]}}}}'])
def test_another_variable_or_resolver_is_refused(folder, value, line):
    with pytest.raises(ConfigError, match=r"must hold no `\$\{\.\.\.\}`") as caught:
        compose(folder, line.replace("{{", "{").replace("}}", "}").replace("{}", value))
    assert SECRET not in str(caught.value)


def test_text_put_together_from_settings_is_not_read_as_settings(folder):
    """Its pieces are plain text, and no single value holds a `${...}` that is refused."""
    lines = """search_space:
  a: {choices: ["$"]}
  b: {choices: ["{oc.env:SECRET}"]}
sweep_name: "${oc.decode:${run}}"
run: "${search_space.a.choices}${search_space.b.choices}" """
    with pytest.raises(ConfigError, match="text that is read as settings may name a secret"):
        compose(folder, lines)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("${oc.env:SECRET}", "another variable may be a secret"),
        ("${hydra:job.num}", "no job of Hydra's runs here"),
        ("${oc.create:{a: 1}}", "may name a secret"),
        ("${my.resolver:1}", "nothing else is known here"),
    ],
)
def test_why_it_is_refused_is_said(folder, value, sentence):
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        compose(folder, f'sweep_name: "{value}"')


def test_resolvers_that_read_no_secret_are_read(folder, monkeypatch):
    monkeypatch.setenv("JAMBA_RAY_SEED", "12")
    lines = """seed: ${oc.decode:${oc.env:JAMBA_RAY_SEED}}
run: "r-${now:%Y}-${python_version:major}"
sweep_name: ${oc.select:nothing,left}
store: ${oc.env:JAMBA_RAY_NONE,${oc.env:JAMBA_RAY_STORE}}-${oc.deprecated:seed}"""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `oc.deprecated` is there to warn
        found = compose(folder, lines)
    year = datetime.datetime.now().year
    assert (found.seed, found.run) == (12, f"r-{year}-3")
    assert (found.sweep_name, found.store) == ("left", "mine-12")


def test_the_list_of_defaults_is_checked_before_hydra_reads_it(folder):
    with pytest.raises(ConfigError, match="must hold no") as caught:
        compose(folder, 'defaults:\n  - override /model: "${oc.env:SECRET}"')
    assert SECRET not in str(caught.value)


def test_an_override_is_checked_too(folder):
    with pytest.raises(ConfigError, match=r"`run` must hold no"):
        compose(folder, "seed: 1", "run=${oc.env:SECRET}")


def test_settings_and_named_variables_are_read(folder):
    found = compose(folder, 'seed: 7\nrun: "r-${seed}"\nstore: "${oc.env:JAMBA_RAY_STORE,x}/y"')
    assert (found.run, found.store) == ("r-7", "mine/y")
    assert "nsl_kdd" in compose(folder, "seed: 1", "data=nsl_kdd").data.path
