"""What a library keeps to itself is used in one file a library, so that an upgrade fails there."""

from __future__ import annotations

import ast
from collections.abc import Collection
from pathlib import Path

import pytest

import jamba_ray

PACKAGE = Path(jamba_ray.__file__).parent
ONE_FILE_EACH = {
    "cluster/ray_private.py",  # Ray: names as text, each with what it buys
    "study/optuna_private.py",  # Optuna
    "tracking/wandb_dashboard.py",  # W&B: dashboards as JSON
}
DOCUMENTED = {"os._exit", "sys._current_frames"}
"""Public for all their underscore."""


def private_names(source: str, inherited: Collection[str] = ()) -> list[str]:
    """What of other modules is named with a leading underscore.

    ``inherited``: names of our own that an object of the module's may have from a base class.
    """
    tree = ast.parse(source)
    own = own_names(tree)
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if is_private(alias.name)]
        elif isinstance(node, ast.ImportFrom) and not (node.module or "").startswith("__"):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [name for name in names if is_private(name)]
        elif isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr not in own:
            is_its_own = ast.unparse(node.value) in ("self", "cls", "super()")
            if not (is_its_own and node.attr in inherited):
                found.append(ast.unparse(node))
        elif isinstance(node, ast.keyword) and is_private(node.arg or ""):
            found.append(f"{node.arg}=")
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "setattr"):
            found += [
                ast.unparse(node)
                for given in node.args[1:2]
                if isinstance(given, ast.Constant)
                and is_private(str(given.value))
                and given.value not in own
            ]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("PrivateName"):
            found.append(ast.unparse(node))
    return [name for name in found if name not in DOCUMENTED]


def own_names(tree: ast.Module) -> set[str]:
    """Names with an underscore that the module itself defines or gives to its objects."""
    own: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            own.add(node.name)
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            if isinstance(node, ast.Name):
                own.add(node.id)
            elif isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
                own.add(node.attr)
    return own


def is_private(name: str) -> bool:
    return any(part.startswith("_") and not part.startswith("__") for part in name.split("."))


def test_they_are_used_in_one_file_a_library():
    sources = {str(p.relative_to(PACKAGE)): p.read_text() for p in PACKAGE.rglob("*.py")}
    ours = set().union(*(own_names(ast.parse(source)) for source in sources.values()))
    used = {file: private_names(source, ours) for file, source in sources.items()}
    elsewhere = {file: names for file, names in used.items() if names and file not in ONE_FILE_EACH}
    assert elsewhere == {}, "name it in the library's file, or take the library's public way"
    assert {file for file in ONE_FILE_EACH if used[file]} == ONE_FILE_EACH


@pytest.mark.parametrize(
    "line",
    [
        "import ray._private.worker",
        "from ray._private import worker",
        "from ray.train.v2._internal.exceptions import Timeout",
        "from ray import _raylet",
        "study._storage.get_trial(0)",
        "ray.init(_temp_dir='/tmp')",
        "getattr(study, '_storage')",
        "class Mine(Theirs):\n    def run(self):\n        return super()._run()",
        "PrivateName('ray._private.x:y', '', '')",
    ],
)
def test_each_way_to_name_one_is_seen(line):
    assert private_names(line)


@pytest.mark.parametrize(
    "line",
    [
        "self._x = 1\nother._x",
        "class Mine:\n    def _make(self):\n        return Mine()._make()",
        "os._exit(1)",
        "x.__class__",
        "from __future__ import annotations",
        "from ray.util import get_node_ip_address",
    ],
)
def test_what_is_ours_or_public_is_not(line):
    assert private_names(line) == []
