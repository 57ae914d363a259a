"""Roles: what is not signed by somebody who may is refused by every reader."""

import dataclasses
import hashlib
import json
import shutil

import pytest

import jamba_ray
from jamba_ray.errors import ConfigError, RegistryError
from jamba_ray.versions import actions
from jamba_ray.versions.keys import SigningKey, is_signed
from jamba_ray.versions.log_entries import ALIASES, AUDIT, read_log
from jamba_ray.versions.model_log import ModelLog
from jamba_ray.versions.opening import find_version, open_version
from jamba_ray.versions.place import FolderPlace
from jamba_ray.versions.reference import parse_reference
from jamba_ray.versions.roles import PINNED, parse_roles
from jamba_ray.versions.signing import sign_model
from jamba_ray.versions.verifying import verified
from tests.versions.conftest import promote, register


def opened(place, reference="threats@champion"):
    return open_version(place, parse_reference(reference))


@pytest.fixture
def key(keys):
    return lambda name: SigningKey(str(keys / f"{name}.pem"))


@pytest.fixture
def signed(tmp_path, runs, keys, key):
    """Returns a registry under roles with a champion, and all of its entries signed."""
    place = FolderPlace(tmp_path / "registry")
    register(place, runs / "b")
    shutil.copy(keys / "roles.json", place.root / "roles.json")
    actions.put_roles_in_force(place, "threats", "", key("ann"))
    register(place, runs / "a", key("bob"))
    promote(place, 2, key=key("ann"))
    assert opened(place).number == 2
    return place


def test_who_may_not_is_told(signed, runs, key):
    for name, words in (("bob", "of bob"), ("eve", "of eve"), ("release", "of release")):
        with pytest.raises(ConfigError, match=f"may \\(ann\\), but .* is {words}"):
            promote(signed, 1, key=key(name))
    with pytest.raises(ConfigError, match=r"must be signed, since there is a `roles\.json`"):
        promote(signed, 1)
    with pytest.raises(ConfigError, match=r"`register` must be .* \(ann, bob\)"):
        register(signed, runs / "a", key("eve"))
    assert len(ModelLog(signed, "threats").log.entries) == 4


def test_who_may_not_register_leaves_nothing(signed, runs, key):
    before = signed.names()
    with pytest.raises(ConfigError, match="is of eve"):
        register(signed, runs / "a", key("eve"))
    assert signed.names() == before
    assert register(signed, runs / "a", key("bob")).version == 3


def test_a_new_model_of_a_registry_with_roles_begins_with_them(signed, runs, key):
    with pytest.raises(RegistryError, match="registry roles name=others"):
        register(signed, runs / "a", key("bob"), name="others")
    actions.put_roles_in_force(signed, "others", "", key("ann"))
    assert register(signed, runs / "a", key("bob"), name="others").version == 1
    assert opened(signed, "others@1").number == 1
    assert [one.words.partition(":")[0] for one in verified(signed, None, None)] == [
        "others",
        "threats",
    ]


def test_what_was_done_before_there_were_roles_is_not_trusted(signed, key):
    with pytest.raises(RegistryError, match="registered before there were roles"):
        opened(signed, "threats@1")
    promote(signed, 1, "challenger", key=key("ann"))  # who promotes it answers for it
    assert opened(signed, "threats@1").number == 1


def test_a_registry_with_roles_that_nobody_put_in_force_is_refused(tmp_path, runs, keys, key):
    place = FolderPlace(tmp_path / "registry")
    register(place, runs / "a")
    promote(place, 1)
    shutil.copy(keys / "roles.json", place.root / "roles.json")
    with pytest.raises(RegistryError, match="but no entry is"):
        opened(place)
    with pytest.raises(ConfigError, match="is of bob"):
        actions.put_roles_in_force(place, "threats", "", key("bob"))
    actions.put_roles_in_force(place, "threats", "", key("ann"))
    with pytest.raises(RegistryError, match="'champion' must have been set by a signed entry"):
        opened(place)
    promote(place, 1, key=key("ann"))
    assert opened(place).number == 1


def forge(place, action, key, by, **says):
    """Adds an entry as somebody would who can write the files and has a key, but not the right."""
    log = ModelLog(place, "threats").log
    last = log.entries[-1]
    entry = dataclasses.replace(
        last, number=last.number + 1, action=action, by=by, previous=log.head, **says
    )
    if key is None:
        entry = dataclasses.replace(entry, key=None, signature=None)
    else:
        entry = dataclasses.replace(entry, key=key.fingerprint)
        entry = dataclasses.replace(entry, signature=key.sign(entry.signed_bytes()))
    more = log.with_entry(entry)
    (place.root / "threats" / AUDIT).write_bytes(more.audit())
    (place.root / "threats" / ALIASES).write_bytes(more.pointer())


@pytest.mark.parametrize(
    ("who", "by", "words"),
    [
        (
            "bob",
            "bob",
            r"promote\) must be signed by .* \(ann\), but is signed by bob, who may only",
        ),
        ("bob", "ann", "signed by bob, who may only register"),
        ("eve", "eve", "signed by eve, who may only read"),
        (None, "ann", "but is not signed"),
    ],
)
def test_an_entry_of_somebody_who_may_not_is_refused(signed, runs, key, who, by, words):
    register(signed, runs / "b", key("bob"))
    digest = ModelLog(signed, "threats").log.digests[3]
    own = None if who is None else key(who)
    forge(signed, "promote", own, by, version=3, digest=digest, alias="champion")
    for read in (opened, lambda place: verified(place, None, None)):
        with pytest.raises(RegistryError, match=words):
            read(signed)
    with pytest.raises(RegistryError, match=words):
        jamba_ray.load("threats@champion", registry=signed.root)


