"""Signs and checks versions as OpenSSF's model signing does; the only file that imports it.

A signature is a Sigstore bundle over the digests of all files of a version, made offline with an
elliptic key. Anybody checks it with the public key and ``model_signing verify``.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jamba_ray.errors import ConfigError, RegistryError
from jamba_ray.versions.keys import PASSWORD, SigningKey
from jamba_ray.versions.opening import Found
from jamba_ray.versions.place import LAST
from jamba_ray.versions.roles import Roles

SIGNATURES = "signatures"
_MAX_BYTES = 10_000_000
_CURVES = ("secp256r1", "secp384r1", "secp521r1")


def _needed() -> None:
    for package in ("model_signing", "OpenSSL"):
        if importlib.util.find_spec(package) is None:
            raise ConfigError(
                [
                    f"a signature of a model needs the package {package}, which is not installed. "
                    "Run `pip install 'jamba-ray[signing]'`."
                ]
            )


def signature_name(found: Found, fingerprint: str) -> str:
    """Returns the name of a signature in the registry: beside the version, which never changes."""
    return f"{found.log.name}/{SIGNATURES}/{found.number}-{fingerprint}.sig"


def sign_model(found: Found, key: SigningKey) -> tuple[str, bytes]:
    """Returns the name and the content of the signature of a version.

    Raises:
        ConfigError: The key is not of a curve that model signing takes.
    """
    _needed()
    from model_signing import hashing, signing

    start: Any = signing.Config
    hashed: Any = hashing.Config

    with _copy(found) as folder, tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "model.sig"
        try:
            config = start().use_elliptic_key_signer(
                private_key=key.path, password=os.environ.get(PASSWORD)
            )
            config.set_hashing_config(hashed().use_file_serialization())
            config.sign(folder, path)
        except (ValueError, TypeError, AttributeError):
            raise ConfigError(
                [
                    f"`key` must be of an elliptic curve to sign a model ({', '.join(_CURVES)}), "
                    f"but {key.path!r} is not. Make one with `openssl ecparam -name "
                    "prime256v1 -genkey -noout -out model-key.pem`."
                ]
            ) from None
        return signature_name(found, key.fingerprint), path.read_bytes()


def check_model_signatures(found: Found, roles: Roles) -> int:
    """Checks the signatures of a version by those who may sign; returns how many there are.

    Raises:
        RegistryError: One does not fit the version.
    """
    n = 0
    for fingerprint, person in roles.people.items():
        raw = found.log.place.read(signature_name(found, fingerprint), _MAX_BYTES)
        if raw is None or "sign" not in person.may:
            continue
        _check(found, raw, person.public_key, person.name)
        n += 1
    return n


def check_model_signature(found: Found, roles: Roles) -> None:
    """Refuses a version that nobody who may has signed; raises RegistryError."""
    if not check_model_signatures(found, roles):
        raise RegistryError(
            f"{found.where} must be signed, as the roles demand, by somebody who may "
            f"({roles.who_may('sign')}), but is not. Sign it with `jamba-ray registry sign "
            f"name={found.log.name} version={found.number} key=<key.pem>`."
        )


def _check(found: Found, raw: bytes, public: str, who: str) -> None:
    _needed()
    from model_signing import verifying

    start: Any = verifying.Config

    with _copy(found) as folder, tempfile.TemporaryDirectory() as scratch:
        signature, key = Path(scratch) / "model.sig", Path(scratch) / "key.pem"
        signature.write_bytes(raw)
        key.write_text(public)
        try:
            config = start().use_elliptic_key_verifier(public_key=key)
            config.verify(folder, signature)
        except Exception as error:  # the package has kinds of its own
            why = " ".join(str(error).split())[:200] or type(error).__name__
            raise RegistryError(
                f"{found.where} must be what {who} signed, but the signature does not fit it "
                f"({why}). Restore both from a copy, or sign it again."
            ) from None


@contextlib.contextmanager
def _copy(found: Found) -> Iterator[Path]:
    """Yields a folder with the verified files of a version, under its name and number."""
    with tempfile.TemporaryDirectory(prefix="jamba-ray-signing-") as scratch:
        folder = Path(scratch) / f"{found.log.name}-{found.number}"
        for name in found.content.files:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(found.read(name))
        (folder / LAST).write_bytes(found.content.to_bytes())
        yield folder
