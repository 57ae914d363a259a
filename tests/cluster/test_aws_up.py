"""`ray up cluster/aws.yaml` as a command, in an account that is mocked (moto) with instances that
boot: spot workers from 0, one reclaimed in mid-sweep, no capacity for a while, `ray down`.

pytest -m cluster tests/cluster/test_aws_up.py
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tests.checkpoints.s3_server import s3_server
from tests.cluster import mock_ec2, operating
from tests.cluster.machines import Network, why_impossible
from tests.cluster.mock_ec2 import Cloud
from tests.cluster.operating import IMPATIENT, SWEEP, wait_for

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(900),
    pytest.mark.skipif(why_impossible() is not None, reason=why_impossible() or "possible"),
]

# Nothing here has a GPU: runners are planned for one CPU of the workers that there can be.
RUNNERS_ON_CPUS = """JAMBA_RAY_MAX_RESOURCES='{"CPU": 1}'"""
NO_CAPACITY_S = 15.0


@contextmanager
def account(tmp_path: Path) -> Iterator[tuple[Network, Cloud, str, Path, str]]:
    """(network, cloud, endpoint, the file as its operator completed it, security group)."""
    with Network(tmp_path, mock_ec2.VPC) as network, s3_server(network.gateway) as (endpoint, _):
        config, group = mock_ec2.prepared_config(endpoint)
        operating.with_this_environment(config)
        # Credentials come from the instance profile.
        variables = f"AWS_ENDPOINT_URL={endpoint} {IMPATIENT} {RUNNERS_ON_CPUS}"
        operating.with_variables(config, variables)
        path = tmp_path / "aws.yaml"
        path.write_text(yaml.safe_dump(config))
        with Cloud(network, endpoint, config["provider"]["region"]) as cloud:
            yield network, cloud, endpoint, path, group


def test_a_sweep_on_spot_workers(tmp_path: Path) -> None:
    with (
        account(tmp_path) as (network, cloud, endpoint, config, group),
        mock_ec2.asked_for() as actions,
    ):
        environment = operating.shell(tmp_path / "home") | {"AWS_ENDPOINT_URL": endpoint}
        try:
            operating.up(config, environment)
            (head,) = cloud.instances()
            mock_ec2.is_what_the_file_says(cloud.ec2, head, "head", group)
            with operating.dashboard(config, environment) as address:
                store = ["store=s3://bucket/sweeps", f"store_endpoint={endpoint}"]
                said = operating.doctor(address, *store, environment=environment)
                assert "nodes: 1 alive" in said
                arguments = [
                    *(*SWEEP, *store, f"submit.address={address}", "submit.key=spot"),
                    f"submit.results={tmp_path / 'results'}",
                ]
                log = tmp_path / "submit.log"
                with operating.submitted(log, *arguments, environment=environment) as submit:
                    try:
                        _reclaim_a_worker_in_the_middle(cloud, group, submit, log)
                        code = submit.wait(400)
                    except AssertionError as error:
                        raise AssertionError(f"{error}\n{log.read_text()}") from error
            assert code == 0, log.read_text()
            assert "a machine is there" in log.read_text()
            _nothing_is_lost(cloud, tmp_path / "results" / "spot", endpoint)
            _a_gpu_is_there_for_who_asks(network, cloud, head["InstanceId"])
        finally:
            down = operating.ray("down", "-y", str(config), environment=environment)
        assert down.returncode == 0, down.stdout + down.stderr
        print({profile: sorted(found) for profile, found in actions.items()})
        for profile, allowed in mock_ec2.allowed_by_the_readme().items():
            assert "s3:PutObject" in actions[profile]
            assert actions[profile] <= allowed, profile
        wait_for("the instances' end", lambda: _states(cloud) == {"terminated"}, 30)
        assert mock_ec2.opened_to(cloud.ec2, group) == {mock_ec2.HOME_CIDR}


def _reclaim_a_worker_in_the_middle(
    cloud: Cloud, group: str, submit: subprocess.Popen[bytes], log: Path
) -> None:
    waited = wait_for("the first worker", lambda: cloud.running("gpu_spot"), 120)
    print(f"a worker was launched {waited:.1f} s after the sweep was submitted")
    (first,) = cloud.instances("gpu_spot")
    mock_ec2.is_what_the_file_says(cloud.ec2, first, "gpu_spot", group)
    waited = operating.first_trial(submit, log, 240)
    print(f"a trial was finished {waited:.1f} s later")
    subject = first["InstanceId"]
    machine = cloud.machines[subject]
    assert operating.trains(machine), machine.processes()
    with mock_ec2.no_capacity() as refused:
        begun = time.monotonic()
        cloud.reclaim(subject)
        wait_for("a refused launch", lambda: refused, 120)
        print(f"a new worker was asked for after {refused[0] - begun:.1f} s")
        time.sleep(NO_CAPACITY_S)
    wait_for("a replacement", lambda: cloud.running("gpu_spot"), 120)
    assert "no machine has a place for a runner (1 CPU)" in log.read_text()
    print(f"replaced {time.monotonic() - begun:.1f} s after it was reclaimed")


def _nothing_is_lost(cloud: Cloud, results: Path, endpoint: str) -> None:
    summary = json.loads((results / "summary.json").read_text())
    assert summary["status"] == "ok"
    assert summary["trials"] == {"complete": 6, "pruned": 0, "failed": 0, "running": 0}
    first, *more = cloud.instances("gpu_spot")
    assert first["State"]["Name"] == "terminated"
    assert len(more) == 1, "one runner needs one worker at a time"
    s3 = mock_ec2.client("s3", "us-east-1", endpoint)
    stored = s3.list_objects_v2(Bucket="bucket", Prefix="sweeps/spot/")["Contents"]
    names = {found["Key"].removeprefix("sweeps/spot/") for found in stored}
    assert any(name.startswith("study/") for name in names)
    assert {"summary.json", "trials.parquet", "best/manifest.json"} <= names


def _a_gpu_is_there_for_who_asks(network: Network, cloud: Cloud, head: str) -> None:
    """What the file says a worker has, as Ray knows it; none of it on the head."""
    script = (
        "import ray; ray.init('auto', logging_level='ERROR'); "
        "where = ray.remote(num_gpus=1, num_cpus=8)(lambda: ray.util.get_node_ip_address()); "
        "print('ran on', ray.get(where.remote(), timeout=120))"
    )
    (worker,) = cloud.instances("gpu_spot", "running")
    said = operating.on_node(network, cloud.machines[head], script)
    assert f"ran on {worker['PrivateIpAddress']}" in said


def _states(cloud: Cloud) -> set[str]:
    return {i["State"]["Name"] for i in cloud.instances()}
