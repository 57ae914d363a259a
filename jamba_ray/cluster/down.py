"""Ends a cluster of ``ray up`` from its own head, once no job has run for a while.

``python -m jamba_ray.cluster.down --after 600``. A sweep with ``cluster.down_after`` starts it when
it begins, so that the cluster also ends where the sweep is killed.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jamba_ray.cluster.nodes import BOOTSTRAP
from jamba_ray.cluster.ray_private import NODE_PROVIDER
from jamba_ray.config.submit import DEFAULT_ADDRESS
from jamba_ray.config.yaml_text import YamlTextError, read_yaml
from jamba_ray.errors import ConfigError
from jamba_ray.runs.file_writes import open_log

FOLDER = Path(".jamba_ray")
_LOOK_S = 15.0
_CLOUDS = ("aws", "gcp")
"""Whose machines are deleted; they cost money while they are there."""


def require(down_after: float | None, store: str, cluster: str | None) -> None:
    """Refuses ``cluster.down_after`` where nothing can be ended, or where results would be lost.

    Raises:
        ConfigError: With the way out.
    """
    if down_after is None:
        return
    kind = provider_of(Path.home() / BOOTSTRAP) if cluster is not None else None
    if kind not in (*_CLOUDS, "local"):
        raise ConfigError(
            [
                "`cluster.down_after` needs the head of a cluster that `ray up` made on AWS, "
                "Google Cloud or machines of your own, but there is none here "
                f"({BOOTSTRAP} is missing or of another kind). Drop it: a RayJob and a Slurm job "
                "end with their sweep, and "
                "RunPod has `sky launch --down`."
            ]
        )
    if kind in _CLOUDS and "://" not in store:
        raise ConfigError(
            [
                f"`cluster.down_after` deletes the head with its disk, but `store` is {store!r} on "
                "it. Give a bucket: `store=s3://bucket/prefix` or gs://."
            ]
        )


def provider_of(bootstrap: Path) -> str | None:
    """Returns ``provider.type`` of the file that ``ray up`` leaves on a head; None: no file."""
    try:
        return str(read_yaml(bootstrap)["provider"]["type"])
    except (OSError, TypeError, KeyError, YamlTextError):
        return None


def arm(down_after: float) -> None:
    """Starts the process that ends the cluster; one that watches already stays the only one."""
    folder = Path.home() / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    with open_log(folder / "down.log") as log:
        subprocess.Popen(
            [sys.executable, "-m", "jamba_ray.cluster.down", f"--after={60 * down_after}"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=Path.home(),  # a job's own folder is deleted
            start_new_session=True,  # the end of a job ends its process group
        )


class Idle:
    """Says when nothing has run for a while; a cluster that does not answer counts as busy."""

    def __init__(self, after_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._after_s, self._clock = after_s, clock
        self._since = clock()

    def is_over(self, running: int | None) -> bool:
        """Takes how many jobs run now (None: unknown), and returns whether the time is up."""
        now = self._clock()
        if running is None or running > 0:
            self._since = now
        return now - self._since >= self._after_s


def running_jobs(address: str) -> int | None:
    """Counts the jobs and drivers that run or wait; None: the head does not answer."""
    from ray.job_submission import JobSubmissionClient

    try:
        jobs = JobSubmissionClient(address).list_jobs()
    except Exception:
        return None
    return sum(not job.status.is_terminal() for job in jobs)


def end_cluster(config: Mapping[str, Any], say: Callable[[str], object]) -> None:
    """Ends Ray on this head, and deletes the machines of a cloud, this one last."""
    # Workers of machines of one's own end when they miss their head, within a minute or so.
    subprocess.run([str(Path(sys.executable).with_name("ray")), "stop"], timeout=120, check=False)
    if config["provider"]["type"] not in _CLOUDS:
        return
    provider = NODE_PROVIDER.require()(config["provider"], config["cluster_name"])
    heads = provider.non_terminated_nodes({"ray-node-type": "head"})
    workers = [node for node in provider.non_terminated_nodes({}) if node not in heads]
    for nodes in (workers, heads):
        if nodes:
            say(f"deleting {', '.join(nodes)}")
            provider.terminate_nodes(nodes)


def main(argv: list[str]) -> int:
    """Waits until no job has run for ``--after`` seconds, then ends the cluster."""
    parser = argparse.ArgumentParser(prog="jamba_ray.cluster.down")
    parser.add_argument("--after", type=float, required=True)
    parser.add_argument("--every", type=float, default=_LOOK_S)
    options = parser.parse_args(argv)

    def say(sentence: str) -> None:
        print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {sentence}", flush=True)

    with (Path.home() / FOLDER / "down.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("another process watches this cluster already; its time holds.")
            return 0
        config = read_yaml(Path.home() / BOOTSTRAP)
        address = os.environ.get("RAY_API_SERVER_ADDRESS", DEFAULT_ADDRESS)
        say(f"ends the cluster after {options.after:g} s without a job.")
        idle = Idle(options.after)
        while not idle.is_over(running_jobs(address)):
            time.sleep(options.every)
        say(f"no job for {options.after:g} s: ending the cluster.")
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                try:
                    end_cluster(config, say)
                    return 0
                except Exception as error:  # the cloud refuses: it costs money, so ask again
                    say(f"not ended yet ({type(error).__name__}: {error}); trying again.")
            time.sleep(60.0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
