"""The files of ``cluster/`` as the tests read them."""

from __future__ import annotations

import re
from collections.abc import Iterator
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


def locked() -> dict[str, str]:
    """Package -> version of the lock file."""
    lines = (CLUSTER / "requirements.lock").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def commands(config: dict[str, Any], kind: str) -> str:
    """All commands of one kind as one text."""
    return "\n".join(config[kind])


def rules_broken(config: dict[str, Any]) -> Iterator[str]:
    """Which of the security rules a ``ray up`` file breaks."""
    head = commands(config, "head_start_ray_commands")
    worker = commands(config, "worker_start_ray_commands")
    setup = commands(config, "setup_commands")
    if re.findall(r"--dashboard-host[= ](\S+)", head) != ["127.0.0.1"]:
        yield "the dashboard must listen on loopback only"
    for name, line in {"head": head, "worker": worker}.items():
        if "export RAY_AUTH_MODE=token" not in line:
            yield f"{name}: token authentication must be on where Ray starts"
        if not line.split("- ray stop")[-1].count("umask 077"):
            yield f"{name}: what Ray writes must be private (umask 077)"
        if "RAY_USAGE_STATS_ENABLED=0" not in line:
            yield f"{name}: usage statistics must be off"
    if "chmod 600 ~/.ray/auth_token" not in setup:
        yield "the token file must be 0600 on every node"
    if "~/.ray/auth_token" not in config.get("file_mounts", {}):
        yield "the token must come from the operator's machine, to every node"
    if "requirements.lock" not in setup:
        yield "environments must be installed from the lock file"
