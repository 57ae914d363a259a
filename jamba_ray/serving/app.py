"""Answers HTTP requests; the only file that imports FastAPI and Starlette."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from jamba_ray import __version__
from jamba_ray.serving.answers import kind_for, written
from jamba_ray.serving.body import BodyReader
from jamba_ray.serving.deployment import Answer, Deployment
from jamba_ray.serving.metrics import TEXT
from jamba_ray.serving.model import ScoringError
from jamba_ray.serving.reasons import MAX_ROWS, reasons_of
from jamba_ray.serving.request_log import RequestLog
from jamba_ray.serving.rows_body import JSON, BodyError, Rows, rows_of
from jamba_ray.serving.schema import SchemaError
from jamba_ray.serving.token_file import is_allowed

_INLINE_BYTES = 32 << 10
"""Bodies up to this are scored at once: a thread would cost more than it frees."""
_SHADOWS = 8
"""Requests that may wait for the shadow."""
KEY = "x-key"

Handler = Callable[[Request, dict[str, Any]], Awaitable[Response]]
"""Answers a request, and adds to what is logged of it."""


@dataclass
class Server:
    """Holds what the routes need."""

    deployment: Deployment
    bodies: BodyReader
    log: RequestLog
    max_rows: int
    tokens: tuple[bytes, ...] | None
    """None: requests need no token."""
    log_values: bool = False
    is_draining: bool = False
    pool: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(max(2, os.cpu_count() or 1), "jamba_ray-score")
    )
    _shadows: int = 0

    async def predict(self, request: Request, logged: dict[str, Any]) -> Response:
        """Scores the rows of the body."""
        content = _media_type(request)
        body = await self.bodies.read(request.headers, request.stream())
        try:
            key = request.headers.get(KEY)
            accepted = kind_for(request.headers.get("accept", ""), content)

            def work() -> tuple[Rows, Answer, bytes]:
                rows = rows_of(body, content, self.max_rows)
                answer = self.deployment.answer(rows, key, body)
                return rows, answer, written(answer, rows, accepted, self._more(rows))

            rows, answer, raw = await self._run(work, len(body))
        finally:
            self.bodies.release(len(body))
        alerts = int(answer.scores.alert.sum())
        logged |= {"rows": rows.n, "version": answer.versions, "alerts": alerts}
        if self.log_values:
            logged["values"] = {name: list(cells)[:100] for name, cells in rows.columns.items()}
        if self.deployment.roles.shadow is not None:
            self._shadow(rows, answer)
        return Response(raw, 200, {"x-model-version": answer.versions}, accepted)

    async def explain(self, request: Request, logged: dict[str, Any]) -> Response:
        """Says which columns push the score of each row, by the champion."""
        k = request.query_params.get("k", "3")
        if not (k.isdecimal() and 1 <= int(k) <= 50):
            raise BodyError(f"`k` must be a number from 1 to 50, but is {k[:20]!r}.", 422)
        content = _media_type(request)
        body = await self.bodies.read(request.headers, request.stream())
        try:
            model = self.deployment.roles.champion

            def work() -> tuple[Rows, dict[str, Any]]:
                rows = rows_of(body, content, MAX_ROWS)
                answer = Answer(model.score(rows.columns), (model,))
                found = reasons_of(model, rows.columns, int(k))
                if rows.is_one:
                    found["reasons"] = found["reasons"][0]
                return rows, {"raw": written(answer, rows, JSON, found)}

            rows, found = await self._run(work, _INLINE_BYTES + 1)
        finally:
            self.bodies.release(len(body))
        logged |= {"rows": rows.n, "version": model.version}
        return Response(found["raw"], 200, {"x-model-version": model.version}, JSON)

    async def _run(self, work: Callable[[], Any], size: int) -> Any:
        if size <= _INLINE_BYTES:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self.pool, work)

    def _more(self, rows: Rows) -> dict[str, Any]:
        notes = self.deployment.roles.champion.schema.unknown(tuple(rows.columns))
        return {"notes": notes[:5]} if notes else {}

    def _shadow(self, rows: Rows, answer: Answer) -> None:
        if self._shadows >= _SHADOWS:
            self.deployment.dropped()
            return
        self._shadows += 1
        done = asyncio.get_running_loop().run_in_executor(
            self.pool, self.deployment.shadowed, rows, answer
        )
        done.add_done_callback(self._shadowed)

    def _shadowed(self, done: asyncio.Future[None]) -> None:
        self._shadows -= 1
        if (error := done.exception()) is not None:
            self.log.write("shadow_failed", why=f"{type(error).__name__}: {error}")

    async def health(self, request: Request, logged: dict[str, Any]) -> Response:
        """Says that the process answers."""
        return JSONResponse({"status": "ok"})

    async def ready(self, request: Request, logged: dict[str, Any]) -> Response:
        """Says whether requests should be sent here."""
        if self.is_draining:
            return JSONResponse({"status": "draining"}, 503)
        return JSONResponse({"status": "ready", "versions": self.deployment.current()})

    async def metrics(self, request: Request, logged: dict[str, Any]) -> Response:
        """Returns the metrics for Prometheus."""
        text = self.deployment.metrics.text(self.deployment.current())
        return Response(text, 200, media_type=TEXT)

    async def model(self, request: Request, logged: dict[str, Any]) -> Response:
        """Describes the models."""
        roles = self.deployment.roles
        found = roles.champion.describe() | {"program": f"jamba_ray {__version__}"}
        if roles.other is not None:
            share = self.deployment.split.share
            found[self.deployment.kind] = roles.other.describe() | {"share": share}
        if roles.shadow is not None:
            found["shadow"] = roles.shadow.describe()
        if self.deployment.rolled_back is not None:
            found["rolled_back"] = self.deployment.rolled_back
        return JSONResponse(found)

    async def reference(self, request: Request, logged: dict[str, Any]) -> Response:
        """Returns rows with the scores that the champion had before it was exported."""
        model = self.deployment.roles.champion
        if model.reference is None:
            raise BodyError("the model's file has no reference rows. Export it again.", 404)
        return JSONResponse({"version": model.version, **model.reference})


def app_of(server: Server) -> FastAPI:
    """Returns the application."""
    app = FastAPI(title="jamba_ray", docs_url=None, redoc_url=None, openapi_url=None)
    routes: tuple[tuple[str, str, Handler, bool], ...] = (
        ("/predict", "POST", server.predict, True),
        ("/explain", "POST", server.explain, True),
        ("/health", "GET", server.health, False),
        ("/ready", "GET", server.ready, False),
        ("/ping", "GET", server.ready, False),
        ("/metrics", "GET", server.metrics, True),
        ("/model", "GET", server.model, True),
        ("/reference", "GET", server.reference, True),
    )
    for path, method, handler, is_closed in routes:
        app.router.add_route(path, _answering(server, path, handler, is_closed), methods=[method])
    listed = ", ".join(f"{method} {path}" for path, method, _, _ in routes)
    app.add_exception_handler(404, _sentence(404, f"there is no such address. There are {listed}."))
    app.add_exception_handler(405, _sentence(405, f"the method is another one: {listed}."))
    return app


def _sentence(status: int, text: str) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def answer(request: Request, error: Exception) -> Response:
        return _refusal(status, (text,))

    return answer


def _refusal(status: int, mistakes: tuple[str, ...]) -> Response:
    headers = {}
    if status in (408, 413, 503):
        # What is left of the request is not read.
        headers["connection"] = "close"
    if status == 503:
        headers["retry-after"] = "1"
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    return JSONResponse({"error": mistakes[0], "mistakes": list(mistakes)}, status, headers)


def _answering(
    server: Server, path: str, handler: Handler, is_closed: bool
) -> Callable[[Request], Awaitable[Response]]:
    """Returns the route: who asks is checked, errors become sentences, all is counted and
    logged."""

    async def answer(request: Request) -> Response:
        begun = time.perf_counter()
        logged: dict[str, Any] = {}
        try:
            if is_closed and server.tokens is not None:
                _check_token(request, server.tokens)
            response = await handler(request, logged)
        except BodyError as error:
            response = _refusal(error.status, (str(error),))
        except SchemaError as error:
            response = _refusal(422, error.mistakes)
        except ScoringError as error:
            server.log.write("failed", route=path, why=str(error))
            response = _refusal(500, ("the model fails on these rows; the log says why.",))
        except ClientDisconnect:
            response = _refusal(499, ("the client has gone.",))
        except Exception as error:  # a defect of ours costs one request
            server.log.write("defect", route=path, why=f"{type(error).__name__}: {error}"[:300])
            response = _refusal(500, ("a defect of jamba_ray; the log says which.",))
        server.deployment.metrics.answered(path, response.status_code)
        if is_closed:
            seconds = time.perf_counter() - begun
            server.log.write(
                "request",
                route=path,
                status=response.status_code,
                ms=round(1000 * seconds, 3),
                client=request.client.host if request.client else None,
                id=(request.headers.get("x-request-id") or "")[:100] or None,
                **logged,
            )
        return response

    return answer


def _check_token(request: Request, tokens: tuple[bytes, ...]) -> None:
    if not is_allowed(request.headers.get("authorization"), tokens):
        raise BodyError(
            "a request needs the header `Authorization: Bearer <token>` with the server's token. "
            "It is in the file that the server named when it started.",
            401,
        )


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", JSON).partition(";")[0].strip().lower() or JSON
