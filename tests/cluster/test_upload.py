"""What leaves the machine with a job: no secrets, and a key for exactly what does."""

import dataclasses
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

import jamba_ray
from jamba_ray import submit
from jamba_ray.cli.composition import compose_section
from jamba_ray.cluster import upload
from jamba_ray.config.plugin_modules import Plugin
from jamba_ray.config.run import SweepConfig
from jamba_ray.errors import ConfigError, ExitCode

SECRETS = (
    *(".env", ".env.local", "sub/.env", ".netrc", ".ssh/id_rsa", ".ssh/config", "server.pem"),
    *(
        ".jamba_ray/trackers.env",
        ".aws/credentials",
        ".kube/config",
        ".docker/config.json",
        ".config/gcloud/a.db",
    ),
)
# Put together here: this file travels, too.
CONTENTS = {
    "a.txt": "x\n-----BEGIN " + "RSA PRIVATE KEY-----\n",
    "b.cfg": "id=" + "AKIA" + "IOSFODNN7ABCDEFG",
    "c.py": 't = "ghp_' + "a1B2" * 9 + '"',
    "d.yaml": "wandb:\n  api_" + "key: " + "0a1b2c3d4e" * 4,
    "e.json": '{"client_' + 'secret": "' + "abcdefgh12345678ijklmnop" + '"}',
    "f": "machine api.example.com login user pass" + "word x",
    "g.ini": "PASS" + "WORD = abcdef0123456789abcdef",
    "h.utf16": ("\ufeff" + "AKIA" + "IOSFODNN7ABCDEFG").encode("utf-16-le"),
}
HARMLESS = {
    "tokenizer.json": "{}",
    "tokens.py": "api_key = os.environ['WANDB_API_KEY_OF_TEAM_1']",
    "secrets.md": "Put `password=` into the environment.",
    "id_rsa.pub": "ssh-rsa AAAAB3",
    "features.csv": "token,key,is_threat\n1,2,0\n",
    "monkey.txt": "bananas",
    "data.bin": b"\0\1AKIA" + b"IOSFODNN7ABCDEFG",
}


def put(folder, name, content="x"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def names(found):
    return {name for name, _ in found.files}


def as_ray_packs(folder, excludes, target):
    from ray._private.runtime_env.packaging import _zip_files

    gitignore = os.environ.get("RAY_RUNTIME_ENV_IGNORE_GITIGNORE", "0") != "1"
    _zip_files(str(folder), list(excludes), str(target), include_gitignore=gitignore)
    with zipfile.ZipFile(target) as packed:
        return {name for name in packed.namelist() if not name.endswith("/")}


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "work"
    put(place, "sweep.py", "x = 1\n")
    return place


def test_files_of_secrets_stay_and_are_named(folder, tmp_path):
    for name in SECRETS:
        put(folder, name)
    found = upload.preview(folder)
    assert names(found) == {"sweep.py"} == as_ray_packs(folder, found.excludes, tmp_path / "z")
    assert set(found.withheld) == set(SECRETS)
    assert "not uploaded, a secret: .aws/credentials" in found.lines()
    allowed = upload.preview(folder, ["server.pem", ".git/config"])
    put(folder, ".git/config")
    assert names(allowed) == {"sweep.py", "server.pem"}
    assert as_ray_packs(folder, allowed.excludes, tmp_path / "z2") == names(allowed)


@pytest.mark.parametrize(
    "name",
    [
        *("id_rsa", "K.KEY", "x.p12", "credentials.json", "my-token", "auth_token.txt", ".npmrc"),
        *(".pypirc", "kubeconfig.yaml", "client_secret.json", ".ENV", "service-account-1.json"),
    ],
)
def test_what_is_called_like_a_secret_is_refused_until_it_is_allowed(folder, name):
    put(folder, name)
    found = upload.preview(folder)
    with pytest.raises(ConfigError, match=r"its name.*submit\.allow="):
        upload.refuse_secrets(found, [])
    upload.refuse_secrets(found, [name])


@pytest.mark.parametrize("name", CONTENTS)
def test_what_holds_a_secret_is_refused(folder, name):
    put(folder, name, CONTENTS[name])
    with pytest.raises(ConfigError, match=r"line \d holds"):
        upload.refuse_secrets(upload.preview(folder), [])


def test_what_only_speaks_of_secrets_is_not_refused(folder):
    for name, content in HARMLESS.items():
        put(folder, name, content)
    assert upload.preview(folder).suspects() == []


def test_a_link_to_a_secret_is_one(folder, tmp_path):
    put(tmp_path, "home/.ssh/key_of_mine")
    (folder / "notes.txt").symlink_to(tmp_path / "home" / ".ssh" / "key_of_mine")
    assert upload.preview(folder).suspects() == [("notes.txt", "its name")]


def test_the_preview_follows_what_ray_is_told_of_gitignore(folder, tmp_path, monkeypatch):
    put(folder, ".gitignore", "*.local\n")
    put(folder, "my.local")
    for value, expected in (("0", False), ("1", True)):
        monkeypatch.setenv("RAY_RUNTIME_ENV_IGNORE_GITIGNORE", value)
        found = upload.preview(folder)
        assert ("my.local" in names(found)) is expected
        assert names(found) == as_ray_packs(folder, found.excludes, tmp_path / f"z{value}")


def test_what_is_left_out_by_name_is_left_out_by_ray_too(folder, tmp_path):
    odd = ["a[b]*?.key", "!x.key", "#y.key", "d/z w.key", "back\\slash.key"]
    for name in odd:
        put(folder, name)
    found = upload.preview(folder).without(odd)
    assert names(found) == {"sweep.py"} == as_ray_packs(folder, found.excludes, tmp_path / "z")


def test_submit_lists_and_refuses_before_anything_is_sent(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    put(folder, "deploy.key")
    line = ["+sweep=learning_rate", "submit.dry_run=true"]
    assert submit.COMMAND.main(line) == ExitCode.CONFIG
    assert "deploy.key (its name)" in capsys.readouterr().err
    assert submit.COMMAND.main([*line, "submit.allow=[deploy.key]"]) == ExitCode.OK


@pytest.mark.parametrize("git", [True, False])
def test_the_key_changes_with_every_byte_that_travels_and_with_nothing_else(folder, git):
    if git:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
        for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "x"]):
            subprocess.run(["git", "-C", str(folder), *command], check=True)
    config = compose_section(SweepConfig, "config", ["+sweep=learning_rate"])
    seen = [submit.sweep_key(config, folder)]
    for name, content in (("new.py", "1"), ("new.py", "2"), ("sweep.py", "x = 2\n"), ("é ", "")):
        put(folder, name, content)
        seen.append(submit.sweep_key(config, folder))
    os.rename(folder / "new.py", folder / "other.py")
    seen.append(submit.sweep_key(config, folder))
    assert len(set(seen)) == len(seen)
    put(folder, "runs/x/summary.json")
    put(folder, ".env", "another")
    os.utime(folder / "sweep.py", (1, 1))
    assert submit.sweep_key(config, folder) == seen[-1]


