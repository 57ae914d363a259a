"""Tests who is told what, and that nothing told is lost: rules as decisions, channels for real."""

from __future__ import annotations

import json

import pytest

from jamba_ray.config.alert_rules import RulesSection
from jamba_ray.errors import ConfigError
from jamba_ray.watching.alert_file import read_rules
from jamba_ray.watching.alerts import decide
from jamba_ray.watching.outbox import FIRST_WAIT_S, GIVE_UP_S, tell
from tests.watching.receivers import http_receiver, smtp_receiver

NOW = 1_800_000_000.0


def rules(url="http://127.0.0.1:9", silences=(), **rule):
    channels = {"soc": {"kind": "webhook", "url": url}}
    return RulesSection.model_validate(
        {"channels": channels, "rules": [{"to": "soc", **rule}], "silences": silences}
    )


def report(window, **findings):
    found = [
        {"key": key.replace("_", ":"), "severity": severity, "sentence": f"{key} has changed."}
        for key, severity in findings.items()
    ]
    return {"model": "threats", "window": {"id": window}, "findings": found}


def told(some_rules, windows):
    """Returns, window by window, what is told: 'key' or '-key' where it is over."""
    state, out = {}, []
    for i, findings in enumerate(windows):
        messages, state = decide(some_rules, report(str(i), **findings), state, NOW + 3600 * i)
        out.append([f"{'-' * one.is_over}{one.finding}" for one in messages])
    return out


YES, NO = {"values_a": "warning"}, {}


def test_a_finding_is_told_once_and_when_it_is_over():
    assert told(rules(), [YES, YES, NO, NO, NO]) == [["values:a"], [], [], ["-values:a"], []]


def test_what_comes_and_goes_is_not_told_again_and_again():
    assert told(rules(), [YES, NO, YES, NO, YES]) == [["values:a"], [], [], [], []]
    # The sabotage twin: without hysteresis each change is told.
    assert sum(map(len, told(rules(clear=1), [YES, NO, YES, NO, YES]))) == 5
    assert told(rules(after=2), [YES, NO, YES, YES]) == [[], [], [], ["values:a"]]


def test_rules_choose_by_name_and_severity_and_may_repeat():
    assert told(rules(severity="critical"), [YES]) == [[]]
    assert told(rules(match="missing:*"), [YES]) == [[]]
    assert told(rules(repeat="2h"), [YES, YES, YES]) == [["values:a"], [], ["values:a"]]


def test_a_silence_holds_back_and_then_lets_go():
    until = "2027-01-15T09:00:00+00:00"  # an hour after NOW
    silence = [{"match": "values:*", "until": until}]
    assert told(rules(silences=silence), [YES, YES, YES]) == [[], ["values:a"], []]


def test_the_same_window_again_gives_no_message_and_messages_have_keys_of_their_own():
    messages, state = decide(rules(), report("w", **YES), {}, NOW)
    assert decide(rules(), report("w", **YES), state, NOW + 1) == ([], state)
    again, _ = decide(rules(), report("w", **YES), {}, NOW + 5)
    assert again[0].key == messages[0].key
    other, _ = decide(rules(), report("v", **YES), {}, NOW)
    assert other[0].key != messages[0].key


def test_a_webhook_that_is_down_gets_it_later_once(tmp_path):
    with http_receiver([503]) as (url, received):
        some = rules(url)
        said = tell(some, report("w", **YES), tmp_path, NOW)
        assert "tried again" in said[0]
        assert tell(some, report("w", **YES), tmp_path, NOW + 1) == []  # too early
        assert tell(some, report("w", **YES), tmp_path, NOW + FIRST_WAIT_S + 1) == []
        assert tell(some, report("w", **YES), tmp_path, NOW + 9 * FIRST_WAIT_S) == []
    assert [one[3] for one in received] == [503, 200]
    assert len({one[1] for one in received}) == 1  # one key, so that a receiver can tell
    assert received[-1][2]["text"].endswith("values_a has changed. [values:a]")
    assert not [*(tmp_path / "outbox").iterdir()]


def test_what_is_refused_or_too_old_becomes_a_dead_letter(tmp_path):
    with http_receiver([404]) as (url, _):
        said = (
            tell(rules(url), report("w", **YES), tmp_path / "a", NOW)
            if ((tmp_path / "a").mkdir() is None)
            else []
        )
    assert "answered 404" in said[0]
    assert "dead_letters" in said[0]
    assert len([*(tmp_path / "a" / "dead_letters").iterdir()]) == 1
    tell(rules(), report("w", **YES), tmp_path, NOW)
    assert len([*(tmp_path / "outbox").iterdir()]) == 1
    tell(rules(), report("w", **YES), tmp_path, NOW + GIVE_UP_S + 1)
    assert len([*(tmp_path / "dead_letters").iterdir()]) == 1


