"""Defines ``submit.*`` and ``doctor.*``: how the commands for clusters reach one; never part of
a sweep."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from jamba_ray.config.names import LocalPath, run_name
from jamba_ray.config.section import Section

DEFAULT_ADDRESS = "http://127.0.0.1:8265"


def _http(value: str) -> str:
    if not value.startswith(("http://", "https://")):
        raise ValueError(
            f"`address` must begin with http:// or https://, but is {value!r}. It is that of the "
            f"dashboard: after `ray dashboard cluster/<file>.yaml` it is {DEFAULT_ADDRESS}"
        )
    if "@" in value:
        raise ValueError(
            "`address` must hold no user or password, but has an '@'. "
            "The token comes from RAY_AUTH_TOKEN or ~/.ray/auth_token"
        )
    return value.rstrip("/")


class SubmitSection(Section):
    """Configures ``submit``; what does not begin with ``submit.`` is the sweep's."""

    address: str = DEFAULT_ADDRESS
    """The head's dashboard, through an SSH tunnel (``ray dashboard cluster/<file>.yaml``)."""
    results: LocalPath = "results"
    """Local folder that gets ``<job>/summary.json`` and the rest of the result."""
    key: str | None = None
    """Jobs with the same key are one sweep; None: made from the commit and the configuration."""
    champion: LocalPath | None = None
    """A ``summary.json`` that the winner is held against; None: no gate."""
    margin: Annotated[float, Field(ge=0.0)] = 0.005
    """How much worse than the champion, in the objective's units, the winner may be."""
    max_upload_mb: Annotated[float, Field(gt=0.0)] = 50.0
    """Refuse to upload a working folder that is larger than this."""
    allow: tuple[str, ...] = ()
    """Files (paths in the working folder) to upload although they look like secrets."""
    patience_s: Annotated[float, Field(gt=0.0)] = 300.0
    """How long a cluster that does not answer is asked again; the sweep goes on meanwhile."""
    python: str = "python"
    """The Python of the cluster's nodes."""
    dry_run: bool = False
    """Show what would be uploaded and submitted, and stop."""

    _check_address = field_validator("address")(_http)

    @field_validator("key")
    @classmethod
    def _key_is_a_name(cls, value: str | None) -> str | None:
        return None if value is None else run_name(value)


class DoctorSection(Section):
    """Configures ``doctor``; what does not begin with ``doctor.`` is the sweep's."""

    address: str | None = None
    """The head's dashboard; None: look at this machine only."""
    nodes: Annotated[int, Field(ge=1)] | None = None
    """How many nodes there must be."""
    free_gb: Annotated[float, Field(gt=0.0)] = 5.0
    """Free disk that every node must have."""
    make_token: bool = False
    """Make ~/.ray/auth_token, the secret of the clusters to come, and do nothing else."""
    python: str = "python"
    """The Python of the cluster's nodes."""

    @field_validator("address")
    @classmethod
    def _check_address(cls, value: str | None) -> str | None:
        return None if value is None else _http(value)
