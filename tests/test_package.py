"""``import jamba_ray``: light, typed, and each name where it is said to be."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import jamba_ray

USER = """
import pandas as pd
import jamba_ray

run = jamba_ray.search(pd.DataFrame(), target="is_threat", sweep="rivals", n_trials=20)
score: float = run.load().predict_proba(pd.DataFrame())[0]
trained: jamba_ray.Run = jamba_ray.train("flows.csv", target="label", training={"epochs": 3})
model = jamba_ray.JambaClassifier("mlp", epochs=3)
"""
WRONG = """
import jamba_ray
from jamba_ray import made_up_too

jamba_ray.made_up()
jamba_ray.search(3)
jamba_ray.train(n_trials="many", target=3)
jamba_ray.search(sweep="rivals").made_up_method()
"""


def _mypy(tmp_path, **texts):
    files = [tmp_path / f"{name}.py" for name in texts]
    for file, text in zip(files, texts.values(), strict=True):
        file.write_text(text)
    words = ["-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), *map(str, files)]
    return subprocess.run(
        [sys.executable, *words],
        cwd=Path(jamba_ray.__file__).parents[1],
        capture_output=True,
        text=True,
    ).stdout


@pytest.mark.slow
def test_a_type_checker_knows_every_name_and_no_other(tmp_path):
    """Typed by ``__getattr__`` alone, everything would be ``Any``."""
    said = _mypy(tmp_path, user=USER, wrong=WRONG)
    for what in (
        'no attribute "made_up"',
        'no attribute "made_up_too"',
        'Argument 1 to "search"',
        'Argument "target" to "train"',
        '"Run" has no attribute "made_up_method"',
    ):
        assert what in said
    assert "Found 5 errors in 1 file (checked 2 source files)" in said


def test_what_is_typed_is_what_there_is():
    tree = ast.parse(Path(jamba_ray.__file__).read_text())
    (typed,) = (
        node
        for node in tree.body
        if isinstance(node, ast.If) and "body" in node._fields and isinstance(node.test, ast.Name)
    )
    places = {
        name.name: node.module
        for node in typed.body
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    }
    assert {*places, "__version__"} == set(jamba_ray.__all__)
    for name, module in places.items():
        found = getattr(jamba_ray, name)
        expected = getattr(importlib.import_module(module), name)
        assert found is expected or name == "train"
    assert set(jamba_ray.__all__) <= set(dir(jamba_ray))


def test_train_is_a_module_and_can_be_called():
    """``python -m jamba_ray.train`` and ``jamba_ray.train(...)`` share a name."""
    import jamba_ray.train as module

    assert jamba_ray.train is module
    assert callable(module)
    with pytest.raises(jamba_ray.ConfigError, match="epoch"):
        jamba_ray.train(training={"epochs": -1}, quiet=True)


NOTEBOOK = """
import builtins, sys, types
shown = []
class ZMQInteractiveShell: pass
builtins.get_ipython = ZMQInteractiveShell
display = types.ModuleType("IPython.display")
display.HTML = str
def show(html, display_id):
    shown.append((html, "torch" in sys.modules))
    return types.SimpleNamespace(update=lambda html: shown.append((html, False)))
display.display = show
sys.modules["IPython"] = types.ModuleType("IPython")
sys.modules["IPython.display"] = display
import jamba_ray
sys.modules["pandas"] = None  # ends the import that takes seconds
try:
    jamba_ray.search
except ImportError:
    print(shown[0], shown[-1])
"""


def test_a_notebook_shows_the_import_before_it_takes_its_seconds():
    done = subprocess.run([sys.executable, "-c", NOTEBOOK], capture_output=True, text=True)
    assert "loading jamba_ray" in done.stdout, done.stderr
    assert done.stdout.strip().endswith("False) ('', False)")  # before torch, and then removed


def test_importing_it_imports_nothing_heavy():
    code = (
        "import sys, jamba_ray; "
        "print({'torch', 'ray', 'pandas', 'optuna', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "set()"
