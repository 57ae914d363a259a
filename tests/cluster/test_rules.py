"""The files of ``cluster/`` keep the rules of ``rules.py``; one that breaks a rule is noticed."""

from __future__ import annotations

import stat

import pytest

from tests.cluster import files, machine_rules
from tests.cluster.rules import RAY_UP, RULES, broken

assert machine_rules.__name__, "importing it enters its rules"

_WORKER = "InstanceType: g5.2xlarge"
_HEAD_CPUS = "resources: {CPU: 0}"
_EXPORT = "export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0"
SABOTAGE: list[tuple[str, tuple[str, ...], str, str]] = [
    # rule, files, what is there, what is put in its place
    ("dashboard_on_loopback", RAY_UP, "--dashboard-host=127.0.0.1", "--dashboard-host=10.0.0.5"),
    ("dashboard_on_loopback", RAY_UP, "--dashboard-host=127.0.0.1", ""),
    ("dashboard_on_loopback", ("local.yaml",), ":6379", ":6379 --dashboard-host=10.0.0.5"),
    ("token_authentication", RAY_UP, "export RAY_AUTH_MODE=token", "export RAY_AUTH_MODE=disabled"),
    ("token_authentication", RAY_UP, "venv/bin:$PATH RAY_AUTH_MODE=token", "venv/bin:$PATH"),
    ("token_authentication", ("runpod.yaml",), "RAY_AUTH_MODE: token", "RAY_AUTH_MODE: disabled"),
    ("token_authentication", ("kuberay.yaml",), "authOptions: {mode: token}", ""),
    ("token_authentication", ("Dockerfile",), "RAY_AUTH_MODE=token", ""),
    ("token_file_is_private", RAY_UP, "chmod 600", "chmod 644"),
    ("token_file_is_private", RAY_UP, "chmod 700", "chmod 755"),
    ("token_file_is_private", RAY_UP, "umask 077 &&", ""),
    ("token_file_is_private", RAY_UP, "  ~/.ray/auth_token: ~/.ray/auth_token\n", ""),
    ("what_ray_writes_is_private", RAY_UP, "umask 077;", "umask 022;"),
    ("what_ray_writes_is_private", RAY_UP, "ulimit -c 0;", ""),
    ("usage_statistics_are_off", RAY_UP, _EXPORT, "export RAY_AUTH_MODE=token "),
    ("usage_statistics_are_off", ("Dockerfile",), "RAY_USAGE_STATS_ENABLED=0", ""),
    (
        *("usage_statistics_are_off", ("kuberay.yaml",)),
        *('{name: RAY_USAGE_STATS_ENABLED, value: "0"}', '{name: NOTHING, value: "0"}'),
    ),
    ("usage_statistics_are_off", ("runpod.yaml",), 'STATS_ENABLED: "0"', 'STATS_ENABLED: "1"'),
    ("nothing_is_open_to_the_world", ("aws.yaml",), "[sg-0123456789abcdef0]", "[sg-1, 0.0.0.0/0]"),
    ("nothing_is_open_to_the_world", ("aws.yaml",), "[sg-0123456789abcdef0]", "['::/0']"),
    ("nothing_is_open_to_the_world", ("README.md",), '"$MY_IP/32"', "0.0.0.0/0"),
    ("nothing_is_open_to_the_world", ("local.yaml",), "head_ip: 192.0.2.10", "head_ip: 0.0.0.0"),
    ("nothing_is_open_to_the_world", ("kuberay.yaml",), "ClusterIP", "LoadBalancer"),
    (
        *("nothing_is_open_to_the_world", ("runpod.yaml",)),
        *("disk_size: 100", "disk_size: 100\n  ports: 8265"),
    ),
    (
        "no_secret_or_registry",
        ("aws.yaml",),
        "ssh_user: ubuntu",
        f"ssh_user: {'AKIA'}0123456789ABCDEF",
    ),
    ("no_secret_or_registry", ("local.yaml",), "ssh_user: ray", "ssh_user: ray # password: x"),
    ("no_secret_or_registry", ("runpod.yaml",), "STORE: runs", "STORE: s3://key:secret@bucket"),
    ("no_secret_or_registry", ("gcp.yaml",), "uv pip install", "uv pip install --index-url=x"),
    ("one_python_ray_and_uv", (*RAY_UP, "runpod.yaml"), "--python 3.11.14", "--python 3.12.1"),
    ("one_python_ray_and_uv", ("Dockerfile",), "python:3.11.14", "python:3.10.2"),
    ("one_python_ray_and_uv", ("aws.yaml", "runpod.yaml"), "uv==0.13.8", "uv==0.12.0"),
    ("one_python_ray_and_uv", ("kuberay.yaml",), "rayVersion: 2.60.0", "rayVersion: 2.59.0"),
    (
        *("the_lock_file_is_what_the_project_asks_for", ("requirements.lock",)),
        *("optuna==5.0.0", "optuna==4.9.0"),
    ),
    (
        *("the_lock_file_is_what_the_project_asks_for", ("requirements.lock",)),
        *("aiohttp==", "aiohttp>="),
    ),
    *(
        ("the_lock_file_is_what_the_project_asks_for", ("requirements.lock",), f"{name}==", "x==")
        for name in ("wandb", "mlflow-skinny", "catboost", "scikit-learn", "xgboost-cpu")
    ),
    ("the_lock_file_is_what_the_project_asks_for", ("lock.py",), '"mlflow", ', ""),
    (
        *("the_lock_file_is_what_the_project_asks_for", ("requirements.lock",)),
        *("scipy==", "optuna-dashboard==0.21.0\nscipy=="),
    ),
    (
        *("environments_come_from_the_lock_file", RAY_UP),
        *("  ~/jamba_ray-env/requirements.lock: cluster/requirements.lock\n", ""),
    ),
    (
        *("environments_come_from_the_lock_file", RAY_UP),
        *("-r ~/jamba_ray-env/requirements.lock", "'ray[default]==2.60.0'"),
    ),
    (
        *("environments_come_from_the_lock_file", ("runpod.yaml",)),
        *("-r cluster/requirements.lock", "'ray[default]==2.60.0'"),
    ),
    (
        *("environments_come_from_the_lock_file", ("Dockerfile",)),
        *("--no-cache-dir -r /tmp/requirements.lock", "ray==2.60.0"),
    ),
    (
        *("what_is_installed_has_a_version", ("gcp.yaml",)),
        *("google-api-python-client==2.202.0", "google-api-python-client"),
    ),
    ("what_is_installed_has_a_version", ("Dockerfile",), "--no-deps /opt", "numpy /opt"),
    ("what_is_installed_has_a_version", ("runpod.yaml",), "-r cluster", "numpy -r cluster"),
    ("trials_never_share_the_head", ("aws.yaml", "gcp.yaml"), _HEAD_CPUS, "resources: {CPU: 2}"),
    ("trials_never_share_the_head", ("aws.yaml", "gcp.yaml"), _HEAD_CPUS, ""),
    ("trials_never_share_the_head", ("kuberay.yaml",), 'num-cpus: "0"', 'num-cpus: "2"'),
    ("every_file_has_its_commands_in_the_readme", ("README.md",), "cluster/gcp.yaml", "gcp"),
    (
        *("the_workflow_has_a_gate_and_runs_nobodys_input", ("sweep.yml",)),
        *('"+sweep=$SWEEP"', '"+sweep=${{ inputs.sweep }}"'),
    ),
    (
        *("the_workflow_has_a_gate_and_runs_nobodys_input", ("sweep.yml",)),
        *("contents: read", "contents: write"),
    ),
    (
        *("the_workflow_has_a_gate_and_runs_nobodys_input", ("sweep.yml",)),
        *("submit.margin=$MARGIN", ""),
    ),
    ("imdsv2_only", ("aws.yaml",), "HttpTokens: required", "HttpTokens: optional"),
    ("imdsv2_only", ("aws.yaml",), "HopLimit: 1", "HopLimit: 2"),
    (
        *("imdsv2_only", ("aws.yaml",), _WORKER),
        f"{_WORKER}\n      MetadataOptions: {{HttpEndpoint: enabled}}",
    ),
    (
        *("workers_reach_the_store_by_profile", ("aws.yaml",)),
        *("IamInstanceProfile: {Name: jamba-ray-node}", "IamInstanceProfile: {}"),
    ),
    (
        *("workers_reach_the_store_by_profile", ("aws.yaml",)),
        *("IamInstanceProfile: {Name: jamba-ray-node}", ""),
    ),
    ("security_groups_of_ones_own", ("aws.yaml",), "[sg-0123456789abcdef0]", "[]"),
    (
        *("security_groups_of_ones_own", ("aws.yaml",)),
        *(_WORKER, f"{_WORKER}\n      SecurityGroupIds: []"),
    ),
    ("disks_are_encrypted_and_go_with_their_machine", ("aws.yaml",), "Encrypted: true, ", ""),
    (
        *("disks_are_encrypted_and_go_with_their_machine", ("aws.yaml",)),
        *(_WORKER, f"{_WORKER}\n      BlockDeviceMappings: []"),
    ),
    (
        *("disks_are_encrypted_and_go_with_their_machine", ("aws.yaml",)),
        *("DeleteOnTermination: true", "DeleteOnTermination: false"),
    ),
    (
        *("disks_are_encrypted_and_go_with_their_machine", ("gcp.yaml",)),
        *("autoDelete: true", "autoDelete: false"),
    ),
    ("gpu_workers_are_spot_and_start_from_0", ("aws.yaml",), "MarketType: spot", "MarketType: x"),
    ("gpu_workers_are_spot_and_start_from_0", ("gcp.yaml",), "Model: SPOT", "Model: STANDARD"),
    (
        *("gpu_workers_are_spot_and_start_from_0", ("aws.yaml", "gcp.yaml")),
        *("min_workers: 0", "min_workers: 1"),
    ),
    ("gpu_workers_are_spot_and_start_from_0", ("aws.yaml", "gcp.yaml"), "GPU: 1", "GPU: 0"),
    (
        *("gpu_workers_are_spot_and_start_from_0", ("aws.yaml", "gcp.yaml")),
        *("cache_stopped_nodes: false", "cache_stopped_nodes: true"),
    ),
    (
        *("gpu_workers_are_spot_and_start_from_0", ("kuberay.yaml",)),
        *("minReplicas: 0", "minReplicas: 1"),
    ),
    (
        *("gcp_service_account_and_network_of_ones_own", ("gcp.yaml",)),
        *("jamba-ray-node@my-project", "jamba-ray-head@my-project"),
    ),
    (
        *("gcp_service_account_and_network_of_ones_own", ("gcp.yaml",)),
        *("jamba-ray-head@my-project", "1234-compute@developer"),
    ),
    (
        *("gcp_service_account_and_network_of_ones_own", ("gcp.yaml",)),
        *("subnetworks/jamba-ray", "subnetworks/default"),
    ),
    ("pods_are_not_root", ("kuberay.yaml",), "runAsNonRoot: true", "runAsNonRoot: false"),
    ("pods_are_not_root", ("kuberay.yaml",), "runAsUser: 1000", "runAsUser: 0"),
    ("pods_are_not_root", ("kuberay.yaml",), "Escalation: false", "Escalation: true"),
    ("pods_are_not_root", ("kuberay.yaml",), "drop: [ALL]", "drop: []"),
    ("pods_are_not_root", ("kuberay.yaml",), "RuntimeDefault", "Unconfined"),
    ("pods_are_not_root", ("kuberay.yaml",), "jamba_ray:0.1.0", "jamba_ray:latest"),
    (
        *("pods_are_not_root", ("kuberay.yaml",)),
        *("      securityContext: *container_security\n      resources:", "      resources:"),
    ),
    ("the_image_is_not_root", ("Dockerfile",), "USER 1000\n", ""),
    ("the_image_is_not_root", ("Dockerfile",), "WORKDIR", "USER root\nWORKDIR"),
    ("the_image_is_not_root", ("Dockerfile",), "USER 1000\n", "USER ray\n"),
]
ROWS = [(name, file, old, new) for name, where, old, new in SABOTAGE for file in where]


@pytest.mark.parametrize("name", RULES)
def test_every_rule_is_kept(name: str) -> None:
    assert list(RULES[name](files.texts())) == []


@pytest.mark.parametrize(("name", "file", "old", "new"), ROWS)
def test_a_broken_rule_is_noticed(name: str, file: str, old: str, new: str) -> None:
    texts = files.texts()
    assert old in texts[file], "the sabotage itself has drifted"
    found = broken({**texts, file: texts[file].replace(old, new)})
    assert set(found) == {name}
    assert any(sentence.startswith(f"{file}: ") for sentence in found[name]) or (
        # Where files must agree, either of them may be called the odd one.
        name == "one_python_ray_and_uv"
    )


def test_every_rule_has_a_sabotage() -> None:
    assert {name for name, *_ in ROWS} == set(RULES)


def test_no_file_can_be_changed_by_everybody() -> None:
    for path in files.CLUSTER.iterdir():
        assert not path.stat().st_mode & stat.S_IWOTH, path
