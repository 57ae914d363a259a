"""The rules for the machines and Pods themselves: see ``rules.py``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tests.cluster.rules import Texts, load, ray_cluster, rule


@rule
def imdsv2_only(texts: Texts) -> Iterator[str]:
    for name, node in _nodes(texts, "aws.yaml"):
        options = node.get("MetadataOptions", {})
        if options.get("HttpTokens") != "required":
            yield f"aws.yaml: {name} gives its credentials to whoever can make it fetch a URL"
        if options.get("HttpPutResponseHopLimit") != 1:
            yield f"aws.yaml: {name} gives its credentials one hop away"


@rule
def workers_reach_the_store_by_profile(texts: Texts) -> Iterator[str]:
    for name, node in _nodes(texts, "aws.yaml"):
        # Ray gives a profile to the head alone; the head's may start machines.
        profile = node.get("IamInstanceProfile", {}).get("Name")
        if profile != ("jamba-ray-head" if name == "head" else "jamba-ray-node"):
            yield f"aws.yaml: {name} has the profile {profile}"


@rule
def security_groups_of_ones_own(texts: Texts) -> Iterator[str]:
    for name, node in _nodes(texts, "aws.yaml"):
        # Without one Ray makes a group that is open to SSH from anywhere.
        if not node.get("SecurityGroupIds"):
            yield f"aws.yaml: {name} has no security group of its own"


@rule
def disks_are_encrypted_and_go_with_their_machine(texts: Texts) -> Iterator[str]:
    for name, node in _nodes(texts, "aws.yaml"):
        disks = [device["Ebs"] for device in node.get("BlockDeviceMappings", [])]
        if not disks or not all(disk.get("Encrypted") is True for disk in disks):
            yield f"aws.yaml: a disk of {name} is not encrypted"
        if not all(disk.get("DeleteOnTermination") is True for disk in disks):
            yield f"aws.yaml: a disk of {name} stays behind"
    for name, node in _nodes(texts, "gcp.yaml"):
        if not all(disk.get("autoDelete") is True for disk in node["disks"]):
            yield f"gcp.yaml: a disk of {name} stays behind"


@rule
def gpu_workers_are_spot_and_start_from_0(texts: Texts) -> Iterator[str]:
    for file in ("aws.yaml", "gcp.yaml"):
        config = load(texts, file)
        if config["provider"].get("cache_stopped_nodes") is not False:
            yield f"{file}: machines are stopped, not ended, and go on costing"
        for name, kind in config["available_node_types"].items():
            if name == config["head_node_type"]:
                continue
            if kind.get("min_workers") != 0:
                yield f"{file}: {name} does not start from 0"
            if kind.get("resources", {}).get("GPU", 0) < 1:
                yield f"{file}: {name} has no GPU"
            if not _is_spot(kind["node_config"]):
                yield f"{file}: {name} is not spot"
    for group in ray_cluster(texts)["workerGroupSpecs"]:
        if (group["replicas"], group["minReplicas"]) != (0, 0):
            yield f"kuberay.yaml: {group['groupName']} does not start from 0"


def _is_spot(node: Mapping[str, Any]) -> bool:
    aws = node.get("InstanceMarketOptions", {}).get("MarketType")
    return "spot" in (aws, node.get("scheduling", {}).get("provisioningModel", "").lower())


@rule
def gcp_service_account_and_network_of_ones_own(texts: Texts) -> Iterator[str]:
    for name, node in _nodes(texts, "gcp.yaml"):
        accounts = [account["email"] for account in node.get("serviceAccounts", [])]
        wanted = "jamba-ray-head@" if name == "head" else "jamba-ray-node@"
        if len(accounts) != 1 or not accounts[0].startswith(wanted):
            yield f"gcp.yaml: {name} runs as {accounts or 'the account of the whole project'}"
        networks = [i.get("subnetwork", "default") for i in node.get("networkInterfaces", [])]
        if not networks or any(network.split("/")[-1] == "default" for network in networks):
            yield f"gcp.yaml: {name} is in the network that is open to SSH from anywhere"


@rule
def pods_are_not_root(texts: Texts) -> Iterator[str]:
    cluster = ray_cluster(texts)
    pods = {
        "submitter": load(texts, "kuberay.yaml")["spec"]["submitterPodTemplate"]["spec"],
        "head": cluster["headGroupSpec"]["template"]["spec"],
        **{g["groupName"]: g["template"]["spec"] for g in cluster["workerGroupSpecs"]},
    }
    for name, pod in pods.items():
        context = pod.get("securityContext", {})
        if not context.get("runAsNonRoot") or not context.get("runAsUser"):
            yield f"kuberay.yaml: {name} may run as root"
        if context.get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield f"kuberay.yaml: {name} may make any system call"
        for container in pod["containers"]:
            yield from _container(name, container)
    yield from _container("autoscaler", {"image": ":0", **cluster["autoscalerOptions"]})


def _container(name: str, container: Mapping[str, Any]) -> Iterator[str]:
    context = container.get("securityContext", {})
    if context.get("allowPrivilegeEscalation") is not False:
        yield f"kuberay.yaml: {name} may become root"
    if context.get("capabilities") != {"drop": ["ALL"]}:
        yield f"kuberay.yaml: {name} keeps capabilities"
    if ":" not in container["image"] or container["image"].endswith(":latest"):
        yield f"kuberay.yaml: {name}'s image is whatever is newest"


@rule
def the_image_is_not_root(texts: Texts) -> Iterator[str]:
    users = re.findall(r"^USER (\S+)", texts["Dockerfile"], flags=re.M)
    if not users or users[-1] in ("root", "0"):
        yield f"Dockerfile: it runs as {users[-1] if users else 'root'}"
    # Kubernetes cannot tell that a named user is not root.
    elif not users[-1].isdigit():
        yield "Dockerfile: name the user by number"


def _nodes(texts: Texts, file: str) -> list[tuple[str, dict[str, Any]]]:
    kinds = load(texts, file)["available_node_types"]
    return [(name, kind["node_config"]) for name, kind in kinds.items()]
