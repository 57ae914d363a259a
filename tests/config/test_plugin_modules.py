"""What a user names as a plug-in is imported, named by its source, and the same elsewhere."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from dataclasses import replace

import pytest

from jamba_ray.config import plugin_modules, plugins
from jamba_ray.config.plugin_source import digest_of, sources
from jamba_ray.errors import ConfigError
from tests.plugged import forgotten

METRIC = """
from jamba_ray import plugins
from own_pkg.rates import RATE

__version__ = "2.1"

@plugins.metric("own_cost", direction="minimize")
def cost(labels, scores):
    return RATE
"""


RECEIVE = """
import json, sys
from jamba_ray.config.plugin_modules import LOADED, Plugin, receive
from jamba_ray.evaluation import value_of

receive([Plugin(**json.load(sys.stdin))])
print(LOADED["own_pkg.threats"].text, value_of("own_cost", [0, 1], [0.2, 0.8]))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A package of the working folder."""
    monkeypatch.chdir(tmp_path)
    package = tmp_path / "own_pkg"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "threats.py").write_text(METRIC)
    (package / "rates.py").write_text("RATE = 0.5\n")
    (package / "other.py").write_text("raise RuntimeError('never imported')\n")
    with forgotten("own_pkg", "own_file"):
        yield tmp_path


def refusal(*names: str) -> str:
    with pytest.raises(ConfigError) as caught:
        plugin_modules.load(names)
    (mistake,) = caught.value.mistakes
    assert "\n" not in mistake
    return mistake


def test_a_module_of_the_working_folder_is_named_by_its_source_and_what_it_imports(folder):
    (text,) = plugin_modules.load(["own_pkg.threats"])
    assert "own_cost" in plugins.METRICS
    name, _, digest = text.partition("#")
    assert name == "own_pkg.threats@2.1"
    found = plugin_modules.LOADED["own_pkg.threats"].files
    assert set(found) == {"own_pkg/__init__.py", "own_pkg/threats.py", "own_pkg/rates.py"}
    assert digest == digest_of(found)
    (folder / "own_pkg" / "rates.py").write_text("RATE = 0.6\n")
    assert digest_of(sources("own_pkg.threats", folder)) != digest
    (folder / "own_pkg" / "other.py").write_text("")
    assert plugin_modules.load([text]) == (text,), "with its own digest it may be given again"
    assert "asks for 'own_pkg.threats#123', but" in refusal("own_pkg.threats#123")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("raise RuntimeError('no licence')", "RuntimeError: no licence, in line 1 of "),
        ("import no_such_package", "No module named 'no_such_package'"),
        ("def broken(:", "line 1 of own_file.py is no Python"),
        ("import sys; sys.exit(3)", "it ended Python (SystemExit(3))"),
        (
            "from jamba_ray import plugins\nplugins.metric('f1')(max)",
            "cannot be imported: the metric 'f1' is one of jamba_ray's own. Mend it",
        ),
        (
            "from jamba_ray import plugins\n@plugins.metric('m')\ndef m(labels): ...",
            "the metric 'm' must be a function of (labels, scores), but takes (labels)",
        ),
        (
            "from jamba_ray import plugins\n"
            "class S(plugins.ModelSection): ...\n"
            "plugins.classifier('nb', S)(object)",
            "the family 'nb' must say what its fitted model is without pickle",
        ),
        (
            "from jamba_ray import plugins\n"
            "class S(plugins.ModelSection): ...\n"
            "plugins.network('mlp', S)(object)",
            "the model family 'mlp' is already registered by jamba_ray.config.model.MlpSection",
        ),
        (
            "from jamba_ray import plugins\n@plugins.callback\nclass C: ...",
            "the callback C must have one of on_trial_end, on_best, on_sweep_end, but has none",
        ),
    ],
)
def test_one_that_raises_is_one_sentence(folder, text, said):
    (folder / "own_file.py").write_text(text + "\n")
    mistake = refusal("own_file")
    assert mistake.startswith("The plug-in `own_file` cannot be imported: ")
    assert said in mistake


def test_one_that_is_not_there_or_is_hidden_by_another_is_one_sentence(folder):
    assert refusal("own_file") == (
        f"`plugins` has 'own_file', but there is no such module in {folder} and none is installed. "
        "Put it there, install it, or drop it."
    )
    assert "has 'own_pkg.nothing', but" in refusal("own_pkg.nothing")
    for name in ("../evil", "a b", "__main__", "own_pkg/threats"):
        assert "must hold names of modules" in refusal(name) or "no such module" in refusal(name)
    (folder / "json.py").write_text("")
    assert "Python imports" in refusal("json")
    assert refusal("json").endswith("by this name. Rename it.")


def test_another_process_imports_the_same_source_also_where_it_has_no_such_folder(folder):
    (text,) = plugin_modules.load(["own_pkg.threats"])
    (sent,) = plugin_modules.shipment()
    there = replace(sent, root="/nowhere/on/this/machine")
    given = json.dumps({**vars(there), "files": dict(there.files)})
    done = subprocess.run(
        [sys.executable, "-c", RECEIVE], input=given, capture_output=True, text=True, cwd="/"
    )
    assert done.stdout.split() == [text, "0.5"], done.stderr


def test_an_installed_one_must_be_the_same_there(folder):
    plugin_modules.load(["own_pkg.threats"])
    (sent,) = plugin_modules.shipment()
    installed = replace(sent, files={}, digest="0" * 12)
    plugin_modules.LOADED.clear()
    with pytest.raises(ImportError, match=r"must be own_pkg.threats@2.1#000000000000 as on the dr"):
        plugin_modules.receive([installed])


def test_an_entry_point_is_imported_where_its_name_is_used(folder, monkeypatch):
    from jamba_ray.cli.composition import compose_section
    from jamba_ray.config.run import TrainConfig

    point = importlib.metadata.EntryPoint("own_cost", "own_pkg.threats", "jamba_ray.metrics")
    monkeypatch.setattr(plugin_modules, "entry_points", lambda: [point])
    compose_section(TrainConfig, "config", ["model=mlp"])
    assert not plugin_modules.LOADED
    config = compose_section(TrainConfig, "config", ["model=mlp", "objective=own_cost"])
    assert [text.partition("#")[0] for text in config.plugins] == ["own_pkg.threats@2.1"]
