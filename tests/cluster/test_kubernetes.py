"""``cluster/kubernetes`` as Kustomize renders it, against the schemas of what will read it."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.cluster import files, kustomize

FOLDER = files.CLUSTER / "kubernetes"
_DATA = Path(__file__).parent / "data"
_JOB = json.loads((_DATA / "rayjob.schema.json").read_text())
SCHEMAS = json.loads((_DATA / "monitoring.schema.json").read_text())["$defs"]
# The CRD of a RayJob holds that of a RayCluster.
SCHEMAS["RayCluster"] = {
    **{name: _JOB[name] for name in ("$defs", "type", "additionalProperties")},
    "properties": {
        **{name: _JOB["properties"][name] for name in ("apiVersion", "metadata")},
        "kind": {"const": "RayCluster"},
        "spec": _JOB["properties"]["spec"]["properties"]["rayClusterSpec"],
    },
}
OBJECTS = {one["kind"]: one for one in kustomize.render(FOLDER)}


def check(one: dict[str, Any]) -> None:
    """Raise where the API server, or the CRD of an operator, would refuse an object."""
    if one["kind"] in SCHEMAS:
        jsonschema.Draft202012Validator(SCHEMAS[one["kind"]]).validate(one)
    else:
        kubernetes_validate.validate(one, "1.32", strict=True)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kubectl_renders_the_same() -> None:
    line = ["kubectl", "kustomize", str(FOLDER)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    rendered = {one["kind"]: one for one in yaml.safe_load_all(done.stdout)}
    assert rendered == OBJECTS


@pytest.mark.parametrize("kind", OBJECTS)
def test_what_reads_it_accepts_it(kind: str) -> None:
    check(OBJECTS[kind])
    assert kind == "Namespace" or OBJECTS[kind]["metadata"]["namespace"] == "jamba-ray"


@pytest.mark.parametrize(
    ("kind", "path", "field"),
    [
        ("RayCluster", ("spec",), "authOption"),
        ("RayCluster", ("spec", "headGroupSpec", "template", "spec", "containers", 0), "volumes"),
        ("PodMonitor", ("spec", "podMetricsEndpoints", 0), "ports"),
        ("PrometheusRule", ("spec", "groups", 0, "rules", 0), "expression"),
        ("NetworkPolicy", ("spec", "ingress", 0), "port"),
        ("ServiceAccount", (), "automount"),
    ],
)
def test_a_misspelt_field_is_refused(kind: str, path: tuple[Any, ...], field: str) -> None:
    wrong = copy.deepcopy(OBJECTS[kind])
    place: Any = wrong
    for step in path:
        place = place[step]
    place[field] = {}
    with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
        check(wrong)


def pods() -> list[dict[str, Any]]:
    spec = OBJECTS["RayCluster"]["spec"]
    return [spec["headGroupSpec"], *spec["workerGroupSpecs"]]


def test_the_cluster_keeps_the_rules_of_the_other_files() -> None:
    """The security of ``kuberay.yaml``: token, nobody root, no trials on the head, spot from 0."""
    spec, job = OBJECTS["RayCluster"]["spec"], files.load("kuberay")["spec"]["rayClusterSpec"]
    for same in ("rayVersion", "authOptions", "enableInTreeAutoscaling", "autoscalerOptions"):
        assert spec[same] == job[same], same
    head = spec["headGroupSpec"]
    assert (head["serviceType"], head["rayStartParams"]["num-cpus"]) == ("ClusterIP", "0")
    assert [group["minReplicas"] for group in spec["workerGroupSpecs"]] == [0]
    for pod, other in zip(pods(), [job["headGroupSpec"], *job["workerGroupSpecs"]], strict=True):
        mine, its = pod["template"]["spec"], other["template"]["spec"]
        assert mine["securityContext"] == its["securityContext"]
        for container, known in zip(mine["containers"], its["containers"], strict=True):
            for same in ("image", "securityContext", "env", "resources"):
                assert container[same] == known[same], same


def test_what_is_watched_is_there() -> None:
    """The names by which monitor, policy and Pods find each other."""
    labels = {"ray.io/cluster": OBJECTS["RayCluster"]["metadata"]["name"]}  # the operator's label
    monitor, policy = OBJECTS["PodMonitor"]["spec"], OBJECTS["NetworkPolicy"]["spec"]
    assert monitor["selector"]["matchLabels"] == labels == policy["podSelector"]["matchLabels"]
    (endpoint,) = monitor["podMetricsEndpoints"]
    for pod in pods():
        (container,) = pod["template"]["spec"]["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert str(ports[endpoint["port"]]) == pod["rayStartParams"]["metrics-export-port"]
    open_ports = [p["port"] for rule in policy["ingress"] for p in rule.get("ports", [])]
    assert open_ports == [8265, 8080]


def test_the_keys_of_trackers_are_a_secret_that_the_head_alone_has() -> None:
    head, *workers = [pod["template"]["spec"] for pod in pods()]
    (volume,) = head["volumes"]
    assert volume["secret"] == {
        "secretName": "jamba-ray-trackers",
        "optional": True,
        "defaultMode": 0o400,
    }
    assert not any("volumes" in worker for worker in workers)
    assert "Secret" not in OBJECTS, "a secret's value would lie in a file of the checkout"
    assert "kubectl -n jamba-ray create secret generic jamba-ray-trackers" in files.readme()


def test_the_alerts_are_those_of_prometheus() -> None:
    alone = yaml.safe_load((files.CLUSTER / "prometheus" / "rules.yaml").read_text())
    assert OBJECTS["PrometheusRule"]["spec"] == alone
