"""What Ray makes of ``cluster/aws.yaml`` in an account: asked of a mocked EC2 and IAM (moto).

Ray's own bootstrap and node provider run here; what needs SSH is in ``test_ray_up.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.checkpoints.s3_server import s3_server
from tests.cluster import files

HOME_CIDR = "203.0.113.7/32"


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
        import boto3

        config = files.load("aws")
        region = config["provider"]["region"]
        ec2 = boto3.client("ec2", region)
        vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        group = ec2.create_security_group(GroupName="jamba-ray", Description="d", VpcId=vpc)
        ec2.authorize_security_group_ingress(
            GroupId=group["GroupId"], IpProtocol="tcp", FromPort=22, ToPort=22, CidrIp=HOME_CIDR
        )
        iam = boto3.client("iam", region)
        iam.create_instance_profile(InstanceProfileName="jamba-ray-node")
        image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
        for kind in config["available_node_types"].values():
            kind["node_config"]["SecurityGroupIds"] = [group["GroupId"]]
            kind["node_config"]["ImageId"] = image
        yield {"config": _bootstrapped(config), "ec2": ec2, "group": group["GroupId"]}


def _bootstrapped(config: dict[str, Any]) -> dict[str, Any]:
    from ray.autoscaler._private.aws import config as aws
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(config)
    validate_config(prepared)
    return aws.bootstrap_aws(prepared)


def _launched(account: dict[str, Any], kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(the instance that Ray's provider creates for a node type, its disk)."""
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
    from ray.autoscaler.tags import TAG_RAY_NODE_KIND, TAG_RAY_USER_NODE_TYPE

    config = account["config"]
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    node = config["available_node_types"][kind]["node_config"]
    tags = {TAG_RAY_NODE_KIND: "worker", TAG_RAY_USER_NODE_TYPE: kind}
    created = provider.create_node(node, tags, 1)
    (name,) = created
    (reservation,) = account["ec2"].describe_instances(InstanceIds=[name])["Reservations"]
    instance: dict[str, Any] = reservation["Instances"][0]
    disk = instance["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    (volume,) = account["ec2"].describe_volumes(VolumeIds=[disk])["Volumes"]
    provider.terminate_node(name)
    return instance, volume


@pytest.mark.parametrize("kind", ["head", "gpu_spot"])
def test_machines_are_what_the_file_says(account: dict[str, Any], kind: str) -> None:
    instance, volume = _launched(account, kind)
    wanted = files.load("aws")["available_node_types"][kind]["node_config"]
    assert instance["InstanceType"] == wanted["InstanceType"]
    assert instance["IamInstanceProfile"]["Arn"].endswith("instance-profile/jamba-ray-node")
    assert [g["GroupId"] for g in instance["SecurityGroups"]] == [account["group"]]
    assert instance["MetadataOptions"]["HttpTokens"] == "required"
    assert instance.get("InstanceLifecycle") == ("spot" if kind == "gpu_spot" else None)
    assert volume["Encrypted"] is True
    assert volume["Size"] == 100


def test_ray_opens_nothing_to_the_world(account: dict[str, Any]) -> None:
    groups = account["ec2"].describe_security_groups()["SecurityGroups"]
    assert not [g for g in groups if g["GroupName"].startswith("ray-autoscaler")]
    (own,) = [g for g in groups if g["GroupId"] == account["group"]]
    cidrs = {r["CidrIp"] for p in own["IpPermissions"] for r in p["IpRanges"]}
    assert cidrs == {HOME_CIDR}


def test_without_a_group_of_ones_own_ray_would(account: dict[str, Any]) -> None:
    """The sabotage twin: why the file names a security group."""
    config = files.load("aws")
    for kind in config["available_node_types"].values():
        del kind["node_config"]["SecurityGroupIds"]
        kind["node_config"]["ImageId"] = "ami-12c6146b"
    _bootstrapped({**config, "cluster_name": "open"})
    groups = account["ec2"].describe_security_groups()["SecurityGroups"]
    opened = [g for g in groups if g["GroupName"].startswith("ray-autoscaler-open")]
    cidrs = {r["CidrIp"] for g in opened for p in g["IpPermissions"] for r in p["IpRanges"]}
    assert "0.0.0.0/0" in cidrs
