"""Which files of a context hold secrets, going by their names (the rule SensitiveFileCopied). Nothing is read."""

from __future__ import annotations

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
_STARTS: Final = ("pip.", "_netrc", "id_", ".")
_ENDS: Final = (".key", ".ppk", ".p12", ".pfx", ".jks", ".keystore", ".kdbx", ".pem")
"""How names begin or end that are sensitive in a path without any hidden component."""

_KEY: Final = pattern(
    r"id_(?:rsa|dsa|ecdsa|ed25519|xmss)(?:_sk)?|.*\.(?:key|ppk|p12|pfx|jks|keystore|kdbx)|.*(?:key|priv)[^/]*\.pem"
)
_PUBLIC: Final = pattern(r".*(?:\.pub|pub(?:lic)?[-_.]?key.*)")
_ENVIRONMENT: Final = pattern(r"\.env(?:\..+)?")
_TEMPLATE: Final = pattern(r".*\.(?:example|sample|template|tmpl|dist|defaults?)")


def sensitive(path: str) -> str | None:
    """Say what the file or directory at ``path`` in a context holds that an image should not, None if nothing.

    ``path`` has ``/`` between its components; names are compared without case.
    """
    path = path.lower()
    if "/." not in path and not path.startswith("."):
        # Nearly every file ends here: a context may have a hundred thousand.
        name = path[path.rfind("/") + 1 :]
        if not name.startswith(_STARTS) and not name.endswith(_ENDS):
            return None
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
