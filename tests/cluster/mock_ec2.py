"""An AWS account (moto) whose instances really boot: a machine of namespaces for each of them."""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.cluster import files, metadata_service
from tests.cluster.machines import Machine, Network

VPC = "172.31.0.0/16"
"""The default VPC of a moto account: machines have the private addresses that moto chooses."""
HOME_CIDR = "203.0.113.7/32"
PROFILES = ("jamba-ray-head", "jamba-ray-node")
# The image's user, and what the instance profile gives: nothing where there is none.
_FIRST = """\
sed '/^ubuntu:/d' /etc/passwd >/run/passwd
echo "ubuntu:x:0:0::$HOME:/bin/bash" >>/run/passwd
mount --bind /run/passwd /etc/passwd
ip addr add {address}/32 dev lo
{python} -SE {service} {profile} >/run/metadata.log 2>&1 &"""


def client(service: str, region: str, endpoint: str | None = None) -> Any:
    """A boto3 client of the mocked account."""
    import boto3

    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    return boto3.client(service, region, endpoint_url=endpoint, **keys)


def prepared_config(endpoint: str | None = None) -> tuple[dict[str, Any], str]:
    """``cluster/aws.yaml`` in an account prepared as the README says, and its security group."""
    config = files.load("aws")
    region = config["provider"]["region"]
    ec2, iam = client("ec2", region, endpoint), client("iam", region, endpoint)
    (vpc,) = ec2.describe_vpcs()["Vpcs"]
    group: str = ec2.create_security_group(
        GroupName="jamba-ray", Description="jamba_ray", VpcId=vpc["VpcId"]
    )["GroupId"]
    ec2.authorize_security_group_ingress(
        GroupId=group, IpProtocol="tcp", FromPort=22, ToPort=22, CidrIp=HOME_CIDR
    )
    inside = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[inside])
    for profile in PROFILES:
        iam.create_instance_profile(InstanceProfileName=profile)
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    for kind in config["available_node_types"].values():
        kind["node_config"] |= {"SecurityGroupIds": [group], "ImageId": image}
    return config, group


