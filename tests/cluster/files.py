"""The files of ``cluster/`` as the tests read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = ROOT / "cluster"
RAY_UP = ("local", "aws", "gcp")
"""Files for ``ray up``."""
ALL = (*RAY_UP, "kuberay", "runpod")


def text(name: str) -> str:
    """The file as written."""
    return (CLUSTER / f"{name}.yaml").read_text(encoding="utf-8")


def load(name: str) -> dict[str, Any]:
    """The file as parsed."""
    parsed: dict[str, Any] = yaml.safe_load(text(name))
    return parsed


def readme() -> str:
    """``cluster/README.md``."""
    return (CLUSTER / "README.md").read_text(encoding="utf-8")


def texts() -> dict[str, str]:
    """What ``rules.py`` reads: every file of ``cluster/``, the CI workflow and the project file."""
    more = (ROOT / ".github" / "workflows" / "sweep.yml", ROOT / "pyproject.toml")
    within = [p for p in sorted(CLUSTER.rglob("*")) if p.is_file() and p.suffix != ".pyc"]
    found = {str(path.relative_to(CLUSTER)): path for path in within}
    found |= {path.name: path for path in more}
    return {name: path.read_text(encoding="utf-8") for name, path in found.items()}
