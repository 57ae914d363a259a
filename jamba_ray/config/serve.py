"""Defines the settings of ``serve``, ``score`` and ``check``."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from jamba_ray.config.names import DEFAULT_REGISTRY, LocalPath, as_list
from jamba_ray.config.predict import InputSection
from jamba_ray.config.section import Section

TOKEN_FILE = "~/.config/jamba_ray/serve.token"


def _checked_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(
            f"an address must be like http://127.0.0.1:8080 or https://host, but is {value!r}. "
            "Give that of `jamba-ray serve`"
        )
    if parts.username or parts.password:
        raise ValueError(
            "an address must not hold a name and password, which others would see. Give the token "
            "by `token_file`"
        )
    return value.rstrip("/")


Url = Annotated[str, AfterValidator(_checked_url)]


class TlsSection(Section):
    """Names the files that make the server speak HTTPS."""

    cert: LocalPath | None = None
    """The certificate, with those that signed it (PEM)."""
    key: LocalPath | None = None
    """Its private key (PEM)."""

    @model_validator(mode="after")
    def _has_both(self) -> TlsSection:
        if (self.cert is None) != (self.key is None):
            raise ValueError("`tls.cert` and `tls.key` must be given together. Add the other one")
        return self


class RollbackSection(Section):
    """Says when a canary is taken back."""

    error_rate: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.001
    """Share of requests on which the canary may fail; those are answered by the version beside it.
    """
    distance: Annotated[float, Field(gt=0.0, le=1.0)] = 0.2
    """Largest difference of the distribution functions of the canary's scores and of the scores of
    the version beside it, on the same rows; 1: any."""
    alpha: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.01
    """Probability at most with which a canary that keeps to both is taken back."""


class ServeConfig(Section):
    """Configures ``serve``."""

    model: LocalPath
    """A file of ``export`` (.onnx), a run, or a version of the registry (threats@champion)."""
    registry: LocalPath = DEFAULT_REGISTRY
    """Folder or bucket of the registry that versions are of."""
    canary: LocalPath | None = None
    """Another model that answers for the ``share`` of keys and is taken back by itself when it
    fails or its scores depart (``rollback``)."""
    ab: LocalPath | None = None
    """Another model that answers for the ``share`` of keys, and is not taken back."""
    shadow: LocalPath | None = None
    """Another model that scores the same rows after each answer; only metrics tell."""
    share: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    """Share of keys for ``canary`` (null: 0.1) or ``ab`` (null: 0.5). The same key is always
    answered by the same version."""
    key: str | None = None
    """The column whose value is the key of a row. The header ``X-Key`` of a request goes before
    it; without either, the request's body is the key."""
    rollback: RollbackSection = RollbackSection()
    host: str = "127.0.0.1"
    """Address to listen at; 0.0.0.0: every one of this machine."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """Port to listen at; 0: any that is free."""
    auth: Literal["token", "none"] = "token"
    """``token``: requests need the header ``Authorization: Bearer <token>``. ``none``: none, which
    only ``host=127.0.0.1`` may have unless ``open`` says otherwise."""
    open: bool = False
    """Let ``auth=none`` answer other machines: where a gateway before it checks."""
    token_file: LocalPath = Field(default=TOKEN_FILE, validate_default=True)
    """File with the token, readable by its owner alone; made at the first start. With two lines
    both are taken, until SIGHUP after one is gone."""
    tls: TlsSection = TlsSection()
    max_body_mb: Annotated[float, Field(gt=0.0, le=1024.0)] = 32.0
    """Largest body of a request (413)."""
    max_rows: Annotated[int, Field(ge=1, le=10_000_000)] = 50_000
    """Most rows of a request (413)."""
    body_timeout_s: Annotated[float, Field(gt=0.0, le=3600.0)] = 30.0
    """A request must have arrived within so long (408); its headers within a third of it."""
    connections: Annotated[int, Field(ge=1, le=65536)] = 1000
    """Most connections at a time (503)."""
    poll_s: Annotated[float, Field(gt=0.0, le=86400.0)] = 5.0
    """How often the registry is asked whether an alias has moved. SIGHUP asks at once, and reads
    files and runs again."""
    threads: Annotated[int, Field(ge=1, le=256)] = 1
    """Threads of onnxruntime that share one call; requests of many rows run beside each other
    anyway."""
    drain_s: Annotated[float, Field(ge=0.0, le=3600.0)] = 30.0
    """How long requests may take that are under way when SIGTERM comes."""
    log: LocalPath | None = "-"
    """Where each request is logged as a line of JSON; ``-``: standard output; null: nowhere."""
    log_values: bool = False
    """Log the rows too. They may be personal data."""
    verbose: bool = False
    """Let the libraries print what they like."""

    @property
    def other_share(self) -> float:
        """Returns the share of the other version."""
        return (0.5 if self.ab is not None else 0.1) if self.share is None else self.share

    @property
    def is_loopback(self) -> bool:
        """Says whether only this machine can connect."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @model_validator(mode="after")
    def _one_other(self) -> ServeConfig:
        if self.canary is not None and self.ab is not None:
            raise ValueError(
                "`canary` and `ab` must not be given together: each is the other version that "
                "answers. Drop one, or give it as `shadow`"
            )
        if self.share is not None and self.canary is None and self.ab is None:
            raise ValueError("`share` needs `canary` or `ab`. Give one, or drop it")
        return self

    @model_validator(mode="after")
    def _is_closed(self) -> ServeConfig:
        if self.auth == "none" and not self.is_loopback and not self.open:
            raise ValueError(
                f"`auth=none` must not answer other machines, but `host` is {self.host!r}. Drop "
                "it, or add `open=true` where a gateway before it checks who asks"
            )
        return self


