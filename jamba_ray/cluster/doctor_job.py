"""Asks every node of a cluster for its facts, as a job of ``jamba_ray.doctor``.

``python -m jamba_ray.cluster.doctor_job '<JSON>'``
"""

from __future__ import annotations

import json
import logging
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from jamba_ray.cluster.node_facts import facts

MARK = "@jamba_ray:facts "
_WAIT_S = 120.0


def main(question: str) -> int:
    """Prints one line: the facts of the head, which runs the drivers, and of every node."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    asked = json.loads(question)
    ray.init(log_to_driver=False, logging_level=logging.ERROR)
    store, endpoint, paths = asked["store"], asked["endpoint"], asked["data_paths"]
    marker = None
    if "://" not in store:
        marker = f".doctor-{uuid.uuid4().hex}"
        store = str(Path(store).resolve())
        Path(store).mkdir(parents=True, exist_ok=True)
        (Path(store) / marker).write_bytes(b"1")
    ask: Any = ray.remote(facts)
    found = []
    try:
        for node in ray.nodes():  # type: ignore[no-untyped-call]
            if not node["Alive"]:
                continue
            # Rows are read by the driver alone, which is the head.
            is_head = node["NodeID"] == ray.get_runtime_context().get_node_id()
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            asking = ask.options(num_cpus=0, scheduling_strategy=there)
            # Twice: the first call starts a process there, whose time must not count as skew.
            ray.get(asking.remote(store, endpoint, []), timeout=_WAIT_S)
            before = time.time()
            one = ray.get(
                asking.remote(store, endpoint, paths if is_head else [], marker), timeout=_WAIT_S
            )
            found.append({"facts": one, "clock_of_head_s": (before + time.time()) / 2})
    finally:
        if marker is not None:
            (Path(store) / marker).unlink(missing_ok=True)
    print(MARK + json.dumps(found), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
