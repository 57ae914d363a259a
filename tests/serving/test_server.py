"""A server as a process: what it answers, what it refuses, and that it stays alive."""

from __future__ import annotations

import csv
import http.client
import io
import json
import re
import signal
import socket
import stat
import time

import numpy as np
import pyarrow as pa
import pytest

from jamba_ray.config.serve import ServeConfig
from jamba_ray.errors import JambaError
from jamba_ray.serving.process import run
from jamba_ray.serving.rows_body import ARROW, CSV, JSON
from tests.serving.conftest import table
from tests.serving.running import Running

ROWS = table().drop(columns="is_threat")


def objects(n: int) -> list[dict]:
    return json.loads(ROWS.iloc[:n].to_json(orient="records"))


def test_rows_columns_and_one_row_have_the_same_scores(server: Running, saved):
    rows = objects(20)
    status, found = server.predict(rows)
    assert status == 200
    wanted = saved("mlp").predictor().predict_proba(ROWS.iloc[:20])
    assert np.abs(np.array(found["score"]) - wanted).max() <= 1e-6
    status, columns = server.predict({name: [row[name] for row in rows] for name in rows[0]})
    assert columns == found
    status, one = server.predict(rows[3])
    assert one["score"] == pytest.approx(found["score"][3], abs=1e-6)
    assert one["alert"] == found["alert"][3]
    assert one["version"].startswith("mlp-")


def test_csv_and_arrow_are_answered_in_kind(server: Running):
    _, wanted = server.predict(objects(10))
    body = ROWS.iloc[:10].to_csv(index=False).encode()
    status, headers, raw = server.ask("POST", "/predict", body, content_type=CSV)
    assert (status, headers["content-type"]) == (200, "text/csv; charset=utf-8")
    found = list(csv.DictReader(io.StringIO(raw.decode())))
    assert [float(row["score"]) for row in found] == pytest.approx(wanted["score"], abs=1e-6)
    sink = pa.BufferOutputStream()
    arrow = pa.Table.from_pandas(ROWS.iloc[:10], preserve_index=False)
    with pa.ipc.new_stream(sink, arrow.schema) as stream:
        stream.write_table(arrow)
    status, _, raw = server.ask("POST", "/predict", bytes(sink.getvalue()), content_type=ARROW)
    scored = pa.ipc.open_stream(raw).read_all().to_pydict()
    assert scored["score"] == pytest.approx(wanted["score"], abs=1e-6)
    assert scored["alert"] == wanted["alert"]
    status, headers, _ = server.ask("POST", "/predict", body, content_type=CSV, accept=JSON)
    assert headers["content-type"] == JSON


def test_explain_is_that_of_predict(server: Running, saved):
    row = objects(1)[0]
    status, _, raw = server.ask("POST", "/explain?k=3", json.dumps(row).encode())
    assert status == 200
    found = json.loads(raw)
    wanted = saved("mlp").predictor().explain(ROWS.iloc[:1], 3)
    assert [one["column"] for one in found["reasons"]] == list(wanted["column"])
    apart = [one["log_odds"] for one in found["reasons"]] - wanted["log_odds"].to_numpy()
    assert np.abs(apart).max() < 1e-4


