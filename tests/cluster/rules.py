"""The security rules and pinned versions that the files of ``cluster/`` keep.

A rule reads the files and yields a sentence for each place that breaks it. Nothing here touches a
disk, so a test can break a file and see that the rule notices (``test_rules.py``).
"""

from __future__ import annotations

import ast
import functools
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import yaml
from packaging.requirements import Requirement
from packaging.version import Version

Texts = Mapping[str, str]
"""File name -> its text: all of ``cluster/``, ``sweep.yml`` and ``pyproject.toml``."""
Rule = Callable[[Texts], Iterator[str]]
RULES: dict[str, Rule] = {}
RAY_UP = ("local.yaml", "aws.yaml", "gcp.yaml")
CLOUDS = ("aws.yaml", "gcp.yaml")


def rule(function: Rule) -> Rule:
    """Enter a rule into RULES."""
    RULES[function.__name__] = function
    return function


def broken(texts: Texts) -> dict[str, list[str]]:
    """Rule -> what breaks it, for rules that are broken."""
    found = {name: list(check(texts)) for name, check in RULES.items()}
    return {name: sentences for name, sentences in found.items() if sentences}


def starts(config: Mapping[str, Any]) -> dict[str, str]:
    """The lines that start Ray on the head and on workers."""
    lines = {}
    for node in ("head", "worker"):
        (lines[node],) = [c for c in config[f"{node}_start_ray_commands"] if "ray start" in c]
    return lines


@rule
def dashboard_on_loopback(texts: Texts) -> Iterator[str]:
    for name in RAY_UP:
        for node, line in starts(load(texts, name)).items():
            hosts = re.findall(r"--dashboard-host[= ](\S+)", line)
            if hosts != (["127.0.0.1"] if node == "head" else []):
                yield f"{name}: the {node}'s dashboard listens on {hosts or 'what Ray chooses'}"


@rule
def token_authentication(texts: Texts) -> Iterator[str]:
    for name in RAY_UP:
        config = load(texts, name)
        for node, line in starts(config).items():
            if "export RAY_AUTH_MODE=token " not in line.partition("ray start")[0]:
                yield f"{name}: Ray starts without token authentication on the {node}"
        if "RAY_AUTH_MODE=token" not in _setup(config).partition("export PATH=")[2]:
            yield f"{name}: a login shell on a node does not use the token"
    if load(texts, "runpod.yaml")["envs"].get("RAY_AUTH_MODE") != "token":
        yield "runpod.yaml: Ray starts without token authentication"
    if ray_cluster(texts).get("authOptions") != {"mode": "token"}:
        yield "kuberay.yaml: the operator makes no token"
    if not re.search(r"^ENV .*\bRAY_AUTH_MODE=token\b", texts["Dockerfile"], flags=re.M):
        yield "Dockerfile: Ray starts without token authentication"


@rule
def token_file_is_private(texts: Texts) -> Iterator[str]:
    for name in RAY_UP:
        config = load(texts, name)
        if config["file_mounts"].get("~/.ray/auth_token") != "~/.ray/auth_token":
            yield f"{name}: the token does not come from the operator's machine"
        first = config["setup_commands"][0]
        for needed in ("umask 077", "chmod 700 ~/.ray", "chmod 600 ~/.ray/auth_token"):
            if needed not in first:
                yield f"{name}: the first command on a node lacks `{needed}`"


@rule
def what_ray_writes_is_private(texts: Texts) -> Iterator[str]:
    for name in RAY_UP:
        for node, line in starts(load(texts, name)).items():
            before = line.partition("ray start")[0]
            if "umask 077;" not in before:
                yield f"{name}: others may read what Ray writes on the {node}"
            if "ulimit -c 0;" not in before:
                yield f"{name}: a core file of the {node} holds the token"


