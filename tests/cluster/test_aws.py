"""What Ray makes of ``cluster/aws.yaml`` in an account: asked of a mocked EC2 and IAM (moto).

Ray's own bootstrap and node provider run here; `ray up` itself is in ``test_aws_up.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.checkpoints.s3_server import s3_server
from tests.cluster import files, mock_ec2


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The file as Ray completes it, in an account prepared as the README says."""
    with pytest.MonkeyPatch.context() as patch, s3_server() as (endpoint, _):
        # Ray makes a key pair and keeps its private half under the home folder.
        home = tmp_path_factory.mktemp("home")
        (home / ".ssh").mkdir()
        patch.setenv("HOME", str(home))
        patch.setenv("AWS_ENDPOINT_URL", endpoint)
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
        config, group = mock_ec2.prepared_config()
        ec2 = mock_ec2.client("ec2", config["provider"]["region"])
        yield {"config": _bootstrapped(config), "ec2": ec2, "group": group}


def _bootstrapped(config: dict[str, Any]) -> dict[str, Any]:
    from ray.autoscaler._private.aws import config as aws
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(config)
    validate_config(prepared)
    return aws.bootstrap_aws(prepared)


@pytest.mark.parametrize("kind", ["head", "gpu_spot"])
def test_machines_are_what_the_file_says(account: dict[str, Any], kind: str) -> None:
    """The instance that Ray's provider creates for a node type."""
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
    from ray.autoscaler.tags import TAG_RAY_NODE_KIND, TAG_RAY_USER_NODE_TYPE

    config = account["config"]
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    node = config["available_node_types"][kind]["node_config"]
    tags = {TAG_RAY_NODE_KIND: "worker", TAG_RAY_USER_NODE_TYPE: kind}
    (name,) = provider.create_node(node, tags, 1)
    (reservation,) = account["ec2"].describe_instances(InstanceIds=[name])["Reservations"]
    mock_ec2.is_what_the_file_says(
        account["ec2"], reservation["Instances"][0], kind, account["group"]
    )
    provider.terminate_node(name)


def test_ray_opens_nothing_to_the_world(account: dict[str, Any]) -> None:
    groups = account["ec2"].describe_security_groups()["SecurityGroups"]
    assert not [g for g in groups if g["GroupName"].startswith("ray-autoscaler")]
    assert mock_ec2.opened_to(account["ec2"], account["group"]) == {mock_ec2.HOME_CIDR}


def test_without_a_group_of_ones_own_ray_would(account: dict[str, Any]) -> None:
    """The sabotage twin: why the file names a security group."""
    config = files.load("aws")
    for kind in config["available_node_types"].values():
        del kind["node_config"]["SecurityGroupIds"]
        kind["node_config"]["ImageId"] = "ami-12c6146b"
    _bootstrapped({**config, "cluster_name": "open"})
    groups = account["ec2"].describe_security_groups()["SecurityGroups"]
    (opened,) = [g for g in groups if g["GroupName"].startswith("ray-autoscaler-open")]
    assert "0.0.0.0/0" in mock_ec2.opened_to(account["ec2"], opened["GroupId"])
