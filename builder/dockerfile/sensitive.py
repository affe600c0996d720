"""Which files of a context hold secrets, going by their names (the rule SensitiveFileCopied). Nothing is read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from builder.patterns import pattern

_DIRECTORIES: Final = {
    ".git": "a git repository with its whole history",
    ".ssh": "ssh keys",
    ".gnupg": "a GnuPG key ring",
}
_TOKENS: Final = frozenset(
    (
        ".npmrc", ".pypirc", "pip.conf", "pip.ini", ".netrc", "_netrc", ".git-credentials", ".dockercfg",
        ".dockerconfigjson", ".pgpass", ".my.cnf", ".htpasswd", ".vault-token", ".s3cfg", ".boto",
    )
)  # fmt: skip
_PLACED_TOKENS: Final = (
    ".docker/config.json",
    ".aws/credentials",
    ".kube/config",
    ".gem/credentials",
    ".cargo/credentials",
    ".cargo/credentials.toml",
    ".config/gh/hosts.yml",
    ".config/gcloud/application_default_credentials.json",
    ".config/gcloud/credentials.db",
    ".config/containers/auth.json",
    ".composer/auth.json",
    ".m2/settings.xml",
    ".terraform.d/credentials.tfrc.json",
)
_MARKS: Final = (
    *("/.", "/pip.", "/_netrc", "/id_"),
    *(".key/", ".ppk/", ".p12/", ".pfx/", ".jks/", ".keystore/", ".kdbx/", ".pem/"),
)
"""What is in a path with a slash on both ends that is sensitive."""

_KEY: Final = pattern(
    r"id_(?:rsa|dsa|ecdsa|ed25519|xmss)(?:_sk)?|.*\.(?:key|ppk|p12|pfx|jks|keystore|kdbx)|.*(?:key|priv)[^/]*\.pem"
)
_PUBLIC: Final = pattern(r".*(?:\.pub|pub(?:lic)?[-_.]?key.*)")
_ENVIRONMENT: Final = pattern(r"\.env(?:\..+)?")
_TEMPLATE: Final = pattern(r".*\.(?:example|sample|template|tmpl|dist|defaults?)")


def may_hold_sensitive(directory: str, names: Iterable[str]) -> bool:
    """Say whether any of the files of these names in ``directory`` may be sensitive; may say yes wrongly, never no."""
    # Nearly all names end here, together: a context may have a hundred thousand.
    text = f"/{directory}/{'/'.join(names)}/".lower()
    return any(mark in text for mark in _MARKS)


def sensitive(path: str) -> str | None:
    """Say what the file or directory at ``path`` in a context holds that an image should not, None if nothing.

    ``path`` has ``/`` between its components; names are compared without case.
    """
    path = path.lower()
    parts = [part for part in path.split("/") if part not in ("", ".")]
    for part in parts:
        if part in _DIRECTORIES:
            return _DIRECTORIES[part]
    if not parts:
        return None
    name = parts[-1]
    if name in _TOKENS or f"/{'/'.join(parts)}".endswith(tuple(f"/{placed}" for placed in _PLACED_TOKENS)):
        return "a file where tools keep passwords and tokens"
    if _KEY.fullmatch(name) and not _PUBLIC.fullmatch(name):
        return "a private key"
    if _ENVIRONMENT.fullmatch(name) and not _TEMPLATE.fullmatch(name):
        return "a file of environment variables, often with passwords"
    return None