@rule
def usage_statistics_are_off(texts: Texts) -> Iterator[str]:
    for name in RAY_UP:
        for node, line in starts(load(texts, name)).items():
            if "RAY_USAGE_STATS_ENABLED=0" not in line.partition("ray start")[0]:
                yield f"{name}: the {node} sends usage statistics"
    group = ray_cluster(texts)
    for pod in (group["headGroupSpec"], *group["workerGroupSpecs"]):
        for container in pod["template"]["spec"]["containers"]:
            if {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"} not in container["env"]:
                yield f"kuberay.yaml: {container['name']} sends usage statistics"
    if load(texts, "runpod.yaml")["envs"].get("RAY_USAGE_STATS_ENABLED") != "0":
        yield "runpod.yaml: usage statistics are sent"
    if "RAY_USAGE_STATS_ENABLED=0" not in texts["Dockerfile"]:
        yield "Dockerfile: usage statistics are sent"


@rule
def nothing_is_open_to_the_world(texts: Texts) -> Iterator[str]:
    for name, text in texts.items():
        for line in text.splitlines():
            code = line.partition("#")[0]
            if "0.0.0.0/0" in code or "::/0" in code:
                yield f"{name}: {code.strip()} lets in everybody"
            # In Kubernetes the token guards the dashboard and the Service stays inside. A server's
            # container has a network of its own, and wants a token.
            elif "0.0.0.0" in code and not (
                (
                    name in ("kuberay.yaml", "kubernetes/raycluster.yaml")
                    and code.split(":")[0].strip() == "dashboard-host"
                )
                or (name == "serve.Dockerfile" and "token_file=" in code)
            ):
                yield f"{name}: {code.strip()} listens on all addresses"
    if ray_cluster(texts)["headGroupSpec"].get("serviceType") != "ClusterIP":
        yield "kuberay.yaml: the head's Service is reached from outside"
    if "ports" in load(texts, "runpod.yaml")["resources"]:
        yield "runpod.yaml: a port of the Pod is open to the world"


@rule
def no_secret_or_registry(texts: Texts) -> Iterator[str]:
    secret = re.compile(
        r"AKIA[0-9A-Z]{16}|-----BEGIN|password|aws_secret|://[^/\s]+:[^/\s]+@|--index-url|--extra-index|"
        r"files\.pythonhosted|pypi\."
    )
    for name, text in texts.items():
        if found := secret.search(text):
            yield f"{name}: {found[0]}"


@rule
def one_python_ray_and_uv(texts: Texts) -> Iterator[str]:
    (image,) = re.findall(r"^FROM python:(\S+?)-", texts["Dockerfile"], flags=re.M)
    asked = Requirement(f"python{_project(texts)['requires-python']}").specifier
    if Version(image) not in asked:
        yield f"Dockerfile: Python {image} is not {asked}"
    uv: dict[str, str] = {}
    for name in (*RAY_UP, "runpod.yaml"):
        pythons = re.findall(r"--python (\d\S*)", texts[name])
        if pythons != [image]:
            yield f"{name}: Python {pythons}, in the Dockerfile {image}"
        found = re.findall(r"uv==([\d.]+)", texts[name])
        if len(found) != 1 or uv.setdefault("uv", found[0]) != found[0]:
            yield f"{name}: uv {found}, elsewhere {uv}"
    ray = _locked(texts).get("ray")
    if (named := ray_cluster(texts)["rayVersion"]) != ray:
        yield f"kuberay.yaml: Ray {named}, in the lock file {ray}"


@rule
def the_lock_file_is_what_the_project_asks_for(texts: Texts) -> Iterator[str]:
    project, locked = _project(texts), _locked(texts)
    extras = project["optional-dependencies"]
    on_nodes, instead = _constant(texts, "EXTRAS"), _constant(texts, "INSTEAD")
    trackers_and_families = {"cluster", "wandb", "mlflow", "xgboost", "catboost", "sklearn"}
    if missing := sorted(trackers_and_families - set(on_nodes)):
        yield f"lock.py: nodes lack the extras {', '.join(missing)}"
    for line in project["dependencies"] + [one for extra in on_nodes for one in extras[extra]]:
        asked = Requirement(line)
        name = instead.get(asked.name, asked.name)
        if (found := locked.get(name)) is None or found not in asked.specifier:
            yield f"requirements.lock: {name} {found}, the project asks for {line}"
    # What a desk needs and a node does not; others may come with what a node has.
    for extra in ("dashboard", "tensorboard", "export"):
        for name in (Requirement(line).name for line in extras[extra]):
            if name in locked:
                yield f"requirements.lock: {name} is of an extra that no node needs"
    for line in texts["requirements.lock"].splitlines():
        if line and not line.startswith("#") and not re.fullmatch(r"[\w.-]+==[\w.]+", line):
            yield f"requirements.lock: `{line}` is no single version"


@rule
def environments_come_from_the_lock_file(texts: Texts) -> Iterator[str]:
    for name in RAY_UP:
        config = load(texts, name)
        mounted = config["file_mounts"].get("~/jamba_ray-env/requirements.lock")
        if mounted != "cluster/requirements.lock":
            yield f"{name}: the lock file is not copied to the nodes"
        if "-r ~/jamba_ray-env/requirements.lock" not in _setup(config):
            yield f"{name}: the environment is not installed from the lock file"
    if "-r cluster/requirements.lock" not in load(texts, "runpod.yaml")["setup"]:
        yield "runpod.yaml: the environment is not installed from the lock file"
    if "pip install --no-cache-dir -r /tmp/requirements.lock" not in texts["Dockerfile"]:
        yield "Dockerfile: the environment is not installed from the lock file"


@rule
def what_is_installed_has_a_version(texts: Texts) -> Iterator[str]:
    commands = {name: [_setup(load(texts, name))] for name in RAY_UP}
    commands["runpod.yaml"] = [load(texts, "runpod.yaml")["setup"]]
    commands["Dockerfile"] = [texts["Dockerfile"]]
    for name, scripts in commands.items():
        for words in re.findall(r"pip install ([^&|)\n]*)", "\n".join(scripts)):
            for package in re.sub(r"(--python|-r) \S+", "", words).split():
                # A path is our own package.
                if not package.startswith("-") and "==" not in package and "/" not in package:
                    yield f"{name}: `pip install {package}` takes whatever version there is"


@rule
def trials_never_share_the_head(texts: Texts) -> Iterator[str]:
    for name in CLOUDS:
        config = load(texts, name)
        head = config["available_node_types"][config["head_node_type"]]
        if head.get("resources") != {"CPU": 0}:
            yield f"{name}: the head has {head.get('resources', 'what its machine has')}"
    if ray_cluster(texts)["headGroupSpec"]["rayStartParams"].get("num-cpus") != "0":
        yield "kuberay.yaml: the head has CPUs for trials"


@rule
def every_file_has_its_commands_in_the_readme(texts: Texts) -> Iterator[str]:
    for name in texts:
        # Of a folder the README names the folder.
        named = f"cluster/{name.partition('/')[0]}"
        if name.endswith((".yaml", ".sh")) and named not in texts["README.md"]:
            yield f"README.md: no word about {name}"


@rule
def the_workflow_has_a_gate_and_runs_nobodys_input(texts: Texts) -> Iterator[str]:
    workflow = load(texts, "sweep.yml")
    if workflow.get("permissions") != {"contents": "read"}:
        yield "sweep.yml: it may do more than read"
    scripts = [step["run"] for step in workflow["jobs"]["sweep"]["steps"] if "run" in step]
    # What a person typed reaches a shell as a variable, never as part of the script.
    yield from (f"sweep.yml: an expression in `{s}`" for s in scripts if "${{" in s)
    submits = "\n".join(script for script in scripts if "jamba_ray.submit" in script)
    for needed in ("submit.champion=$CHAMPION", "submit.margin=$MARGIN"):
        if needed not in submits:
            yield f"sweep.yml: no gate ({needed})"


def load(texts: Texts, name: str) -> dict[str, Any]:
    return _parsed(texts[name])


@functools.cache
def _parsed(text: str) -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load(text)
    return parsed


def _setup(config: Mapping[str, Any]) -> str:
    return "\n".join(config["setup_commands"] + config.get("head_setup_commands", []))


def ray_cluster(texts: Texts) -> dict[str, Any]:
    cluster: dict[str, Any] = load(texts, "kuberay.yaml")["spec"]["rayClusterSpec"]
    return cluster


def _project(texts: Texts) -> dict[str, Any]:
    return tomllib.loads(texts["pyproject.toml"])["project"]


def _constant(texts: Texts, name: str) -> Any:
    """A constant of ``cluster/lock.py``."""
    (found,) = [
        node.value
        for node in ast.parse(texts["lock.py"]).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name
    ]
    return ast.literal_eval(found)


def _locked(texts: Texts) -> dict[str, str]:
    lines = texts["requirements.lock"].splitlines()
    return dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))