def test_an_entry_in_the_name_of_another_is_refused(signed, key):
    digest = ModelLog(signed, "threats").log.digests[1]
    says = {"version": 1, "digest": digest, "alias": "champion"}
    forge(signed, "promote", key("ann"), "eve", **says)
    with pytest.raises(RegistryError, match="must be by the owner of its key, ann"):
        opened(signed)


def test_a_signature_of_something_else_is_refused(signed):
    """The entry says more than was signed, with the chain and the head made right again."""
    log = ModelLog(signed, "threats").log
    bad = dataclasses.replace(log.entries[-1], why="all was well")
    log = dataclasses.replace(log, entries=log.entries[:-1], lines=log.lines[:-1]).with_entry(bad)
    (signed.root / "threats" / AUDIT).write_bytes(log.audit())
    (signed.root / "threats" / ALIASES).write_bytes(log.pointer())
    with pytest.raises(RegistryError, match="does not fit"):
        opened(signed)


def test_who_may_register_cannot_change_what_was_promoted(signed, key):
    """The content behind a number, with a digest that fits: only that it was registered tells."""
    path = signed.root / "threats" / "2" / "version.json"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b'"created": "20', b'"created": "19'))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    forge(signed, "register", key("bob"), "bob", version=2, digest=digest, alias=None)
    with pytest.raises(RegistryError, match="registered once and before all else"):
        opened(signed)


def test_roles_that_were_removed_or_changed_are_refused(signed, key, keys):
    path = signed.root / "roles.json"
    text = path.read_text()
    path.unlink()
    with pytest.raises(RegistryError, match=r"roles.json must be there since entry 2"):
        opened(signed)
    tree = json.loads(text)
    tree["people"]["eve"]["may"] = ["register", "promote", "rollback", "roles"]
    path.write_text(json.dumps(tree))
    with pytest.raises(RegistryError, match="but was changed since"):
        opened(signed)
    with pytest.raises(ConfigError, match="is of eve"):  # by the roles before, not by her own
        actions.put_roles_in_force(signed, "threats", "", key("eve"))
    with pytest.raises(RegistryError, match="but was changed since"):
        promote(signed, 1, key=key("eve"))
    actions.put_roles_in_force(signed, "threats", "eve takes over", key("ann"))
    promote(signed, 1, key=key("eve"))
    assert opened(signed).number == 1


def test_a_reader_may_demand_roles_of_its_own(tmp_path, runs, keys, monkeypatch):
    """Who can write the registry begins it anew without roles; a pinned file tells."""
    place = FolderPlace(tmp_path / "registry")
    register(place, runs / "a")
    promote(place, 1)
    assert opened(place).notes
    monkeypatch.setenv(PINNED, str(keys / "roles.json"))
    with pytest.raises(RegistryError, match="the log must be signed"):
        opened(place)


def test_rights_and_keys_that_are_no_such_are_said(tmp_path, keys):
    tree = json.loads((keys / "roles.json").read_text())
    for change, words in (
        ({"format": 2}, "`format` 1"),
        ({"signatures": "maybe"}, "'optional' or 'required'"),
        ({"people": {"ann": {"may": []}}}, "'public_key' is missing"),
    ):
        with pytest.raises(RegistryError, match=words):
            parse_roles(json.dumps({**tree, **change}), "roles.json")
    tree["people"]["ann"]["may"] = ["rule"]
    with pytest.raises(RegistryError, match="ann may 'rule', which is no action"):
        parse_roles(json.dumps(tree), "roles.json")
    with pytest.raises(ConfigError, match="must be the file of a private key"):
        SigningKey(str(keys / "roles.json"))
    with pytest.raises(ConfigError, match="no such file"):
        SigningKey(str(tmp_path / "none.pem"))


@pytest.mark.parametrize("name", ["ann", "release"])
def test_each_flipped_bit_of_a_signature_is_found(key, name):
    one, data = key(name), b"what was done"
    signature = one.sign(data)
    assert is_signed(one.public, signature, data)
    assert not is_signed(one.public, signature, data + b" ")
    for i in range(0, len(signature) - 4, 5):
        bad = signature[:i] + ("A" if signature[i] != "A" else "B") + signature[i + 1 :]
        assert not is_signed(one.public, bad, data)


def test_a_log_is_read_alike_with_and_without_roles(signed):
    audit, pointer = (signed.read(f"threats/{n}", 1 << 20) for n in (AUDIT, ALIASES))
    assert read_log("threats", audit, pointer, "x").aliases == {"champion": 2}


def test_a_model_signature_is_demanded_where_roles_say_so(tmp_path, runs, keys, key):
    place = FolderPlace(tmp_path / "registry")
    register(place, runs / "a")
    tree = json.loads((keys / "roles.json").read_text())
    (place.root / "roles.json").write_text(json.dumps({**tree, "signatures": "required"}))
    actions.put_roles_in_force(place, "threats", "", key("ann"))
    promote(place, 1, key=key("ann"))
    with pytest.raises(RegistryError, match=r"must be signed, .* who may \(release\)"):
        opened(place)
    found = find_version(ModelLog(place, "threats"), 1)
    with pytest.raises(ConfigError, match="must be of an elliptic curve to sign a model"):
        sign_model(found, key("ann"))
    _, path = actions.sign(place, "threats", 1, "", key("release"))
    assert opened(place).number == 1
    signature = place.root / path.removeprefix(f"{place}/")
    other = register(place, runs / "b", key("ann")).version
    shutil.copy(signature, signature.with_name(signature.name.replace("1-", f"{other}-", 1)))
    promote(place, other, key=key("ann"))
    with pytest.raises(RegistryError, match="but the signature does not fit"):
        opened(place)
