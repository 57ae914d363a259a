"""Runs the server: ``python -m jamba_ray.serving.process <settings as JSON>``.

``jamba-ray serve`` becomes this process when its settings are read, so that nothing of the command
line is in it. It loads neither torch, Ray nor pandas (``tests/serving/test_server.py``).
"""

from __future__ import annotations

import signal
import socket
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from jamba_ray.config.serve import ServeConfig
from jamba_ray.errors import ConfigError, ExitCode, JambaError
from jamba_ray.serving.app import Server, app_of
from jamba_ray.serving.body import BodyReader
from jamba_ray.serving.deployment import Deployment, Role, Roles
from jamba_ray.serving.http_server import HttpServer, listening, serve
from jamba_ray.serving.metrics import Metrics
from jamba_ray.serving.model import ServedModel
from jamba_ray.serving.request_log import RequestLog
from jamba_ray.serving.rollback import Limits
from jamba_ray.serving.rows_body import arrow
from jamba_ray.serving.source import Source
from jamba_ray.serving.split import Split
from jamba_ray.serving.swap import Swapper
from jamba_ray.serving.token_file import make_token, tokens_of


def main(words: Sequence[str]) -> int:
    """Serves until SIGTERM or Ctrl-C; returns the exit code."""
    try:
        run(ServeConfig.model_validate_json(words[0]))
    except JambaError as error:
        for sentence in error.mistakes if isinstance(error, ConfigError) else (error.message,):
            _say(f"error: {sentence}")
        return error.exit_code
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    return ExitCode.OK


def run(config: ServeConfig) -> None:
    """Loads the models, answers requests, and looks for new versions.

    Raises:
        JambaError: A setting, a model or the address cannot be used.
    """
    with listening(config.host, config.port) as sock:
        _serve(config, sock)


def _serve(config: ServeConfig, sock: socket.socket) -> None:
    host, port = sock.getsockname()[:2]
    log = RequestLog(config.log)
    token_file = Path(config.token_file)
    is_new = config.auth == "token" and make_token(token_file)
    tokens = tokens_of(token_file) if config.auth == "token" else None
    sources = sources_of(config)
    arrow()  # now, and not when the first request needs it
    loaded = {role: source.read() for role, source in sources.items()}
    deployment = deployment_of(config, loaded, log)
    server = Server(
        deployment,
        BodyReader(int(config.max_body_mb * 1e6), config.body_timeout_s),
        log,
        config.max_rows,
        tokens,
        config.log_values,
    )
    swapper = Swapper(deployment, sources, dict(loaded))
    looker = ThreadPoolExecutor(1, "jamba_ray-swap")
    stopped = threading.Event()

    def begun() -> None:
        scheme = "http" if config.tls.cert is None else "https"
        shown = f"[{host}]" if ":" in host else host
        for role, model in loaded.items():
            _say(_described(role, model))
        if tokens is not None:
            _say(f"The token is in {token_file}{' (made now)' if is_new else ''}.")
        else:
            _say("note: requests need no token (`auth=none`).")
        if scheme == "http" and not config.is_loopback:
            _say(
                "note: the token and the rows cross the network unencrypted. Give `tls.cert` and "
                "`tls.key`, or put a gateway before it."
            )
        _say(f"Serving at {scheme}://{shown}:{port} (SIGHUP: look for new models).")

    def hang_up(running: HttpServer) -> None:
        looker.submit(swapper.look, again=True)
        if tokens is not None:
            try:
                server.tokens = tokens_of(token_file)
            except JambaError as error:
                log.write("token_not_read", why=error.message)

    def stop(running: HttpServer) -> None:
        server.is_draining = True
        running.should_exit = True

    def poll() -> None:
        while not stopped.wait(config.poll_s):
            looker.submit(swapper.look, again=False).result()

    if any(source.is_reference for source in sources.values()):
        threading.Thread(target=poll, name="jamba_ray-poll", daemon=True).start()
    tls = config.tls
    try:
        serve(
            app_of(server),
            sock,
            signals={signal.SIGHUP: hang_up, signal.SIGTERM: stop, signal.SIGINT: stop},
            begun=begun,
            connections=config.connections,
            header_timeout_s=config.body_timeout_s / 3,
            drain_s=config.drain_s,
            tls=None if tls.cert is None or tls.key is None else (tls.cert, tls.key),
        )
    finally:
        stopped.set()
        looker.shutdown(wait=False, cancel_futures=True)
        server.pool.shutdown(wait=False, cancel_futures=True)
    log.write("stopped")


def sources_of(config: ServeConfig) -> dict[Role, Source]:
    """Returns where the model of each role comes from."""
    named: dict[Role, str | None] = {
        "champion": config.model,
        "canary": config.canary,
        "ab": config.ab,
        "shadow": config.shadow,
    }
    return {
        role: Source(text, config.registry, config.threads)
        for role, text in named.items()
        if text is not None
    }


def deployment_of(
    config: ServeConfig, loaded: dict[Role, ServedModel], log: RequestLog
) -> Deployment:
    """Returns the versions that answer."""
    other = loaded.get("canary") or loaded.get("ab")
    return Deployment(
        Roles(loaded["champion"], other, loaded.get("shadow")),
        Metrics(),
        log.write,
        kind="ab" if config.ab is not None else "canary",
        split=Split(config.other_share if other is not None else 0.0),
        key_column=config.key,
        limits=Limits(**config.rollback.model_dump()),
    )


def _described(role: str, model: ServedModel) -> str:
    families = "+".join(dict.fromkeys(model.metadata.get("families") or ["model"]))
    return (
        f"{role.capitalize()}: {model.version} ({families}, {len(model.schema.columns)} columns, "
        f"threshold {model.threshold:.6g})."
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
