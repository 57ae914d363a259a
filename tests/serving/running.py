"""A server as a process of its own, and plain requests to it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from jamba_ray.config.serve import ServeConfig


@dataclass
class Running:
    process: subprocess.Popen[str]
    folder: Path
    port: int = 0
    said: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def token(self) -> str:
        return (self.folder / "token").read_text().strip()

    @property
    def logged(self) -> list[dict]:
        lines = (self.folder / "log.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def ask(self, method: str, path: str, body: bytes | None = None, **headers) -> tuple:
        """(status, headers, body) by a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            return self.ask_on(connection, method, path, body, **headers)
        finally:
            connection.close()

    def ask_on(self, connection, method: str, path: str, body=None, **headers) -> tuple:
        sent = {"authorization": f"Bearer {self.token}"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, {k: v for k, v in sent.items() if v is not None})
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()

    def predict(self, rows, **headers) -> tuple[int, dict]:
        status, _, body = self.ask("POST", "/predict", json.dumps(rows).encode(), **headers)
        return status, json.loads(body)

    def metric(self, name: str, **labels: str) -> float:
        _, _, text = self.ask("GET", "/metrics")
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        found = [
            float(line.rpartition(" ")[2])
            for line in text.decode().splitlines()
            if re.match(rf"{name}(\{{| )", line) and all(label in line for label in wanted)
        ]
        return sum(found)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait_for(self, what, seconds: float = 60.0) -> None:
        end = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < end, self.said
            assert self.process.poll() is None, self.said
            time.sleep(0.05)


@contextlib.contextmanager
def serving(
    folder: Path,
    words: list[str] | None = None,
    program: list[str] | None = None,
    **settings,
) -> Iterator[Running]:
    """A server of ``settings`` at a free port; ``words``: by the installed command."""
    folder.mkdir(exist_ok=True)
    log = folder / "log.jsonl"
    settings = {"port": 0, "token_file": str(folder / "token"), "log": str(log), **settings}
    if words is None:
        config = ServeConfig.model_validate(settings)
        program = [sys.executable, "-m", "jamba_ray.serving.process", config.model_dump_json()]
    else:
        program = [*(program or [sys.executable, "-m", "jamba_ray", "serve"]), *words]
        program += [f"{name}={value}" for name, value in settings.items()]
    process = subprocess.Popen(
        program,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    running = Running(process, folder)
    begun = threading.Event()

    def listen() -> None:
        for line in process.stderr:
            running.said.append(line.rstrip())
            if (found := re.search(r"Serving at \w+://.*:(\d+)", line)) is not None:
                running.port = int(found[1])
                begun.set()
        begun.set()

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        assert begun.wait(120), running.said
        assert running.port, running.said
        yield running
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        thread.join(10)
        process.stderr.close()
