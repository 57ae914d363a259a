"""Defines the file of ``watch``'s rules: which findings are told, to whom, and when not."""

from __future__ import annotations

from datetime import datetime
from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from jamba_ray.config.names import as_list
from jamba_ray.config.section import Section
from jamba_ray.config.watch import Duration

Severity = Literal["info", "warning", "critical"]
Names = Annotated[tuple[str, ...], BeforeValidator(as_list)]


class ChannelSection(Section):
    """Says where messages go.

    What is secret (an address with a key, a password) is named by a variable of the environment or
    a file that its owner alone can read, never written here.
    """

    kind: Literal["webhook", "alertmanager", "smtp"]
    """``webhook``: JSON with ``text``, as Slack takes it; ``alertmanager``: its API v2."""
    url: str | None = None
    """Address, where it is no secret: http://alertmanager:9093."""
    url_env: str | None = None
    """Variable of the environment that holds the address."""
    url_file: str | None = None
    """File (mode 0600) that holds the address."""
    host: str | None = None
    """SMTP server."""
    port: Annotated[int, Field(ge=1, le=65535)] = 587
    tls: Literal["starttls", "tls", "none"] = "starttls"
    """``none`` is for a server on this machine: a password is then refused."""
    sender: str | None = None
    to: Names = ()
    user: str | None = None
    password_env: str | None = None
    """Variable of the environment that holds the password."""
    password_file: str | None = None
    """File (mode 0600) that holds the password."""

    @model_validator(mode="after")
    def _is_whole(self) -> ChannelSection:
        addresses = [one for one in (self.url, self.url_env, self.url_file) if one]
        if self.kind == "smtp":
            if not (self.host and self.sender and self.to):
                raise ValueError("a channel `smtp` needs `host`, `sender` and `to`. Add them")
            if self.tls == "none" and (self.password_env or self.password_file):
                raise ValueError("a password must not be sent without TLS. Set `tls: starttls`")
        elif len(addresses) != 1:
            raise ValueError(
                f"a channel `{self.kind}` needs one of `url`, `url_env` and `url_file`. Give one"
            )
        return self


class RuleSection(Section):
    """Says which findings are told, to whom, and how steady they must be."""

    match: str = "*"
    """Name of findings, such as ``values:bytes_out``, ``missing:*`` or ``promise``."""
    severity: Severity = "warning"
    """Findings at least so grave."""
    to: Names
    """Channels."""
    after: Annotated[int, Field(ge=1, le=1000)] = 1
    """Tell when so many windows in a row have it."""
    clear: Annotated[int, Field(ge=1, le=1000)] = 2
    """Say that it is over when so many windows in a row have not."""
    repeat: Duration | None = None
    """Tell again after this time while it lasts; null: once."""


class SilenceSection(Section):
    """Keeps findings from being told for a time."""

    match: str
    until: datetime
    """With a time zone: 2026-12-01T08:00:00+00:00."""
    why: str = ""

    @model_validator(mode="after")
    def _has_zone(self) -> SilenceSection:
        if self.until.tzinfo is None:
            raise ValueError("`until` needs a time zone. Write 2026-12-01T08:00:00+00:00")
        return self

    def silences(self, key: str, now_s: float) -> bool:
        """Says whether the finding is silenced now."""
        return now_s < self.until.timestamp() and fnmatchcase(key, self.match)


class RulesSection(Section):
    """Holds channels, rules and silences."""

    channels: dict[str, ChannelSection]
    rules: tuple[RuleSection, ...]
    silences: tuple[SilenceSection, ...] = ()

    @model_validator(mode="after")
    def _channels_are_known(self) -> RulesSection:
        for rule in self.rules:
            for name in rule.to:
                if name not in self.channels:
                    raise ValueError(
                        f"a rule names the channel {name!r}, but the channels are "
                        f"{', '.join(map(repr, self.channels)) or 'none'}. Add it there"
                    )
        return self
