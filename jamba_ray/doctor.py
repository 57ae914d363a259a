"""Checks whether a sweep would run here or on a cluster: ``python -m jamba_ray.doctor``."""

from __future__ import annotations

import sys

from jamba_ray.cli.commands import DOCTOR as COMMAND

# Above the other imports, which take seconds: help and mistakes need none of them.
if __name__ == "__main__":
    sys.exit(COMMAND.main())

import contextlib
import json
import netrc
import os
import secrets
import shlex
import stat
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from jamba_ray.cluster import diagnosis, upload
from jamba_ray.cluster.diagnosis import Line
from jamba_ray.cluster.doctor_job import MARK
from jamba_ray.cluster.job_client import Jobs, is_loopback, require_access, token_path
from jamba_ray.cluster.node_facts import Facts, facts
from jamba_ray.cluster.surroundings import cluster_address, surroundings_mistake
from jamba_ray.config.data import TableSection
from jamba_ray.config.run import SweepConfig
from jamba_ray.config.submit import DoctorSection
from jamba_ray.errors import ExitCode, JambaError, UnavailableError

_STYLES = {"ok": "green", "warn": "yellow", "fix": "bold red"}


def run(
    own: DoctorSection, config: SweepConfig, words: Sequence[str], out: Console, *, insecure: bool
) -> int:
    """Checks what the sweep ``config`` needs, a line each; or makes a token, where that is asked.

    Raises:
        JambaError: With the sentence and exit code for whatever the user can act on.
    """
    if own.make_token:
        out.print(_make_token(token_path()), highlight=False, markup=False, soft_wrap=True)
        return ExitCode.OK
    if own.address is None:
        lines = _local_lines(config, own)
    else:
        lines = _cluster_lines(config, own, own.address, insecure)
    lines.append(_tracking_line(config))
    for line in lines:
        out.print(f"[{_STYLES[line.level]}]{line.level:>4}[/] ", end="")
        out.print(f"{line.what}: {line.text}", highlight=False, markup=False, soft_wrap=True)
    return ExitCode.UNAVAILABLE if diagnosis.failed(lines) else ExitCode.OK


def _local_lines(config: SweepConfig, own: DoctorSection) -> list[Line]:
    here = facts(config.store, config.store_endpoint, data_paths(config))
    return [
        *diagnosis.versions(here, []),
        _ray_line(),
        *diagnosis.hardware([here]),
        *diagnosis.disks([here], own.free_gb),
        *diagnosis.store([here], config.store),
        *diagnosis.data([here], data_paths(config)),
    ]


def _ray_line() -> Line:
    """Checks whether a sweep that is started here can use Ray, by the sweep's own check."""
    if mistake := surroundings_mistake():
        return Line("fix", "Ray", mistake)
    address = cluster_address()
    return Line("ok", "Ray", "starts here" if address is None else f"answers at {address}")


def _cluster_lines(
    config: SweepConfig, own: DoctorSection, address: str, insecure: bool
) -> list[Line]:
    try:
        require_access(address, insecure_local=insecure)
    except UnavailableError as error:
        return [Line("fix", "access", error.message)]
    lines = [Line("ok", "access", f"{address} asks for the token and takes ours")]
    if insecure and os.environ.get("RAY_AUTH_MODE") == "disabled":
        lines = [Line("warn", "access", f"{address} runs code for anybody on this machine")]
    elif not is_loopback(address) and not address.startswith("https://"):
        text = f"{address} is not this machine: the token travels in the clear; use an SSH tunnel"
        lines.append(Line("warn", "access", text))
    here = facts(str(Path.cwd()), None, [])
    try:
        nodes, skews = _ask(config, own, address)
    except JambaError as error:
        return [*lines, Line("fix", "job API", error.message)]
    return [
        *lines,
        *diagnosis.count(nodes, own.nodes),
        *diagnosis.versions(here, nodes),
        *diagnosis.hardware(nodes),
        *diagnosis.clocks(nodes, skews),
        *diagnosis.disks(nodes, own.free_gb),
        *diagnosis.store(nodes, config.store),
        *diagnosis.data(nodes, data_paths(config)),
    ]


def _ask(
    config: SweepConfig, own: DoctorSection, address: str
) -> tuple[list[Facts], dict[str, float]]:
    """Returns (every node's facts, host -> seconds that its clock is ahead of the head's)."""
    question = json.dumps(
        {
            "store": config.store,
            "endpoint": config.store_endpoint,
            "data_paths": data_paths(config),
        }
    )
    entrypoint = shlex.join([own.python, "-m", "jamba_ray.cluster.doctor_job", question])
    jobs = Jobs(address)
    name = f"doctor-{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"
    package = upload.preview(Path.cwd())
    package = package.without([name for name, _ in package.suspects()])
    jobs.submit(name, entrypoint, package.folder, package.excludes, {})
    tail: list[str] = []
    ended = jobs.follow(name, tail.append)
    answers = [line.removeprefix(MARK) for line in tail if line.startswith(MARK)]
    if not answers:
        last = next((line for line in reversed(tail) if line.strip()), ended.message)
        raise UnavailableError(
            f"every node must answer, but the job {name} ended as {ended.status}: {last.strip()}. "
            "Are jamba_ray's packages installed on the nodes?"
        )
    found = json.loads(answers[-1])
    skews = {
        one["facts"]["host"]: one["facts"]["clock_s"] - one["clock_of_head_s"] for one in found
    }
    return [one["facts"] for one in found], skews


def data_paths(config: SweepConfig) -> list[str]:
    """Returns the files that the sweep reads."""
    data = config.data
    if not isinstance(data, TableSection):
        return []
    return [path for path in (data.path, data.test, *data.extra_tests.values()) if path]


def _tracking_line(config: SweepConfig) -> Line:
    if config.tracking.name != "wandb" or config.tracking.mode == "offline":
        return Line("ok", "tracking", f"{config.tracking.name}: no login needed")
    if os.environ.get("WANDB_API_KEY") or _has_netrc_login():
        return Line("ok", "W&B", "a key is here; it is not tried")
    return Line("fix", "W&B", "no login: run `wandb login`, or set tracking.mode=offline")


def _has_netrc_login() -> bool:
    try:
        logins = netrc.netrc()
    except (OSError, netrc.NetrcParseError):
        return False
    return any("wandb" in host for host in logins.hosts)


def _make_token(path: Path) -> str:
    """Makes a token file that only its owner can read, or keeps one that is like that."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    said = f"{path} holds a new token (0600): `ray up` copies it to every node."
    with contextlib.suppress(FileNotFoundError):
        found = path.lstat()
        mode = stat.S_IMODE(found.st_mode)
        is_ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
        if is_ours and not mode & 0o077 and found.st_size:
            return f"{path} exists and is kept (0600)."
        said = (
            f"{path} held a token that others could read or change ({mode:04o}): a new one (0600) "
            "replaces it. Copy it to the nodes of clusters that run (`ray up` does) and start them "
            "anew: until then they take the old one."
        )
        if is_ours and not found.st_size:
            said = f"{path} was empty and holds a new token (0600)."
    new = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(32))
    os.replace(new, path)
    return said
