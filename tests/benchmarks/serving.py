"""What the server costs beside a bare FastAPI and onnxruntime application on the same file.

``python -m tests.benchmarks.serving <model.onnx> [requests]``; ``--soak N`` sends N requests of one
row and prints the memory. Each measure is of pairs: the servers take turns, in rounds, in one run.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from jamba_ray.serving.model import ServedModel
from tests.serving.running import serving

BARE = """
import sys
import numpy as np, onnxruntime, uvicorn
from fastapi import FastAPI, Request
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
inputs = {one.name: object if "string" in one.type else np.float64 for one in session.get_inputs()}
names = dict(zip(inputs, sys.argv[3].split("\\x1f")))
app = FastAPI()

@app.post("/predict")
async def predict(request: Request):
    rows = await request.json()
    cells = {i: np.array([row[names[i]] for row in rows], dtype=kind) for i, kind in inputs.items()}
    score, alert = session.run(["score", "alert"], cells)
    return {"score": score.tolist(), "alert": alert.tolist()}

quiet = {"log_level": "critical", "access_log": False}
uvicorn.run(app, port=int(sys.argv[2]), http="h11", loop="asyncio", **quiet)
"""
LITSERVE = """
import sys
import numpy as np, onnxruntime, litserve
names = sys.argv[3].split("\\x1f")

class Api(litserve.LitAPI):
    def setup(self, device):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
        kinds = {i.name: object if "string" in i.type else np.float64 for i in self.session.get_inputs()}
        self.inputs = dict(zip(names, kinds.items()))

    def decode_request(self, request):
        return request["rows"]

    def predict(self, rows):
        cells = {i: np.array([row[n] for row in rows], dtype=k) for n, (i, k) in self.inputs.items()}
        return self.session.run(["score", "alert"], cells)

    def encode_response(self, found):
        return {"score": found[0].tolist(), "alert": found[1].tolist()}

if __name__ == "__main__":
    litserve.LitServer(Api(), accelerator="cpu").run(port=int(sys.argv[2]), generate_client_file=False, log_level="critical")
"""  # noqa: E501
BATCHES = (1, 32, 1024)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return one.getsockname()[1]


@contextlib.contextmanager
def peer(code: str, model: Path, names: list[str]) -> Iterator[tuple[int, int]]:
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "peer.py"
        script.write_text(code)
        words = [sys.executable, str(script), str(model), str(port), "\x1f".join(names)]
        process = subprocess.Popen(
            words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder,
            start_new_session=True,
        )  # fmt: skip
        try:
            end = time.monotonic() + 90
            while time.monotonic() < end:
                with contextlib.suppress(OSError):
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                if process.poll() is not None:
                    raise RuntimeError("the peer did not start")
                time.sleep(0.2)
            yield port, process.pid
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 15)
            process.wait()


class Asked:
    """Sends the same bodies to one server over one connection and keeps the times."""

    def __init__(self, port: int, token: str | None, wrap: bool, pid: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._headers = {"content-type": "application/json"}
        if token is not None:
            self._headers["authorization"] = f"Bearer {token}"
        self._wrap = wrap
        self.times: dict[int, list[float]] = {}
        self._stat = Path(f"/proc/{pid}/stat")
        self.cpu: dict[int, float] = {}

    def ask(self, rows: list[dict]) -> None:
        body = json.dumps({"rows": rows} if self._wrap else rows).encode()
        begun = time.perf_counter()
        self._connection.request("POST", "/predict", body, self._headers)
        response = self._connection.getresponse()
        found = response.read()
        self.times.setdefault(len(rows), []).append(time.perf_counter() - begun)
        assert response.status == 200, found[:300]

    @property
    def cpu_s(self) -> float:
        """The CPU seconds of the server's process."""
        fields = self._stat.read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def compare(model: Path, requests: int) -> None:
    held = ServedModel(model.read_bytes(), "model", None)
    reference = held.reference
    assert reference is not None
    n = len(reference["score"])
    # Cells as the bare application takes them: numbers, and text that is never missing.
    numbers = {c.name for c in held.schema.columns if c.is_number}
    rows = [
        {
            name: (float(cells[i]) if isinstance(cells[i], int | float) else 1.0)
            if name in numbers
            else (cells[i] or "")
            for name, cells in reference["rows"].items()
        }
        for i in range(n)
    ]
    rows = [
        {
            k: (v if v != v or abs(v) < 1e300 else 1.0) if isinstance(v, float) else v
            for k, v in row.items()
        }
        for row in rows
    ]
    names = list(held.schema.names)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        bare = stack.enter_context(peer(BARE, model, names))
        ours = stack.enter_context(serving(folder / "run", model=str(model)))
        servers = {
            "bare FastAPI + onnxruntime": Asked(bare[0], None, False, bare[1]),
            "jamba-ray serve": Asked(ours.port, ours.token, False, ours.process.pid),
        }
        with contextlib.suppress(ImportError, RuntimeError):
            __import__("litserve")
            lit = stack.enter_context(peer(LITSERVE, model, names))
            servers["LitServe + onnxruntime"] = Asked(lit[0], None, True, lit[1])
        for size in BATCHES:
            batch = [rows[i % n] for i in range(size)]
            for server in servers.values():
                for _ in range(20 if size < 1024 else 3):
                    server.ask(batch)
                server.times[size].clear()
                server.cpu[size] = server.cpu_s
            for _ in range(max(10, requests // size) if size > 1 else requests):
                for server in servers.values():
                    server.ask(batch)
            for server in servers.values():
                spent = server.cpu_s - server.cpu[size]
                server.cpu[size] = spent / len(server.times[size])
    print(
        "| server | rows a request | p50 ms | p99 ms | rows/s | p50 beside bare | CPU ms | "
        "beside bare |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    bare_one = servers["bare FastAPI + onnxruntime"]
    first = bare_one.times
    for name, server in servers.items():
        for size, times in server.times.items():
            half, most = np.quantile(times, [0.5, 0.99])
            ratio = half / np.quantile(first[size], 0.5)
            rate = size * len(times) / sum(times)
            print(
                f"| {name} | {size:,} | {1000 * half:.2f} | {1000 * most:.1f} | {rate:,.0f} | "
                f"{ratio:.2f} | {1000 * server.cpu[size]:.2f} | "
                f"{server.cpu[size] / bare_one.cpu[size]:.2f} |"
            )


def soak(model: Path, requests: int) -> None:
    """Sends requests of one row and prints the memory of the server after each tenth of them."""
    rows = (ServedModel(model.read_bytes(), "model", None).reference or {})["rows"]
    n = len(next(iter(rows.values())))
    each = [{name: cells[i] for name, cells in rows.items()} for i in range(n)]
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder) / "run", model=str(model), log=None) as ours,
    ):
        status = Path(f"/proc/{ours.process.pid}/statm")

        def send(first: int, count: int) -> None:
            server = Asked(ours.port, ours.token, False, ours.process.pid)
            for i in range(first, first + count):
                server.ask([each[i % n]])
                server.times[1].clear()

        with ThreadPoolExecutor(4) as pool:
            for tenth in range(1, 11):
                size = requests // 40
                list(pool.map(send, [tenth + i for i in range(4)], [size] * 4))
                memory = int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
                print(f"{tenth * size * 4:,} requests: {memory / 1e6:.1f} MB", flush=True)


if __name__ == "__main__":
    if "--soak" in sys.argv:
        soak(Path(sys.argv[1]), int(sys.argv[-1]))
    else:
        compare(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 500)