REFUSED = {
    "not JSON": (b"{", {}, 400, "JSON"),
    "a word": (b'"abc"', {}, 422, "a row"),
    "deep": (b"[" * 100_000, {}, 400, "nested"),
    "deep objects": (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, {}, 400, "nested"),
    "a list in a cell": (json.dumps([{**objects(1)[0], "rate": [1]}]).encode(), {}, 422, "'rate'"),
    "huge integer": (b'{"rate": ' + b"9" * 5000 + b"}", {}, 400, "JSON"),
    "not UTF-8": (b'{"service": "\xff"}', {}, 400, "UTF-8"),
    "CSV not UTF-8": (b"a,b\n\xff,1\n", {"content_type": CSV}, 400, "UTF-8"),
    "ragged CSV": (b"a,b\n1,2\n1,2,3\n1,2\n", {"content_type": CSV}, 422, "cells"),
    "no Arrow": (b"ARROW1" * 10, {"content_type": ARROW}, 400, "Arrow"),
    "other type": (b"x", {"content_type": "application/xml"}, 415, "Content-Type"),
    "compressed": (b"x", {"content_encoding": "gzip"}, 415, "compressed"),
    "too large": (b" " * 1_500_000, {}, 413, "1 MB"),
    "too many rows": (b"a\n" + b"1\n" * 4000, {"content_type": CSV}, 413, "3,000 rows"),
    "uneven columns": (b'{"rate": [1, 2], "bytes": [1]}', {}, 422, "one length"),
    "empty": (b"", {}, 400, "JSON"),
    "no token": (b"{}", {"authorization": None}, 401, "token"),
    "another token": (b"{}", {"authorization": "Bearer " + "x" * 43}, 401, "token"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_scored_is_refused_in_a_sentence(server: Running, what):
    body, headers, wanted, word = REFUSED[what]
    status, _, raw = server.ask("POST", "/predict", body, **headers)
    error = json.loads(raw)["error"]
    assert (status, word in error) == (wanted, True), error
    assert "Traceback" not in error
    assert server.ask("GET", "/health")[0] == 200


def test_a_wrong_column_is_named_with_the_nearest(server: Running):
    row = objects(1)[0]
    row["servise"] = row.pop("service")
    status, found = server.predict(row)
    assert status == 422
    assert found["error"] == (
        "the rows must have the columns that training had, but lack 'service'. "
        "Did you mean `servise`?"
    )
    status, found = server.predict({**objects(1)[0], "ratee": 1})
    assert found["notes"] == ["the column 'ratee' is not used by the model. Did you mean `rate`?"]
    status, found = server.predict({**objects(1)[0], "rate": "abc", "service": 17})
    assert status == 422
    assert "'rate' must hold numbers" in found["mistakes"][0]
    assert "'service' must hold names such as" in found["mistakes"][1]


def test_slow_requests_are_ended(server: Running):
    def answer(first: bytes, then: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.settimeout(20)
            connection.sendall(first)
            begun, found = time.monotonic(), b""
            while time.monotonic() - begun < 20 and b"\r\n\r\n" not in found:
                try:
                    connection.sendall(then)
                    connection.settimeout(0.3)
                    part = connection.recv(4096)
                except TimeoutError:
                    continue
                except OSError:
                    break
                if not part:
                    break
                found += part
            return found

    head = f"POST /predict HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {server.token}\r\n"
    body = answer(f"{head}content-length: 9999\r\n\r\n".encode(), b" ")
    assert body.startswith(b"HTTP/1.1 408")
    headers = answer(b"GET /health HTTP/1.1\r\nx-a: ", b"a")
    assert headers.startswith(b"HTTP/1.1 408")
    assert server.predict(objects(1))[0] == 200


def test_what_needs_no_token_and_what_does(server: Running):
    for path in ("/health", "/ready", "/ping"):
        assert server.ask("GET", path, authorization=None)[0] == 200
    for path in ("/metrics", "/model", "/reference"):
        assert server.ask("GET", path, authorization=None)[0] == 401
        assert server.ask("GET", path)[0] == 200
    assert server.ask("GET", "/docs")[0] == 404
    assert server.ask("GET", "/predict")[0] == 405


def test_metrics_count_what_was_scored(server: Running):
    before = server.metric("jamba_ray_rows_total", role="champion")
    server.predict(objects(7))
    assert server.metric("jamba_ray_rows_total", role="champion") == before + 7
    assert server.metric("jamba_ray_score_count", role="champion") == before + 7
    _, _, text = server.ask("GET", "/metrics")
    line = re.compile(r"[a-z_]+(\{[^{}]*\})? [0-9.e+-]+|# (HELP|TYPE) .+")
    assert all(line.fullmatch(one) for one in text.decode().splitlines())


def test_the_log_has_no_values_and_no_token(server: Running):
    server.predict({**objects(1)[0], "service": "secret-host"}, x_request_id="r-17")
    server.wait_for(lambda: any(one.get("id") == "r-17" for one in server.logged), 5)
    (found,) = [one for one in server.logged if one.get("id") == "r-17"]
    assert (found["status"], found["rows"]) == (200, 1)
    text = (server.folder / "log.jsonl").read_text() + "\n".join(server.said)
    assert "secret-host" not in text
    assert server.token not in text


def test_the_token_is_the_owners_alone_and_the_process_has_no_torch(server: Running):
    mode = stat.S_IMODE((server.folder / "token").stat().st_mode)
    assert mode == 0o600
    server.ask("POST", "/explain", json.dumps(objects(1)).encode())
    with open(f"/proc/{server.process.pid}/maps", encoding="utf-8") as file:
        maps = file.read()
    assert "onnxruntime" in maps
    for name in ("torch", "/ray/", "pandas", "hydra", "/scipy/", "lightgbm"):
        assert name not in maps, name


def test_mistakes_at_the_start_are_sentences(exports, tmp_path):
    def says(**settings) -> str:
        settings = {"port": 0, "token_file": str(tmp_path / "token"), "log": None, **settings}
        with pytest.raises(JambaError) as error:
            run(ServeConfig.model_validate(settings))
        return error.value.message

    assert "is none" in says(model=str(tmp_path / "nothing"))
    (tmp_path / "x.onnx").write_bytes(b"abc")
    assert "needs an ONNX file of `jamba-ray export`" in says(model=str(tmp_path / "x.onnx"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "must be free" in says(model="x.onnx", port=taken.getsockname()[1])
    (tmp_path / "token").chmod(0o644)
    assert "chmod 600" in says(model=str(exports("mlp")))
    (tmp_path / "cert.pem").write_text("abc")
    tls = {"cert": str(tmp_path / "cert.pem"), "key": str(tmp_path / "cert.pem")}
    (tmp_path / "token").chmod(0o600)
    assert "must be a certificate" in says(model=str(exports("mlp")), tls=tls)


def test_sigterm_answers_what_is_under_way_and_exits_with_0(server: Running):
    """The last test of this file: it ends the server."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    body = json.dumps(objects(1)).encode()
    connection.putrequest("POST", "/predict")
    connection.putheader("authorization", f"Bearer {server.token}")
    connection.putheader("content-length", str(len(body)))
    connection.endheaders()
    server.ask("GET", "/health")  # the request above has begun
    server.signal(signal.SIGTERM)
    time.sleep(0.5)
    connection.send(body)
    assert connection.getresponse().status == 200
    connection.close()
    assert server.process.wait(20) == 0
