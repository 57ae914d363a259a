"""Defines the settings of ``registry``."""

from __future__ import annotations

import re
from typing import Annotated, Literal, TypeAlias, get_args

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from jamba_ray.config.data import Column, Labels
from jamba_ray.config.export import Format
from jamba_ray.config.names import DEFAULT_REGISTRY, LocalPath, Plugins, as_list
from jamba_ray.config.run import RunName
from jamba_ray.config.section import Section

CHAMPION = "champion"
CHALLENGER = "challenger"

RegistryAction: TypeAlias = Literal[
    "register", "promote", "rollback", "list", "history", "verify", "sign", "roles"
]
_NEEDED: dict[str, tuple[str, ...]] = {
    "register": ("run", "name"),
    "promote": ("name",),
    "rollback": ("name",),
    "history": ("name",),
    "sign": ("name", "key"),
    "roles": ("name", "key"),
}
"""Action -> the settings that it cannot do without."""
_AT = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?)?")


def registry_actions() -> tuple[str, ...]:
    """Returns the actions there are."""
    return get_args(RegistryAction)


def _alias(value: str) -> str:
    if value.isdigit():
        raise ValueError(
            f"`alias` must be a name, since a number means a version, but is {value!r}. Choose a "
            "name such as 'champion'"
        )
    return value


def _date(value: str) -> str:
    if not _AT.fullmatch(value):
        raise ValueError(
            "`at` must be a day or a time in UTC, such as 2026-03-01 or 2026-03-01T09:30, but is "
            f"{value!r}. Write it so"
        )
    return value


AliasName = Annotated[RunName, AfterValidator(_alias)]


class JudgedSection(Section):
    """Names labelled rows that judge a version and the one that it would replace."""

    path: LocalPath | None = None
    """File, folder or glob of CSV, JSON lines or Parquet; null: the test rows of the two runs,
    where both were judged on the same ones."""
    columns: tuple[Column, ...] = ()
    """The names of all columns, for CSV files without a header line."""
    target: Column = "is_threat"
    """The column of labels."""
    positive: Labels = ()
    """Values of ``target`` that are threats."""
    negative: Labels = ()
    """Values of ``target`` that are benign."""
    group: Column | None = None
    """Column of hosts, users or attack classes, which the paired test draws whole."""


class GateSection(Section):
    """Says what a version must show before an alias points at it; all are judged and recorded."""

    champion: Literal["better", "not_worse", "none"] = "not_worse"
    """What the paired test must show against the version that the alias points at, on the same
    labelled rows: ``better``: the whole 95 % interval of the difference is above 0; ``not_worse``:
    it is above -``margin``; ``none``: it is measured and not judged."""
    metric: Literal["average_precision", "roc_auc"] = "average_precision"
    """The metric of the paired test."""
    margin: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.01
    """The loss that does not matter."""
    thresholds: Literal["kept", "proven", "none"] = "kept"
    """What must hold of saved thresholds: ``kept``: the rows that judge refuse no promise;
    ``proven``: besides, each has a promise that was not taken back; ``none``: nothing."""
    parity: bool = True
    """Whether each export must have been proven to give the model's answers."""
    latency_ms: Annotated[float, Field(gt=0.0)] | None = None
    """Most milliseconds for one row alone, measured on this machine; null: not judged."""
    size_mb: Annotated[float, Field(gt=0.0)] | None = None
    """Most megabytes of weights; null: not judged."""


class RegistryConfig(Section):
    """Configures ``registry``."""

    action: RegistryAction
    """What to do: ``register`` a run as a new version, ``promote`` a version so that an alias
    points at it, ``rollback`` an alias to the version before, ``list`` models, ``history`` of one,
    ``verify`` all that is kept, ``sign`` a version, put ``roles`` in force."""
    name: RunName | None = None
    """The name of the model; null: all models, for ``list`` and ``verify``."""
    run: LocalPath | None = None
    """``register``: a run folder, its ``best/`` or any checkpoint folder, or one in a bucket."""
    version: Annotated[int, Field(ge=1)] | None = None
    """The number of a version; null: the newest, of ``rollback`` the one before."""
    alias: AliasName = CHAMPION
    """The name that points at a version, such as champion and challenger; the gates do not apply
    to ``challenger``."""
    registry: LocalPath = DEFAULT_REGISTRY
    """Folder or bucket (``s3://bucket/prefix``) of the registry."""
    formats: Annotated[tuple[Format, ...], BeforeValidator(as_list)] = ("onnx",)
    """``register``: the files for other runtimes to make, proven equal, and keep with the version;
    [] makes none."""
    exports: Annotated[tuple[LocalPath, ...], BeforeValidator(as_list)] = ()
    """``register``: exported files to keep with the version besides."""
    why: str = ""
    """The reason, for the log."""
    licence: str | None = None
    """``register``: the licence of the model (an SPDX identifier), for the passport."""
    data: JudgedSection = JudgedSection()
    gate: GateSection = GateSection()
    force: str | None = None
    """``promote``: the reason to do it although a gate refuses; it is recorded."""
    key: LocalPath | None = None
    """File of a private key (PEM; Ed25519 or an elliptic curve) that signs what is done."""
    at: Annotated[str, AfterValidator(_date)] | None = None
    """``history``: a day or a time in UTC (2026-03-01); what every alias pointed at then."""
    head: Annotated[str, Field(pattern="[0-9a-f]{64}")] | None = None
    """``verify``: the SHA-256 of the last entry that an earlier ``verify`` printed: it must still
    be in the log, so that a registry that was put back to an old state is found."""
    plugins: Plugins = ()
    """Modules that the model needs: [mypkg.threats]."""
    verbose: bool = False
    """Let the libraries print what they like."""

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> RegistryConfig:
        for setting in _NEEDED.get(self.action, ()):
            if getattr(self, setting) is None:
                examples = {"run": "runs/night-1", "name": "threats", "key": "key.pem"}
                raise ValueError(
                    f"`registry {self.action}` needs `{setting}`, but it is not given. Add "
                    f"`{setting}={examples[setting]}`"
                )
        return self
