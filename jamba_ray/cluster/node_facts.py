"""Collects facts of one machine: versions, GPUs, disk, clock, store and data; raises nothing."""

from __future__ import annotations

import glob
import os
import platform
import shutil
import socket
import subprocess
import time
import uuid
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypedDict

from jamba_ray.cluster.resources import count_gpus, gpu_mistake, this_machine
from jamba_ray.errors import JambaError
from jamba_ray.runs.probe import probe
from jamba_ray.runs.run_folder import RunFolder

PACKAGES = ("ray", "torch", "optuna", "lightgbm", "numpy", "pyarrow")


class Facts(TypedDict):
    """Holds the facts of one machine as plain values, which can be sent between processes."""

    host: str
    versions: dict[str, str]
    cpus: int
    gpus: list[dict[str, Any]]
    """'name' and 'memory_gb' of each."""
    torch_gpus: int
    """GPUs that torch can use."""
    gpu_mistake: str | None
    """Why torch can use no GPU; None: it can, or there is none."""
    free_gb: float
    clock_s: float
    """Seconds since 1970."""
    store_mistake: str | None
    sees_marker: bool | None
    """Whether the driver's file is in the store's folder; None: not checked."""
    data_mistake: str | None


def facts(
    store: str, endpoint: str | None, data_paths: list[str], marker: str | None = None
) -> Facts:
    """Collects the facts of this machine.

    Args:
        store: Folder or bucket that results go to.
        endpoint: Address of a bucket that is not the cloud's own.
        data_paths: Files, folders or globs that must be readable.
        marker: Name of a file that the driver put into the store's folder.
    """
    return Facts(
        host=socket.gethostname(),
        versions={"python": platform.python_version(), **_versions()},
        cpus=this_machine().cpus,
        gpus=_gpus(),
        torch_gpus=count_gpus(),
        gpu_mistake=gpu_mistake(),
        free_gb=shutil.disk_usage(_existing(Path(store) if "://" not in store else Path())).free
        / 1e9,
        clock_s=time.time(),
        store_mistake=_store_mistake(store, endpoint),
        sees_marker=None if marker is None else (Path(store) / marker).exists(),
        data_mistake=_data_mistake(data_paths),
    )


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "none"
    return found


def _gpus() -> list[dict[str, Any]]:
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return []
    rows = [line.rsplit(",", 1) for line in done.stdout.splitlines() if "," in line]
    return [
        {"name": name.strip(), "memory_gb": round(float(memory) / 1024, 1)}
        for name, memory in rows
        if memory.strip().replace(".", "").isdigit()
    ]


def _store_mistake(store: str, endpoint: str | None) -> str | None:
    try:
        probe(RunFolder.of(store, f"doctor-{uuid.uuid4().hex}", endpoint))
    except ValueError as error:
        return f"{store} cannot be written ({error})"
    except JambaError as error:
        return error.message
    return None


def _data_mistake(paths: list[str]) -> str | None:
    for path in paths:
        found = [path] if os.path.exists(path) else glob.glob(path)
        if not found:
            return f"{path} does not exist"
        if not all(os.access(one, os.R_OK) for one in found):
            return f"{path} is not readable"
    return None


def _existing(path: Path) -> Path:
    path = path.resolve()
    while not path.exists():
        path = path.parent
    return path