def test_a_crash_after_the_messages_were_kept_sends_each_once(tmp_path):
    class Crashed(Exception):
        pass

    def crash(*_):
        raise Crashed

    with pytest.raises(Crashed):
        tell(rules(), report("w", **YES), tmp_path, NOW, crash)
    sent = []
    tell(rules(), report("w", **YES), tmp_path, NOW + 1, lambda c, m, key: sent.append(key))
    tell(rules(), report("w", **YES), tmp_path, NOW + 2, lambda c, m, key: sent.append(key))
    assert len(sent) == 1
    # Had the crash come before the state was written, the same name is written again.
    (tmp_path / "alerts.json").unlink()
    tell(rules(), report("w", **YES), tmp_path, NOW + 3, lambda c, m, key: sent.append(key))
    assert len(set(sent)) == 1


def test_alertmanager_gets_alerts_of_its_api(tmp_path):
    with http_receiver() as (url, received):
        some = RulesSection.model_validate(
            {"channels": {"am": {"kind": "alertmanager", "url": url}}, "rules": [{"to": "am"}]}
        )
        for i, findings in enumerate((YES, NO, NO)):
            tell(some, report(str(i), **findings), tmp_path, NOW + i)
    assert [one[0] for one in received] == ["/api/v2/alerts"] * 2
    first, last = (one[2][0] for one in received)
    assert first["labels"] == last["labels"]  # so it ends the same alert
    assert "endsAt" in last
    assert "endsAt" not in first


def test_mail_arrives(tmp_path):
    with smtp_receiver() as (port, mails):
        mail = {"kind": "smtp", "host": "127.0.0.1", "port": port, "tls": "none"}
        mail |= {"sender": "watch@example.org", "to": "soc@example.org"}
        some = RulesSection.model_validate({"channels": {"m": mail}, "rules": [{"to": "m"}]})
        assert tell(some, report("w", **YES), tmp_path, NOW) == []
    (text,) = mails
    assert "Subject: [warning] threats: values:a" in text
    assert "Message-ID: <" in text


def test_secrets_come_from_the_environment_or_a_private_file_and_are_never_said(
    tmp_path, monkeypatch
):
    channel = {"kind": "webhook", "url_env": "SOC_HOOK"}
    some = RulesSection.model_validate({"channels": {"soc": channel}, "rules": [{"to": "soc"}]})
    monkeypatch.delenv("SOC_HOOK", raising=False)
    assert "SOC_HOOK" in tell(some, report("a", **YES), tmp_path, NOW)[0]
    monkeypatch.setenv("SOC_HOOK", "http://127.0.0.1:9/T0/secret-key")
    (said,) = tell(some, report("a", **YES), tmp_path, NOW + 2 * FIRST_WAIT_S)
    kept = "".join(path.read_text() for path in tmp_path.rglob("*.json"))
    assert "secret-key" not in said + kept
    file = tmp_path / "hook"
    file.write_text("http://127.0.0.1:9/secret-key")
    file.chmod(0o644)
    channel = {"kind": "webhook", "url_file": str(file)}
    some = RulesSection.model_validate({"channels": {"soc": channel}, "rules": [{"to": "soc"}]})
    (tmp_path / "b").mkdir()
    assert "chmod 600" in tell(some, report("a", **YES), tmp_path / "b", NOW)[0]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("rules: [{to: soc}]\nchannels: {}", "'soc'"),
        ("channels: {s: {kind: webhook}}\nrules: []", "`url`"),
        ("channels: {s: {kind: smtp, host: h, sender: a, to: b, tls: none, password_env: P}}\n"
         "rules: []", "TLS"),
        ("silences: [{match: a, until: 2026-01-01}]\nchannels: {}\nrules: []", "time zone"),
        ("[1", "YAML"),
        ("3", "channels"),
    ],
)  # fmt: skip
def test_mistakes_in_the_rules_are_sentences(tmp_path, text, sentence):
    (tmp_path / "rules.yaml").write_text(text)
    with pytest.raises(ConfigError, match=sentence):
        read_rules(str(tmp_path / "rules.yaml"))


def test_watch_tells_by_its_rules(watch, frame, place):
    with http_receiver() as (url, received):
        (place / "rules.yaml").write_text(
            json.dumps({"channels": {"s": {"kind": "webhook", "url": url}}, "rules": [{"to": "s"}]})
        )
        some = frame[5_000:6_000].drop(columns="feature_04")
        watch("told", some, "rules=rules.yaml", "ask=0", expect=6)
    assert any("'feature_04' is not there" in one[2]["text"] for one in received)