class ScoreConfig(Section):
    """Configures ``score``."""

    url: Url
    """The address of ``jamba-ray serve``."""
    data: InputSection
    output: LocalPath
    """The file to write, as ``predict`` does: the columns as they were, and ``score``, ``alert``
    and ``threshold``; ``-``: standard output."""
    probability: bool = False
    """Add the column ``probability``."""
    rows: Annotated[int, Field(ge=1, le=1_000_000)] = 5000
    """Rows of a request."""
    key: str | None = None
    """Value of the header ``X-Key``, by which canaries are chosen."""
    retries: Annotated[int, Field(ge=0, le=100)] = 6
    """How often a request is sent again that was not answered, or with 408, 429 or 5xx; the pauses
    double from 0.2 s."""
    timeout_s: Annotated[float, Field(gt=0.0, le=3600.0)] = 60.0
    """How long an answer may take."""
    token_file: LocalPath | None = Field(default=TOKEN_FILE, validate_default=True)
    """File with the token, readable by its owner alone; null: the server needs none."""
    ca: LocalPath | None = None
    """Certificates that the server's must be signed by (PEM); null: those of the system."""
    overwrite: bool = False
    """Replace the output file."""
    verbose: bool = False
    """Let the libraries print what they like."""


class CheckConfig(Section):
    """Configures ``check``."""

    url: Url
    """The address of ``jamba-ray serve``."""
    version: Annotated[tuple[str, ...], BeforeValidator(as_list)] = ()
    """The version that must answer, or several of which one must; none: any."""
    max_dp: Annotated[float, Field(ge=0.0, le=1.0)] = 1e-5
    """Most that a score of a reference row may differ from that before the export."""
    latency_ms: Annotated[float, Field(gt=0.0)] | None = None
    """Most that half of the requests of one row may take; null: it is told, not judged."""
    requests: Annotated[int, Field(ge=1, le=10_000)] = 50
    """Requests of one row to time."""
    timeout_s: Annotated[float, Field(gt=0.0, le=3600.0)] = 10.0
    """How long an answer may take."""
    token_file: LocalPath | None = Field(default=TOKEN_FILE, validate_default=True)
    """File with the token, readable by its owner alone; null: the server needs none."""
    ca: LocalPath | None = None
    """Certificates that the server's must be signed by (PEM); null: those of the system."""
    verbose: bool = False
    """Let the libraries print what they like."""
