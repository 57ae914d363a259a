"""Print the lock file: every package that a node needs, at the version installed here.

    python cluster/lock.py > cluster/requirements.lock

Run it in an environment where `pip install -e '.[dev]'` and the tests passed.
"""

from __future__ import annotations

import tomllib
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

EXTRAS = ("cluster", "wandb", "mlflow", "xgboost", "catboost", "sklearn", "cmaes")
"""Of pyproject.toml: what nodes have besides, so that no tracker and no family is missing there."""
INSTEAD = {"xgboost": "xgboost-cpu"}
"""The family trains on CPUs, and the other build of the same module brings CUDA libraries."""
HEADER = """\
# Made by `python cluster/lock.py`: what every node installs, and no other version of it.
# torch brings the CUDA libraries that it pins itself."""


def locked(project: Path) -> dict[str, str]:
    """Package -> version: the closure of the project's own requirements and of EXTRAS."""
    metadata = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    extras = metadata["optional-dependencies"]
    wanted = metadata["dependencies"] + [line for extra in EXTRAS for line in extras[extra]]
    waiting = [Requirement(line) for line in wanted]
    seen: set[tuple[str, tuple[str, ...]]] = set()
    found: dict[str, str] = {}
    while waiting:
        requirement = waiting.pop()
        name, extras = canonicalize_name(requirement.name), tuple(sorted(requirement.extras))
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        name = INSTEAD.get(name, name)
        package = distribution(name)
        # A local version ('+cpu') says which build this machine has, not which one a node needs.
        found[name] = package.version.partition("+")[0]
        for line in package.requires or []:
            other = Requirement(line)
            marker = other.marker
            if marker is None or any(marker.evaluate({"extra": e}) for e in ("", *extras)):
                waiting.append(other)
    return found


if __name__ == "__main__":
    print(HEADER)
    for name, version in sorted(locked(Path(__file__).parent.parent / "pyproject.toml").items()):
        print(f"{name}=={version}")
