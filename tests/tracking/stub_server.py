"""A W&B server on loopback, as far as the real client and ``wandb sync`` need one; it can fail."""

import base64
import contextlib
import gzip
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = "local-" + "0123456789" * 4


class Stub:
    """Runs and artifacts that arrived. ``fault``: what the server does to requests from now on."""

    def __init__(self):
        self.runs, self.artifacts, self.files, self.views = {}, {}, {}, []
        self.sent_rows = []  # (run, row) as often as they came
        self.unknown = []
        self.fault = None
        self.rows_until_fault = None
        self._lock = threading.Lock()
        stub = self

        class Handler(_Handler):
            server_stub = stub

        self._http = _Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def close(self):
        self._http.shutdown()
        self._http.server_close()

    def environment(self, key=KEY):
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": key, "WANDB_ERROR_REPORTING": "false"}

    def history(self, run):
        rows = self.runs[run]["history"]
        return [json.loads(rows[i]) for i in sorted(rows)]

    def run(self, name, **changes):
        with self._lock:
            run = self.runs.setdefault(
                name, {"history": {}, "summary": {}, "config": {}, "finished": False}
            )
            run.update({k: v for k, v in changes.items() if v is not None})
            return run

    def stream(self, name, body):
        run = self.run(name)
        with self._lock:
            for file, chunk in body.get("files", {}).items():
                if file == "wandb-history.jsonl":
                    for i, line in enumerate(chunk["content"]):
                        if self.rows_until_fault is not None:
                            if self.rows_until_fault == 0:
                                self.fault = "dropped"
                                return False
                            self.rows_until_fault -= 1
                        run["history"][chunk["offset"] + i] = line
                        self.sent_rows.append((name, json.loads(line)["_step"]))
                elif file == "wandb-summary.json":
                    run["summary"] = json.loads(chunk["content"][-1])
            if body.get("complete"):
                run["finished"], run["exitcode"] = True, body.get("exitcode")
        return True


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """Clients that go away are no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self._answer()

    do_POST = do_PUT = do_GET

    def _answer(self):
        stub = self.server_stub
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        with contextlib.suppress(ConnectionError):
            self._handle(stub, body)

    def _handle(self, stub, body):
        fault = stub.fault  # what came while the server hung stays unanswered when it is back
        if fault == "hanging":
            time.sleep(30)
        if fault in ("dropped", "hanging"):
            self.close_connection = True
            self.connection.close()
            return
        if isinstance(fault, int):
            self._send({"error": "fault"}, status=fault)
            return
        if not self._authorised():
            self._send({"errors": [{"message": "invalid key"}]}, status=401)
            return
        if self.path.startswith("/graphql"):
            self._send(graphql(stub, json.loads(body)))
        elif match := re.match(r"/files/(\w+)/(\w+)/([\w-]+)/file_stream", self.path):
            if stub.stream(match[3], json.loads(body)):
                self._send({"exitcode": None, "limits": {}})
            else:
                self.close_connection = True
                self.connection.close()
        elif self.path.startswith("/storage/"):
            stub.files[self.path.removeprefix("/storage/")] = body
            self._send({})
        else:
            self._send({})

    def _authorised(self):
        given = self.headers.get("Authorization", "")
        if self.path.startswith("/storage/"):
            return True
        expected = base64.b64encode(f"api:{KEY}".encode()).decode()
        return given == f"Basic {expected}"

    def _send(self, value, status=200):
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


PROJECT = {"id": "p1", "name": "jamba_ray", "entity": {"id": "e1", "name": "tester"}}


def graphql(stub, request):
    query, variables = request["query"], request.get("variables") or {}
    match = re.search(r"(?:query|mutation)\s+(\w+)", query)
    operation = match[1] if match else ""
    answer = ANSWERS.get(operation)
    if answer is None and "internalId" in query:
        return {"data": {"project": {"id": "p1", "internalId": "UHJvamVjdDox"}}}
    if answer is None:
        stub.unknown.append((operation, query, variables))
        return {"data": {}}
    return {"data": answer(stub, variables)}


def _upsert(stub, v):
    name = v.get("name") or v.get("id")
    known = name in stub.runs
    stub.run(
        name,
        project=v.get("project"),
        group=v.get("groupName"),
        job_type=v.get("jobType"),
        display_name=v.get("displayName"),
        tags=v.get("tags"),
    )
    if v.get("config"):
        stub.runs[name]["config"] = json.loads(v["config"])
    if v.get("summaryMetrics"):
        stub.runs[name]["summary"] = json.loads(v["summaryMetrics"])
    bucket = {
        "id": f"id-{name}",
        "name": name,
        "displayName": v.get("displayName") or name,
        "description": "",
        "config": "{}",
        "sweepName": None,
        "project": PROJECT,
        "historyLineCount": len(stub.runs[name]["history"]),
    }
    return {"upsertBucket": {"bucket": bucket, "inserted": not known}}


def _resume(stub, v):
    run = stub.runs.get(v["name"])
    if run is None:
        return {"model": {"bucket": None, **PROJECT}}
    rows = stub.history(v["name"])
    bucket = {
        "id": f"id-{v['name']}",
        "name": v["name"],
        "summaryMetrics": json.dumps(run["summary"]),
        "displayName": run.get("display_name"),
        "logLineCount": 0,
        "historyLineCount": len(rows),
        "eventsLineCount": 0,
        "historyTail": json.dumps([json.dumps(rows[-1])] if rows else []),
        "eventsTail": "[]",
        "config": json.dumps(run["config"]),
        "wandbConfig": '{"t": 1}',
        "tags": run.get("tags") or [],
    }
    return {
        "model": {"id": "p1", "name": "jamba_ray", "entity": PROJECT["entity"], "bucket": bucket}
    }


def _run_files(stub, v):
    files = [
        {"name": f, "uploadUrl": f"{stub.url}/storage/{v['run']}/{f}"} for f in v.get("files", [])
    ]
    return {"createRunFiles": {"runID": f"id-{v['run']}", "uploadHeaders": [], "files": files}}


def _create_artifact(stub, v):
    name = v["artifactCollectionNames"][0] if v.get("artifactCollectionNames") else None
    given = v.get("input") or v
    name = name or (given.get("artifactCollectionName") or given["artifactCollectionNames"][0])
    aliases = [a["alias"] for a in given.get("aliases") or []]
    key = f"{name}:{given.get('digest')}"
    stub.artifacts.setdefault(
        key,
        {
            "name": name,
            "aliases": aliases,
            "run": given.get("runName"),
            "state": "PENDING",
            "files": {},
        },
    )
    sequence = {"id": f"seq-{name}", "latestArtifact": None}
    return {
        "createArtifact": {
            "artifact": {
                "id": key,
                "state": stub.artifacts[key]["state"],
                "artifactSequence": sequence,
            }
        }
    }


def _manifest(stub, v):
    given = v.get("input") or v
    key = given.get("artifactID") or given.get("artifactId")
    url = f"{stub.url}/storage/manifest/{abs(hash(key))}"
    file = {
        "id": "f",
        "name": given.get("name"),
        "displayName": "m",
        "uploadUrl": url,
        "uploadHeaders": [],
    }
    return {"createArtifactManifest": {"artifactManifest": {"id": f"m-{key}", "file": file}}}


def _artifact_files(stub, v):
    specs = v.get("artifactFiles") or (v.get("input") or {}).get("artifactFiles") or []
    edges = []
    for i, spec in enumerate(specs):
        stub.artifacts[spec["artifactID"]]["files"][spec["name"]] = spec.get("md5")
        node = {
            "id": f"f{i}",
            "name": spec["name"],
            "displayName": spec["name"],
            "uploadUrl": f"{stub.url}/storage/artifact/{spec['name']}",
            "uploadHeaders": [],
            "uploadMultipartUrls": None,
            "storagePath": spec["name"],
            "artifact": {"id": spec["artifactID"]},
        }
        edges.append({"node": node})
    return {"createArtifactFiles": {"files": {"edges": edges}}}


def _commit(stub, v):
    key = v.get("artifactID") or (v.get("input") or {}).get("artifactID")
    stub.artifacts[key]["state"] = "COMMITTED"
    return {"commitArtifact": {"artifact": {"id": key, "digest": key.partition(":")[2]}}}


def _view(stub, v):
    stub.views.append(v)
    return {
        "upsertView": {
            "view": {"id": "v1", "name": "v", "displayName": "v", "spec": v.get("spec")},
            "inserted": True,
        }
    }


def _viewer(stub, v):
    return {
        "viewer": {
            "id": "u1",
            "entity": "tester",
            "username": "tester",
            "flags": "{}",
            "teams": {"edges": []},
        }
    }


def _projects(stub, v):
    node = {
        "__typename": "Project",
        "id": "p1",
        "name": "jamba_ray",
        "entityName": "tester",
        "createdAt": "2026-01-01T00:00:00Z",
        "isBenchmark": False,
        "user": None,
    }
    page = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
    return {"models": {"pageInfo": page, "edges": [{"node": node}]}}


ANSWERS = {
    "GetProjects": _projects,
    "UpsertBucket": _upsert,
    "RunResumeStatus": _resume,
    "Viewer": _viewer,
    "ServerFeaturesQuery": lambda s, v: {"serverInfo": {"features": []}},
    "OrganizationCoreWeaveOrganizationID": lambda s, v: {"entity": {"organization": None}},
    "CreateRunFiles": _run_files,
    "ArtifactType": lambda s, v: {"project": {"artifactType": None, "artifact": None}},
    "CreateArtifact": _create_artifact,
    "CreateArtifactManifest": _manifest,
    "UpdateArtifactManifest": lambda s, v: {
        "updateArtifactManifest": _manifest(s, {"artifactID": v.get("artifactManifestID", "")})[
            "createArtifactManifest"
        ]
    },
    "CreateArtifactFiles": _artifact_files,
    "CommitArtifact": _commit,
    "UpsertView": _view,
    "UpsertView2": _view,
    "upsertView": _view,
}
