"""Print the lock file: every package that a node needs, at the version installed here.

    python cluster/lock.py > cluster/requirements.lock

Run it in an environment where `pip install -e '.[cluster]'` and the tests passed.
"""

from __future__ import annotations

import tomllib
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HEADER = """\
# Made by `python cluster/lock.py`: what every node installs, and no other version of it.
# torch brings the CUDA libraries that it pins itself."""


def locked(project: Path) -> dict[str, str]:
    """Package -> version: the closure of the project's own and its `cluster` requirements."""
    metadata = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    wanted = metadata["dependencies"] + metadata["optional-dependencies"]["cluster"]
    waiting = [Requirement(line) for line in wanted]
    seen: set[tuple[str, tuple[str, ...]]] = set()
    found: dict[str, str] = {}
    while waiting:
        requirement = waiting.pop()
        name, extras = canonicalize_name(requirement.name), tuple(sorted(requirement.extras))
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        package = distribution(requirement.name)
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
