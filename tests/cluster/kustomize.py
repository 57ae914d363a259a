"""What ``kubectl kustomize`` makes of a folder, for the few rules that ``cluster/`` uses."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

_CLUSTER_WIDE = {"Namespace"}
_KNOWN = {
    *("apiVersion", "kind", "namespace", "labels", "images", "resources"),
    *("configMapGenerator", "generatorOptions"),
}


def render(folder: Path) -> list[dict[str, Any]]:
    """The objects of a folder's ``kustomization.yaml``, with its rules applied."""
    rules = yaml.safe_load((folder / "kustomization.yaml").read_text("utf-8"))
    assert set(rules) <= _KNOWN, f"{folder}: {set(rules) - _KNOWN} is not known here"
    found: list[dict[str, Any]] = []
    for name in rules.get("resources", []):
        path = folder / name
        found += render(path) if path.is_dir() else list(yaml.safe_load_all(path.read_text()))
    options = rules.get("generatorOptions", {})
    for made in rules.get("configMapGenerator", []):
        assert options["disableNameSuffixHash"]
        metadata = {"name": made["name"], "labels": dict(options["labels"])}
        data = {Path(f).name: (folder / f).read_text("utf-8") for f in made["files"]}
        found.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
    # Each mention of an anchor becomes an object of its own.
    return [_ruled(copy.deepcopy(one), rules) for one in found]


def _ruled(one: dict[str, Any], rules: dict[str, Any]) -> dict[str, Any]:
    metadata = one["metadata"]
    if "namespace" in rules and one["kind"] not in _CLUSTER_WIDE:
        metadata["namespace"] = rules["namespace"]
    for given in rules.get("labels", []):
        metadata.setdefault("labels", {}).update(given["pairs"])
    tags = {image["name"]: image["newTag"] for image in rules.get("images", [])}
    for container in _containers(one):
        name, _, _ = container["image"].rpartition(":")
        if name in tags:
            container["image"] = f"{name}:{tags[name]}"
    return one


def _containers(tree: Any) -> list[dict[str, Any]]:
    if isinstance(tree, list):
        return [found for one in tree for found in _containers(one)]
    if not isinstance(tree, dict):
        return []
    own = [c for c in tree.get("containers", []) if "image" in c]
    return own + [found for one in tree.values() for found in _containers(one)]
