"""Finds files that look like secrets, by their names and by the content of small text files."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

EXCLUDED = (
    *(".env", ".env.*", ".netrc", "_netrc", "*.pem", ".git-credentials", ".pgpass"),
    *(".ssh", ".aws", ".gnupg", ".kube", ".azure", "**/.config/gcloud", "**/.docker/config.json"),
    *("**/.ray/auth_token", "**/.jamba_ray/trackers.env", ".vault-token"),
)
"""Patterns (as in `.gitignore`) of what holds secrets and nothing else: never uploaded unless
allowed by its exact path."""

_NAMES = (
    *("id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "*.key", "*.p12", "*.pfx", "*.jks"),
    *("*.keystore", "*.kdbx", "*.ppk", "*.gpg", "*.ovpn", "*.tfvars", "*.tfstate*", ".npmrc"),
    *(".pypirc", ".htpasswd", ".dockercfg", ".s3cfg", ".boto", "*kubeconfig*", "auth.json"),
    *("*credential*", "*secret*", "*password*", "*passwd*", "*service?account*.json"),
)
# Matches `auth_token`, `tokens.txt` and `TOKEN-2`, but not `tokenizer.json`.
_TOKEN = re.compile(r"tokens?(?![a-z])")
_SOURCE = (
    *(".py", ".pyi", ".md", ".rst", ".html", ".css", ".js", ".ts", ".go", ".rs", ".c", ".h"),
    *(".cpp", ".hpp", ".java", ".sh", ".pub"),
)
"""Programs and texts often have a secret's name without being one: only their content counts."""

_MAX_BYTES = 1_000_000
# Each pattern begins with its literal, which makes the search fast; what must not precede it is
# checked after it.
_CONTENT = {
    "-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----": "a private key",
    "AKIA(?<![A-Za-z0-9]AKIA)[0-9A-Z]{16}(?![0-9A-Za-z])": "an AWS access key",
    "ASIA(?<![A-Za-z0-9]ASIA)[0-9A-Z]{16}(?![0-9A-Za-z])": "an AWS access key",
    "gh[pousr]_(?<![A-Za-z0-9]....)[A-Za-z0-9]{36}": "a GitHub token",
    "github_pat_[A-Za-z0-9_]{30}": "a GitHub token",
    "glpat-[A-Za-z0-9_-]{20}": "a GitLab token",
    "xox[abeoprs]-(?<![A-Za-z0-9].....)[A-Za-z0-9-]{20}": "a Slack token",
    "hf_(?<![A-Za-z0-9]hf_)[A-Za-z0-9]{30}": "a Hugging Face token",
    "AIza[0-9A-Za-z_-]{35}": "a Google API key",
    "npm_(?<![A-Za-z0-9]npm_)[A-Za-z0-9]{36}": "a package registry's token",
    "pypi-[A-Za-z0-9_-]{50}": "a package registry's token",
    "sk-(?<![A-Za-z0-9]sk-)[A-Za-z0-9_-]{32}": "an API key",
    "k_live_[A-Za-z0-9]{20}": "an API key",
    r"machine\s+\S{1,200}\s+login\s+\S{1,200}\s+password\s+\S": "a login of .netrc",
    "eyJ(?<![A-Za-z0-9]eyJ)[A-Za-z0-9_-]{16,2000}\\.eyJ[A-Za-z0-9_-]{16}": "a signed token",
}
# In lower case; a long value with letters and digits, so that `api_key=os.environ[...]` is none.
_VALUE = (
    r"[\"']?\s{0,4}[=:]\s{0,4}[\"']?(?=[a-z_/+=-]{0,200}[0-9])(?=[0-9_/+=-]{0,200}[a-z])"
    r"[a-z0-9_/+=-]{20}"
)
_ASSIGNED = (
    r"key(?:(?<=api.key)|(?<=apikey)|(?<=access.key)|(?<=accesskey)|(?<=secret.key)|(?<=secretkey)"
    r"|(?<=account.key)|(?<=accountkey)|(?<=private.key))",
    *("token", "secret", "password", "passwd"),
)
_PATTERNS = [(re.compile(pattern), what) for pattern, what in _CONTENT.items()]
_ASSIGNMENTS = [re.compile(word + _VALUE) for word in _ASSIGNED]


def looks_secret(path: Path, shown: str) -> str | None:
    """Returns why a file looks like a secret, or None; ``shown`` is its path in the upload.

    A link is also judged by its target, because the target's content is uploaded.
    """
    names = [PurePosixPath(shown)]
    if (real := path.resolve()) != path.absolute():
        names.append(PurePosixPath(real))
    if any(_by_name(name) for name in names):
        return "its name"
    try:
        if path.stat().st_size > _MAX_BYTES:
            return None
        content = path.read_bytes()
    except OSError:
        return None  # a file that cannot be read cannot be uploaded
    return _by_content(content)


def _by_name(path: PurePosixPath) -> bool:
    name = path.name.lower()
    if any(fnmatchcase(name, pattern) for pattern in EXCLUDED) or any(
        part.lower() in EXCLUDED for part in path.parts[:-1]
    ):
        return True
    if path.suffix.lower() in _SOURCE:
        return False
    return any(fnmatchcase(name, p) for p in _NAMES) or _TOKEN.search(name) is not None


def _by_content(content: bytes) -> str | None:
    if b"\0" in content[:8192] and not content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return None
    wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    text = content.decode("utf-16" if wide else "utf-8", errors="replace")
    lower = text.lower()
    found = [(pattern.search(text), what) for pattern, what in _PATTERNS]
    found += [(pattern.search(lower), "a key or password") for pattern in _ASSIGNMENTS]
    for match, what in found:
        if match is not None:
            return f"line {text.count(chr(10), 0, match.start()) + 1} holds {what}"
    return None
