"""Turns the facts of machines into findings of the level 'ok', 'warn' or 'fix'; touches nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from jamba_ray.cluster.node_facts import Facts

Level = Literal["ok", "warn", "fix"]
_SKEW_WARN_S = 2.0
_SKEW_FIX_S = 60.0
_MUST_AGREE = ("python", "ray", "torch", "optuna", "lightgbm")
"""Packages whose versions change results, or decide whether nodes can communicate."""


@dataclass(frozen=True)
class Line:
    """Holds one finding."""

    level: Level
    what: str
    text: str
    """For 'fix' and 'warn': what is wrong, and what to do."""


def versions(driver: Facts, nodes: Sequence[Facts]) -> list[Line]:
    """Checks that every node has the driver's package versions."""
    lines = []
    for node in nodes:
        other = {
            name: (node["versions"].get(name, "none"), driver["versions"].get(name, "none"))
            for name in _MUST_AGREE
            if _base(node["versions"].get(name)) != _base(driver["versions"].get(name))
        }
        if not other:
            continue
        words = ", ".join(
            f"{name} {theirs} (here {ours})" for name, (theirs, ours) in other.items()
        )
        # Ray refuses another version of Ray or minor of Python; the others change results silently.
        fatal = "ray" in other or _minor(node) != _minor(driver)
        way_out = "install cluster/requirements.lock on every node"
        lines.append(
            Line("fix" if fatal else "warn", f"{node['host']} versions", f"{words}: {way_out}")
        )
    if not lines:
        mine = driver["versions"]
        words = ", ".join(f"{name} {mine.get(name, 'none')}" for name in _MUST_AGREE)
        where = f" on {len(nodes)} nodes and here" if nodes else ""
        lines.append(Line("ok", "versions", words + where))
    return lines


def hardware(nodes: Sequence[Facts]) -> list[Line]:
    """Lists the CPUs and GPUs of each node, and warns of GPUs that torch cannot use."""
    lines = []
    for node in nodes:
        gpus = ", ".join(f"{g['name']} {g['memory_gb']:g} GB" for g in node["gpus"]) or "no GPU"
        text = f"{node['cpus']} CPUs, {gpus}"
        level: Level = "ok"
        if node["torch_gpus"] < len(node["gpus"]):
            # CUDA_VISIBLE_DEVICES may hide them, which is no mistake.
            level = "warn"
            text += (
                f": torch {node['versions'].get('torch', '')} can use {node['torch_gpus']} of "
                f"{len(node['gpus'])} GPUs ({node['gpu_mistake'] or 'no reason given'})"
            )
        lines.append(Line(level, f"{node['host']} hardware", text))
    return lines


def count(nodes: Sequence[Facts], wanted: int | None) -> list[Line]:
    """Checks the number of nodes, because `ray up` exits 0 when a worker could not be set up."""
    if wanted is None:
        return [Line("ok", "nodes", f"{len(nodes)} alive")]
    if len(nodes) < wanted:
        text = f"{len(nodes)} of {wanted} are alive: see `ray monitor`, then `ray up` again"
        return [Line("fix", "nodes", text)]
    return [Line("ok", "nodes", f"{len(nodes)} of {wanted} alive")]


def clocks(nodes: Sequence[Facts], skews_s: Mapping[str, float]) -> list[Line]:
    """Checks the nodes' clocks; ``skews_s`` is host -> seconds ahead of the driver."""
    lines = []
    for node in nodes:
        skew = skews_s.get(node["host"], 0.0)
        if abs(skew) <= _SKEW_WARN_S:
            continue
        level: Level = "fix" if abs(skew) > _SKEW_FIX_S else "warn"
        ahead = "ahead of" if skew > 0 else "behind"
        text = f"{abs(skew):.0f} s {ahead} the driver: run NTP there (signed requests fail)"
        lines.append(Line(level, f"{node['host']} clock", text))
    return lines or [Line("ok", "clocks", f"within {_SKEW_WARN_S:g} s")]


def disks(nodes: Sequence[Facts], free_gb: float) -> list[Line]:
    """Checks the free disk space of each node."""
    poor = [n for n in nodes if n["free_gb"] < free_gb]
    if not poor:
        least = min(n["free_gb"] for n in nodes)
        return [Line("ok", "disk", f"at least {least:.0f} GB free")]
    return [
        Line("fix", f"{n['host']} disk", f"{n['free_gb']:.1f} GB free of {free_gb:g}: free some")
        for n in poor
    ]


def store(nodes: Sequence[Facts], where: str) -> list[Line]:
    """Checks that each node can write the store, and that it is the same place for all."""
    lines = []
    for node in nodes:
        if node["store_mistake"] is not None:
            lines.append(Line("fix", f"{node['host']} store", node["store_mistake"]))
        elif node["sees_marker"] is False:
            text = (
                f"{where} is a folder of its own there: give `store=s3://...`, `gs://...`, or a "
                "folder that all nodes share"
            )
            lines.append(Line("fix", f"{node['host']} store", text))
    return lines or [Line("ok", "store", f"{where} is writable ({len(nodes)} asked)")]


def data(nodes: Sequence[Facts], paths: Sequence[str]) -> list[Line]:
    """Checks that the machine that runs the driver can read the rows."""
    if not paths:
        return [Line("ok", "data", "generated, nothing to read")]
    mistakes = [
        Line("fix", f"{n['host']} data", n["data_mistake"]) for n in nodes if n["data_mistake"]
    ]
    return mistakes or [Line("ok", "data", ", ".join(paths))]


def failed(lines: Sequence[Line]) -> bool:
    """Says whether a sweep would fail."""
    return any(line.level == "fix" for line in lines)


def _base(found: str | None) -> str:
    """Removes the local part of a version: '2.13.0+cpu' and '2.13.0' are the same release."""
    return (found or "none").partition("+")[0]


def _minor(of: Facts) -> str:
    return ".".join(of["versions"].get("python", "").split(".")[:2])