def test_results_that_came_home_change_no_key(folder):
    before = upload.preview(folder, outputs=["mine/out", "s3://bucket/x", ".", "../y"])
    put(folder, "mine/out/key/summary.json")
    again = upload.preview(folder, outputs=["mine/out"])
    assert names(before) == names(again) == {"sweep.py"}
    assert before.digest() == again.digest()


def test_the_whole_package_travels_and_results_at_the_top_do_not(folder):
    """Also its folder ``runs``, which has the name of the folder of results."""
    package = Path(jamba_ray.__file__).parent
    shutil.copytree(package, folder / "jamba_ray", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("runs", "results", "outputs", "multirun"):
        put(folder, f"{name}/x/summary.json")
    modules = {f"jamba_ray/{path.relative_to(package)}" for path in package.rglob("*.py")}
    assert "jamba_ray/runs/run_folder.py" in modules
    found = names(upload.preview(folder))
    assert found >= modules
    assert not [name for name in found if name.endswith("summary.json")]


def test_a_plug_in_that_stays_behind_is_refused(folder, monkeypatch):
    """Of this folder: one that is ignored. Installed elsewhere, it is the nodes' own affair."""
    put(folder, "threats.py", "RATE = 1\n")
    put(folder, "rates.py", "RATE = 2\n")
    files = {"threats.py": "RATE = 1\n", "rates.py": "RATE = 2\n"}
    plugin = Plugin("threats", "1.0", "123", str(folder.absolute()), files)
    monkeypatch.setattr(upload, "shipment", lambda: (plugin,))
    upload.refuse_without_plugins(upload.preview(folder))
    put(folder, ".rayignore", "rates.py\n")
    with pytest.raises(ConfigError) as caught:
        upload.refuse_without_plugins(upload.preview(folder))
    assert list(caught.value.mistakes) == [
        "`submit` must upload the plug-in `threats`, but leaves out rates.py. Take it out of "
        "`.gitignore` and `.rayignore`, or install it on the nodes."
    ]
    elsewhere = dataclasses.replace(plugin, root=str(folder.parent / "site-packages"))
    monkeypatch.setattr(upload, "shipment", lambda: (elsewhere,))
    upload.refuse_without_plugins(upload.preview(folder))
