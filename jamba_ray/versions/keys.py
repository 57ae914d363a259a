"""Signs and checks with Ed25519 and elliptic keys; the only file that imports ``cryptography``."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING

from jamba_ray.errors import ConfigError, RegistryError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import (
        EllipticCurvePrivateKey,
        EllipticCurvePublicKey,
    )
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

    Private = Ed25519PrivateKey | EllipticCurvePrivateKey
    Public = Ed25519PublicKey | EllipticCurvePublicKey

PASSWORD = "JAMBA_RAY_KEY_PASSWORD"
"""The environment variable with the password of a private key, if that has one."""
_MAX_BYTES = 100_000


def needed() -> None:
    """Refuses to go on without the package.

    Raises:
        ConfigError: Naming the extra that installs it.
    """
    if importlib.util.find_spec("cryptography") is None:
        raise ConfigError(
            [
                "the signatures of a registry with roles need the package cryptography, which is "
                "not installed. Run `pip install 'jamba-ray[signing]'`."
            ]
        )


class SigningKey:
    """Signs as the owner of a private key."""

    def __init__(self, path: str) -> None:
        """Raises ConfigError where the file is no private key of a kind that is known."""
        needed()
        self.path = path
        self._key = _private(path)
        self.public = _pem(self._key.public_key())
        """The public key, as PEM."""
        self.fingerprint = fingerprint(self.public)

    def sign(self, data: bytes) -> str:
        """Returns the signature in base64."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec

        if isinstance(self._key, ec.EllipticCurvePrivateKey):
            raw = self._key.sign(data, ec.ECDSA(hashes.SHA256()))
        else:
            raw = self._key.sign(data)
        return base64.b64encode(raw).decode()


def is_signed(public: str, signature: str, data: bytes) -> bool:
    """Says whether a signature (base64) is of this data and by the owner of a public key (PEM).

    Raises:
        RegistryError: The public key cannot be read.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    key = _public(public)
    try:
        raw = base64.b64decode(signature, validate=True)
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(raw, data, ec.ECDSA(hashes.SHA256()))
        else:
            key.verify(raw, data)
    except (InvalidSignature, ValueError):
        return False
    return True


def fingerprint(public: str) -> str:
    """Returns the SHA-256 (first 32 hex digits) of a public key (PEM), however it is written."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    der = _public(public).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()[:32]


def _public(pem: str) -> Public:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise RegistryError(
            "a public key of `roles.json` must be PEM (-----BEGIN PUBLIC KEY-----), but one cannot "
            f"be read ({error}). Write it with `openssl pkey -in key.pem -pubout`."
        ) from None
    if not isinstance(key, (ed25519.Ed25519PublicKey, ec.EllipticCurvePublicKey)):
        raise RegistryError(
            "a public key of `roles.json` must be Ed25519 or of an elliptic curve, but is "
            f"{type(key).__name__}. Make one with `openssl genpkey -algorithm ed25519`."
        )
    return key


def _private(path: str) -> Private:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    password = os.environ.get(PASSWORD)
    try:
        with Path(path).open("rb") as file:
            raw = file.read(_MAX_BYTES)
        key = load_pem_private_key(raw, None if password is None else password.encode())
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        why = error.strerror if isinstance(error, OSError) else "no private key in PEM, or locked"
        raise ConfigError(
            [
                f"`key` must be the file of a private key, but {path!r} cannot be read "
                f"({str(why).lower()}). Make one with `openssl genpkey -algorithm ed25519 -out "
                f"key.pem`; a password goes into {PASSWORD}."
            ]
        ) from None
    if not isinstance(key, (ed25519.Ed25519PrivateKey, ec.EllipticCurvePrivateKey)):
        raise ConfigError(
            [
                f"`key` must be Ed25519 or of an elliptic curve, but {path!r} is another kind. "
                "Make one with `openssl genpkey -algorithm ed25519 -out key.pem`."
            ]
        )
    return key


def _pem(key: Public) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