def is_what_the_file_says(ec2: Any, instance: dict[str, Any], kind: str, group: str) -> None:
    """Assert that an instance is what ``cluster/aws.yaml`` says of its kind."""
    wanted = files.load("aws")["available_node_types"][kind]["node_config"]
    assert instance["InstanceType"] == wanted["InstanceType"]
    assert instance["IamInstanceProfile"]["Arn"].endswith(
        f"instance-profile/{PROFILES[kind != 'head']}"
    )
    assert [g["GroupId"] for g in instance["SecurityGroups"]] == [group]
    assert instance["MetadataOptions"]["HttpTokens"] == "required"
    assert instance.get("InstanceLifecycle") == ("spot" if kind == "gpu_spot" else None)
    disk = instance["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    (volume,) = ec2.describe_volumes(VolumeIds=[disk])["Volumes"]
    assert volume["Encrypted"] is True
    assert volume["Size"] == 100


def opened_to(ec2: Any, group: str) -> set[str]:
    """The networks that a security group lets in."""
    (found,) = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
    return {r["CidrIp"] for p in found["IpPermissions"] for r in p["IpRanges"]}


def allowed_by_the_readme() -> dict[str, set[str]]:
    """Instance profile -> what the policies in ``cluster/README.md`` let its machines do."""
    block = "^cat > {}.json <<END\n(.*?)^END"
    found = {}
    for name in ("store", "machines"):
        (policy,) = re.findall(block.format(name), files.readme(), flags=re.M | re.S)
        statements = json.loads(policy)["Statement"]
        assert all(statement["Effect"] == "Allow" for statement in statements)
        found[name] = {action for statement in statements for action in statement["Action"]}
    return dict(zip(PROFILES, (found["store"] | found["machines"], found["store"]), strict=True))


@contextmanager
def asked_for() -> Iterator[dict[str, set[str]]]:
    """Instance profile -> what machines with its credentials ask AWS to do, from now on."""
    from moto.core.responses import BaseResponse
    from moto.s3.responses import S3Response

    found: dict[str, set[str]] = defaultdict(set)

    def note(response: Any, service: str, action: object) -> None:
        key = re.search(r"Credential=([\w-]+)/", response.headers.get("Authorization", ""))
        if key is not None and key[1] in PROFILES:
            found[key[1]].add(f"{service}:{action}")

    normal = BaseResponse._authenticate_and_authorize_normal_action
    s3 = S3Response._authenticate_and_authorize_s3_action

    def noted_normal(self: Any, *args: Any, **kwargs: Any) -> None:
        note(self, self.service_name, self._get_action())
        normal(self, *args, **kwargs)

    def noted_s3(self: Any, *args: Any, **kwargs: Any) -> None:
        note(self, "s3", self.data.get("Action"))
        s3(self, *args, **kwargs)

    BaseResponse._authenticate_and_authorize_normal_action = noted_normal
    S3Response._authenticate_and_authorize_s3_action = noted_s3
    try:
        yield found
    finally:
        BaseResponse._authenticate_and_authorize_normal_action = normal
        S3Response._authenticate_and_authorize_s3_action = s3


@contextmanager
def no_capacity() -> Iterator[list[float]]:
    """EC2 has no machine to give; yields the times at which it said so."""
    from moto.ec2.exceptions import EC2ClientError
    from moto.ec2.models.instances import InstanceBackend

    refused: list[float] = []

    def refuse(*_: Any, **__: Any) -> None:
        refused.append(time.monotonic())
        raise EC2ClientError(
            "InsufficientInstanceCapacity", "We currently do not have sufficient capacity."
        )

    real = InstanceBackend.run_instances
    InstanceBackend.run_instances = refuse
    try:
        yield refused
    finally:
        InstanceBackend.run_instances = real


class Cloud:
    """Boots a machine for each instance that runs and powers it off when the instance ends; use it
    as a context manager."""

    def __init__(self, network: Network, endpoint: str, region: str) -> None:
        self._network = network
        self._endpoint, self._region = endpoint, region
        self.ec2 = client("ec2", region, endpoint)
        self.machines: dict[str, Machine] = {}
        self._seen: set[str] = set()
        self._off: set[str] = set()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Cloud:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def instances(self, kind: str | None = None, state: str | None = None) -> list[dict[str, Any]]:
        """All instances there ever were, oldest first; of one node type, in one state."""
        return [
            i
            for i in _instances(self.ec2)
            if kind in (None, _tags(i).get("ray-user-node-type"))
            and state in (None, i["State"]["Name"])
        ]

    def running(self, kind: str) -> list[str]:
        """Ids of those of a node type that run and have booted."""
        ids = [i["InstanceId"] for i in self.instances(kind, "running")]
        return [i for i in ids if i in self.machines]

    def reclaim(self, instance: str) -> None:
        """AWS takes a spot instance back: its power goes, without notice."""
        with self._lock:
            self._power_off(instance)
            self.ec2.terminate_instances(InstanceIds=[instance])

    def _watch(self) -> None:
        ec2 = client("ec2", self._region, self._endpoint)
        while not self._over.wait(0.3) and self._error is None:
            try:
                with self._lock:
                    for instance in _instances(ec2):
                        self._follow(ec2, instance)
            except Exception as error:
                self._error = error

    def _follow(self, ec2: Any, instance: dict[str, Any]) -> None:
        name, state = instance["InstanceId"], instance["State"]["Name"]
        if name not in self._seen:
            # At first sight moto may not have given it its profile yet.
            self._seen.add(name)
        elif state == "running" and name not in self.machines:
            keys = ec2.describe_key_pairs(KeyNames=[instance["KeyName"]], IncludePublicKey=True)
            profile = instance.get("IamInstanceProfile", {}).get("Arn", "").split("/")[-1]
            self.machines[name] = self._network.boot(
                "ip-" + instance["PrivateIpAddress"].replace(".", "-"),
                instance["PrivateIpAddress"],
                public=instance.get("PublicIpAddress", ""),
                keys=keys["KeyPairs"][0]["PublicKey"],
                first=_FIRST.format(
                    address=metadata_service.ADDRESS,
                    python=sys.executable,
                    service=Path(metadata_service.__file__),
                    profile=profile,
                ),
            )
        elif state in ("shutting-down", "terminated") and name in self.machines:
            self._power_off(name)

    def _power_off(self, name: str) -> None:
        if name not in self._off:
            self._off.add(name)
            self.machines[name].power_off()


def _instances(ec2: Any) -> list[dict[str, Any]]:
    found = [i for r in ec2.describe_instances()["Reservations"] for i in r["Instances"]]
    return sorted(found, key=lambda i: i["LaunchTime"])


def _tags(instance: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in instance.get("Tags", [])}
