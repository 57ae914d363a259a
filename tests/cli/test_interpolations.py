"""A sweep file reads no secret of the person who runs it."""

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
            "${now:%Y}",
            "${hydra:runtime.cwd}",
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
