"""Each file passes the check of the tool that will read it; nothing here needs a network."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import jsonschema
import pytest

from tests.cluster import files

_DATA = Path(__file__).parent / "data"
SCHEMA = json.loads((_DATA / "rayjob.schema.json").read_text())
GCP_INSTANCE = json.loads((_DATA / "gcp_instance.schema.json").read_text())


@pytest.mark.parametrize("name", files.RAY_UP)
def test_ray_accepts_the_file(name: str) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(files.load(name))
    validate_config(config)
    assert config["max_workers"] >= 1


def test_ray_refuses_an_unknown_field() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    with pytest.raises(jsonschema.ValidationError):
        validate_config(prepare_config({**files.load("aws"), "worker_count": 3}))


@pytest.mark.parametrize("kind", ["head", "gpu_spot"])
def test_ec2_accepts_what_ray_will_ask_for(kind: str) -> None:
    errors = _ec2_errors(files.load("aws")["available_node_types"][kind]["node_config"])
    assert errors == ""


def test_ec2_refuses_a_misspelt_setting() -> None:
    node = files.load("aws")["available_node_types"]["head"]["node_config"]
    assert "HttpToken" in _ec2_errors({**node, "MetadataOptions": {"HttpToken": "required"}})


def _ec2_errors(node: dict) -> str:
    """What botocore's model of ``RunInstances`` says of it."""
    import botocore.session
    from botocore.validate import ParamValidator

    model = botocore.session.get_session().get_service_model("ec2")
    shape = model.operation_model("RunInstances").input_shape
    found = ParamValidator().validate({**node, "MinCount": 1, "MaxCount": 1}, shape)
    report: str = found.generate_report()
    return report


@pytest.mark.parametrize("kind", ["head", "gpu_spot"])
def test_google_accepts_what_ray_will_ask_for(kind: str) -> None:
    node = files.load("gcp")["available_node_types"][kind]["node_config"]
    jsonschema.Draft202012Validator(GCP_INSTANCE).validate(node)


@pytest.mark.parametrize(
    "wrong",
    [
        {"shieldedInstance": {}},
        {"scheduling": {"provisioningModel": "spot"}},
        {"disks": [{"initializeParams": {"diskSize": 100}}]},
    ],
)
def test_google_refuses_a_misspelt_setting(wrong: dict) -> None:
    node = files.load("gcp")["available_node_types"]["gpu_spot"]["node_config"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(GCP_INSTANCE).validate({**node, **wrong})


def test_kuberay_accepts_the_file() -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(files.load("kuberay"))


def test_kuberay_refuses_a_misspelt_setting() -> None:
    wrong = copy.deepcopy(files.load("kuberay"))
    wrong["spec"]["rayClusterSpec"]["authOption"] = {"mode": "token"}
    with pytest.raises(jsonschema.ValidationError, match="authOption"):
        jsonschema.Draft202012Validator(SCHEMA).validate(wrong)


def test_skypilot_accepts_the_file() -> None:
    sky = pytest.importorskip("sky", reason="SkyPilot is not installed (pip install skypilot)")
    task = sky.Task.from_yaml(str(files.CLUSTER / "runpod.yaml"))
    assert task.num_nodes == 1
