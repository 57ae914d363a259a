"""Sends messages: to a webhook (as Slack takes them), to Alertmanager, by mail."""

from __future__ import annotations

import json
import smtplib
import ssl
import urllib.error
import urllib.request
from collections.abc import Sequence
from datetime import UTC, datetime
from email.message import EmailMessage

from jamba_ray.config.alert_rules import ChannelSection
from jamba_ray.watching.alerts import Message, text_of
from jamba_ray.watching.secrets import secret_of

TIMEOUT_S = 10.0


class NotSentError(Exception):
    """Reports that a channel did not take a message; ``is_final``: it never will."""

    def __init__(self, why: str, *, is_final: bool = False) -> None:
        super().__init__(why)
        self.why, self.is_final = why, is_final


def send(channel: ChannelSection, messages: Sequence[Message], key: str) -> None:
    """Sends messages as one, with a key by which what arrives twice can be told.

    Raises:
        NotSentError: It was not taken; the reason never holds an address or a password.
        ConfigError: A secret is not there.
    """
    if channel.kind == "smtp":
        _mail(channel, messages, key)
        return
    url = channel.url or secret_of(channel.url_env, channel.url_file, "the address of a channel")
    assert url is not None
    if channel.kind == "webhook":
        _post(url, {"text": text_of(messages), "idempotency_key": key}, key)
    else:
        _post(f"{url.rstrip('/')}/api/v2/alerts", [_alert(one) for one in messages], key)


def _alert(one: Message) -> dict[str, object]:
    """Returns an alert of Alertmanager's API v2, whose labels are its identity."""
    found: dict[str, object] = {
        "labels": {
            "alertname": "JambaRayWatch",
            "model": one.model,
            "finding": one.finding,
            "severity": one.severity,
        },
        "annotations": {"summary": one.sentence},
        "startsAt": _instant(one.since_s),
    }
    if one.is_over:
        found["endsAt"] = _instant(one.now_s)
    return found


def _instant(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Refuses redirects, which would take a message elsewhere."""

    def redirect_request(self, *_: object) -> None:
        """Returns that there is no other request."""
        return


def _post(url: str, body: object, key: str) -> None:
    if not url.startswith(("http://", "https://")):
        raise NotSentError("the address must begin with http:// or https://", is_final=True)
    headers = {"Content-Type": "application/json", "Idempotency-Key": key}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers, method="POST")
    opener = urllib.request.build_opener(_NoRedirect)
    try:
        with opener.open(request, timeout=TIMEOUT_S) as answer:
            answer.read(1024)
    except urllib.error.HTTPError as error:
        code = error.code
        error.close()
        # Too many requests and time-outs pass; what else a client did wrong does not.
        final = 400 <= code < 500 and code not in (408, 425, 429)
        raise NotSentError(f"it answered {code}", is_final=final) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise NotSentError(f"no answer ({type(reason).__name__})") from None


def _mail(channel: ChannelSection, messages: Sequence[Message], key: str) -> None:
    mail = EmailMessage()
    first = max(messages, key=lambda one: (not one.is_over, one.severity == "critical"))
    word = "over" if first.is_over else first.severity
    mail["Subject"] = f"[{word}] {first.model}: {first.finding}"
    mail["From"] = channel.sender
    mail["To"] = ", ".join(channel.to)
    mail["Message-ID"] = f"<{key}@jamba-ray>"
    mail.set_content(text_of(messages))
    password = secret_of(channel.password_env, channel.password_file, "the password of a channel")
    context = ssl.create_default_context()
    try:
        if channel.tls == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                channel.host or "", channel.port, timeout=TIMEOUT_S, context=context
            )
        else:
            server = smtplib.SMTP(channel.host or "", channel.port, timeout=TIMEOUT_S)
        with server:
            if channel.tls == "starttls":
                server.starttls(context=context)
            if password is not None:
                server.login(channel.user or channel.sender or "", password)
            server.send_message(mail)
    except smtplib.SMTPResponseException as error:
        final = 500 <= error.smtp_code < 600
        raise NotSentError(f"it answered {error.smtp_code}", is_final=final) from None
    except (OSError, smtplib.SMTPException) as error:
        raise NotSentError(f"no answer ({type(error).__name__})") from None
