"""The security rules and pinned versions that every file of ``cluster/`` keeps."""

from __future__ import annotations

import re
import stat
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.cluster import files

PROJECT = tomllib.loads((files.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EVERYTHING = [p for p in sorted(files.CLUSTER.iterdir()) if p.is_file()]


@pytest.mark.parametrize("name", files.RAY_UP)
def test_clusters_are_closed_by_default(name: str) -> None:
    assert list(files.rules_broken(files.load(name))) == []


@pytest.mark.parametrize(
    ("what", "how"),
    [
        (
            "dashboard",
            lambda t: t.replace("--dashboard-host=127.0.0.1", "--dashboard-host=0.0.0.0"),
        ),
        ("dashboard default", lambda t: t.replace("--dashboard-host=127.0.0.1", "")),
        ("token", lambda t: t.replace("RAY_AUTH_MODE=token", "RAY_AUTH_MODE=disabled")),
        ("mode of the token file", lambda t: t.replace("chmod 600", "chmod 644")),
        ("lock", lambda t: t.replace("requirements.lock", "requirements.txt")),
    ],
)
def test_a_broken_rule_is_noticed(what: str, how) -> None:
    import yaml

    sabotaged = yaml.safe_load(how(files.text("aws")))
    assert list(files.rules_broken(sabotaged)), what


def test_no_file_opens_anything_to_the_world() -> None:
    for path in EVERYTHING:
        for line in path.read_text(encoding="utf-8").splitlines():
            code = line.partition("#")[0]
            assert "0.0.0.0/0" not in code, path
            assert "::/0" not in code, path
            if path.name != "kuberay.yaml":
                assert "0.0.0.0" not in code, path
    # In Kubernetes the token guards the dashboard and the Service stays inside.
    spec = files.load("kuberay")["spec"]["rayClusterSpec"]
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["headGroupSpec"]["serviceType"] == "ClusterIP"


def test_no_secret_or_registry_lies_in_the_files() -> None:
    secret = re.compile(
        r"AKIA[0-9A-Z]{16}|-----BEGIN|password|aws_secret|://[^/\s]+:[^/\s]+@|--index-url|--extra-index|"
        r"files\.pythonhosted|pypi\."
    )
    for path in EVERYTHING:
        found = secret.search(path.read_text(encoding="utf-8"))
        assert found is None, (path, found)
        assert not path.stat().st_mode & stat.S_IWOTH


def test_every_node_has_the_same_python_and_ray() -> None:
    pythons = {
        name: set(re.findall(r"--python (\d+\.\d+\.\d+)", files.text(name)))
        for name in (*files.RAY_UP, "runpod")
    }
    dockerfile = (files.CLUSTER / "Dockerfile").read_text(encoding="utf-8")
    (image,) = re.findall(r"^FROM python:(\S+?)-", dockerfile, flags=re.M)
    assert set().union(*pythons.values()) == {image}
    assert all(pythons.values())
    assert Version(image) in Requirement(f"python{PROJECT['requires-python']}").specifier
    locked = files.locked()
    assert files.load("kuberay")["spec"]["rayClusterSpec"]["rayVersion"] == locked["ray"]
    uv = {
        v for name in (*files.RAY_UP, "runpod") for v in re.findall(r"uv==(\S+)", files.text(name))
    }
    assert len(uv) == 1


def test_the_lock_file_is_what_the_project_asks_for() -> None:
    locked = files.locked()
    asked = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["cluster"]
    for line in asked:
        requirement = Requirement(line)
        assert locked[requirement.name] in requirement.specifier, line
    exact = {r.name: str(r.specifier) for line in asked if (r := Requirement(line)).specifier}
    assert exact["ray"] == f"=={locked['ray']}"
    assert "torch" in locked


def test_trials_never_share_the_head() -> None:
    for name in ("aws", "gcp"):
        assert files.load(name)["available_node_types"]["head"]["resources"] == {"CPU": 0}
    head = files.load("kuberay")["spec"]["rayClusterSpec"]["headGroupSpec"]
    assert head["rayStartParams"]["num-cpus"] == "0"


def test_aws_machines_are_private_and_reach_the_store() -> None:
    config = files.load("aws")
    for name, kind in config["available_node_types"].items():
        node = kind["node_config"]
        assert node["MetadataOptions"]["HttpTokens"] == "required", name
        assert node["IamInstanceProfile"]["Name"], name
        # Without groups of its own Ray makes one that is open to SSH from anywhere.
        assert node["SecurityGroupIds"], name
        assert all(d["Ebs"]["Encrypted"] for d in node["BlockDeviceMappings"]), name
    worker = config["available_node_types"]["gpu_spot"]
    assert worker["min_workers"] == 0
    assert worker["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"
    assert worker["resources"]["GPU"] >= 1


def test_gcp_machines_are_private_and_reach_the_store() -> None:
    config = files.load("gcp")
    for name, kind in config["available_node_types"].items():
        node = kind["node_config"]
        assert node["serviceAccounts"][0]["email"].startswith("jamba-ray-node@"), name
        assert all("/default" not in i["subnetwork"] for i in node["networkInterfaces"]), name
    worker = config["available_node_types"]["gpu_spot"]
    assert worker["min_workers"] == 0
    assert worker["node_config"]["scheduling"]["provisioningModel"] == "SPOT"


def test_pods_are_not_root() -> None:
    spec = files.load("kuberay")["spec"]
    cluster = spec["rayClusterSpec"]
    pods = [
        spec["submitterPodTemplate"]["spec"],
        cluster["headGroupSpec"]["template"]["spec"],
        *(group["template"]["spec"] for group in cluster["workerGroupSpecs"]),
    ]
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["runAsUser"] > 0
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert ":latest" not in container["image"]
    assert "USER 1000" in (files.CLUSTER / "Dockerfile").read_text(encoding="utf-8")


def test_every_file_has_its_commands_in_the_readme() -> None:
    readme = (files.CLUSTER / "README.md").read_text(encoding="utf-8")
    for name in files.ALL:
        assert f"cluster/{name}.yaml" in readme, name


def test_the_workflow_submits_with_a_gate_and_runs_nobodys_input() -> None:
    import yaml

    path = files.ROOT / ".github" / "workflows" / "sweep.yml"
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    scripts = [step["run"] for step in workflow["jobs"]["sweep"]["steps"] if "run" in step]
    # What a person typed reaches a shell as a variable, never as part of the script.
    assert not any("${{" in script for script in scripts)
    (submits,) = [script for script in scripts if "jamba_ray.submit" in script]
    assert "submit.champion=$CHAMPION" in submits
    assert "submit.margin=$MARGIN" in submits
