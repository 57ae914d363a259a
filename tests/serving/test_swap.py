"""Models that take the place of others while requests come: none fails, each names its version."""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import threading
from collections import Counter

import numpy as np
import onnx
import pytest

from tests.serving.running import Running, serving
from tests.serving.test_server import objects


def broken(path, to, *, how: str):
    """A file of the same columns whose scores are wrong: all 1, or none for rows it never saw."""
    model = onnx.load(path)
    kept = [one for one in model.metadata_props if one.key != "jamba_ray.reference"]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    (score,) = [n for n in model.graph.node if n.name == "/score"]
    before = score.input[0]
    if how == "all 1":
        one = onnx.helper.make_node("Sqrt", [before], ["/s1"])
        two = onnx.helper.make_node("Sqrt", ["/s1"], ["/s2"])
        three = onnx.helper.make_node("Sqrt", ["/s2"], ["/s3"])
        added, score.input[0] = [one, two, three], "/s3"
    else:  # not a number where the score is above 0.6
        half = onnx.numpy_helper.from_array(np.array(0.6), "/half")
        model.graph.initializer.append(half)
        added = [
            onnx.helper.make_node("Sub", ["/half", before], ["/d"]),
            onnx.helper.make_node("Sqrt", ["/d"], ["/s3"]),
        ]
        score.input[0] = "/s3"
    at = list(model.graph.node).index(score)
    for i, node in enumerate(added):
        model.graph.node.insert(at + i, node)
    to.write_bytes(model.SerializeToString())
    return to


class Load:
    """Threads that send requests of one row, each with a key of its own, until they are ended."""

    def __init__(self, server: Running, threads: int = 3) -> None:
        self._server, self._ended = server, threading.Event()
        self.answers: Counter[tuple[int, str]] = Counter()
        self.failed: list[str] = []
        self._lock = threading.Lock()
        self._rows = [json.dumps(row).encode() for row in objects(300)]
        self._threads = [threading.Thread(target=self._send, args=(i,)) for i in range(threads)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(30)

    def _send(self, i: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=30)
        n = 0
        while not self._ended.is_set():
            n += 1
            try:
                status, headers, body = self._server.ask_on(
                    connection, "POST", "/predict", self._rows[n % 300], x_key=f"{i}-{n}"
                )
                assert json.loads(body)["version"] == headers["x-model-version"]
            except Exception as error:
                self.failed.append(f"{type(error).__name__}: {error}")
                connection.close()
                continue
            with self._lock:
                self.answers[status, headers.get("x-model-version", "")] += 1
        connection.close()

    @property
    def versions(self) -> set[str]:
        with self._lock:
            return {version for _, version in self.answers}

    def check(self) -> None:
        assert self.failed == []
        assert {status for status, _ in self.answers} == {200}


def test_a_swap_under_load_fails_no_request(exports, tmp_path):
    path = tmp_path / "threats.onnx"
    shutil.copy(exports("mlp"), path)
    with serving(tmp_path / "run", model=str(path)) as server, Load(server) as load:
        server.wait_for(lambda: sum(load.answers.values()) > 50)
        (first,) = load.versions
        path.write_bytes(exports("lightgbm").read_bytes())
        server.signal(signal.SIGHUP)
        server.wait_for(lambda: len(load.versions) == 2)
        path.write_bytes(b"half a file")
        server.signal(signal.SIGHUP)
        server.wait_for(lambda: any(one["event"] == "not_swapped" for one in server.logged))
        done = sum(load.answers.values())
        server.wait_for(lambda: sum(load.answers.values()) > done + 50)
        assert server.metric("jamba_ray_swap_failures_total") == 1
        assert server.ask("GET", "/ready")[0] == 200
    load.check()
    assert first in load.versions


@pytest.mark.slow
@pytest.mark.parametrize(("how", "why"), [("all 1", "scores depart"), ("nan", "failed on")])
def test_a_canary_that_goes_wrong_is_taken_back_under_load(exports, tmp_path, how, why):
    canary = broken(exports("mlp"), tmp_path / "worse.onnx", how=how)
    with (
        serving(
            tmp_path / "run", model=str(exports("mlp")), canary=str(canary), share=0.5
        ) as server,
        Load(server) as load,
    ):
        server.wait_for(lambda: any(one["event"] == "rolled_back" for one in server.logged))
        before = load.answers.copy()
        server.wait_for(lambda: sum(load.answers.values()) > sum(before.values()) + 30)
        server.signal(signal.SIGHUP)  # the same file does not come back
        model = json.loads(server.ask("GET", "/model")[2])
        assert why in model["rolled_back"]["why"]
        assert "canary" not in model
        assert server.metric("jamba_ray_rollbacks_total") == 1
    load.check()
    assert model["rolled_back"]["version"].startswith("worse-")


@pytest.mark.slow
def test_a_good_canary_stays_and_a_key_keeps_its_version(exports, tmp_path):
    with serving(
        tmp_path / "run",
        model=str(exports("mlp")),
        canary=str(exports("attention")),
        share=0.5,
        key="service",
        rollback={"distance": 1.0},
        shadow=str(exports("lightgbm")),
    ) as server:
        rows = [{**row, "service": f"s{i % 40}"} for i, row in enumerate(objects(200))]
        _, found = server.predict(rows)
        by_key = {}
        for row, version in zip(rows, found["version"], strict=True):
            by_key.setdefault(row["service"], set()).add(version.partition("-")[0])
        assert {len(versions) for versions in by_key.values()} == {1}
        assert set.union(*by_key.values()) == {"mlp", "attention"}
        alone = [server.predict(row)[1] for row in rows[:40]]
        assert [one["version"] for one in alone] == found["version"][:40]
        assert [one["score"] for one in alone] == pytest.approx(found["score"][:40], abs=1e-6)
        assert server.metric("jamba_ray_rollbacks_total") == 0
        server.wait_for(lambda: server.metric("jamba_ray_rows_total", role="shadow") == 240)
