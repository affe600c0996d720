"""Files with accounts: Docker's ``config.json`` and containers' ``auth.json`` (containers-auth.json(5)), as documents.

Where they are and how their keys are compared. Nothing is written here (``accounts`` does); no secret is in a
``repr`` or an error.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from builder.patterns import pattern
from builder.registry.errors import AuthenticationError
from builder.registry.hosts import canonical_host
from builder.values import dataclass, field

FILE_LIMIT = 1 << 20
"""Bytes of a file with accounts."""

_VERSION = pattern(r"^v[12](/|$)")


@dataclass(frozen=True, slots=True)
class Entry:
    """What a file has under a key, which is as it stands there."""

    key: str
    fields: Mapping[str, object] = field(repr=False, hash=False)


@dataclass(frozen=True, slots=True)
class AuthDocument:
    """One source of accounts. ``entries`` and ``helpers`` are by ``host[/path]``; ``store`` is the helper for the rest.

    ``name`` is for people, ``path`` None for a variable.
    """

    name: str
    path: Path | None
    entries: Mapping[str, Entry] = field(repr=False, hash=False)
    helpers: Mapping[str, str] = field(hash=False)
    store: str = ""

    def entry(self, registry: str, repository: str = "") -> tuple[str, Entry] | None:
        """Return the entry of the longest path of ``registry/repository`` that has one, and that path."""
        return next(
            ((path, self.entries[path]) for path in _prefixes(registry, repository) if path in self.entries), None
        )

    def helper(self, registry: str, repository: str = "") -> tuple[str, str] | None:
        """Return the helper of the longest such path, and the path; a path without a program has none on purpose."""
        return next(
            ((path, self.helpers[path]) for path in _prefixes(registry, repository) if path in self.helpers), None
        )


def _prefixes(registry: str, repository: str) -> Iterator[str]:
    path = f"{registry}/{repository}".rstrip("/")
    while path:
        yield path
        path = path.rpartition("/")[0]


def documents(
    environment: Mapping[str, str], authfile: Path | None = None, warn: Callable[[str], None] = lambda _: None
) -> Iterator[AuthDocument]:
    """Yield the sources that are there, the one that wins first. Raises AuthenticationError for a broken one.

    A file that is not there or cannot be read is none, of which ``warn`` hears if it is there; ``authfile``, which the
    user named, must be there, and wins over variables.
    """
    inline = environment.get("DOCKER_AUTH_CONFIG", "").strip()
    if inline and authfile is None:
        yield parse(inline.encode(errors="surrogateescape"), "$DOCKER_AUTH_CONFIG")
    named = authfile or Path(environment.get("REGISTRY_AUTH_FILE", ""))
    for path in paths(environment, authfile):
        try:
            raw = read(path, anything=path == named)
        except OSError as error:
            if path == authfile:
                raise AuthenticationError(f"cannot read the accounts in {path}: {error.strerror}") from error
            if isinstance(error, PermissionError) and os.path.exists(path):  # as `sudo docker login` leaves it
                warn(f"cannot read the accounts in {path}: {error.strerror}")
            continue
        if raw.strip():
            yield parse(raw, str(path), path)


def paths(environment: Mapping[str, str], authfile: Path | None = None) -> tuple[Path, ...]:
    """Return the files in which accounts are looked for, whether they are there or not, in their order.

    ``$REGISTRY_AUTH_FILE`` and ``authfile`` take the place of the session's file, as in podman.
    """
    home = environment.get("HOME", "")
    found: list[Path] = []

    def add(directory: str, *names: str) -> None:
        if directory:
            found.append(Path(directory, *names))

    if authfile is not None:
        found.append(authfile)
    elif environment.get("REGISTRY_AUTH_FILE"):
        add(environment["REGISTRY_AUTH_FILE"])
    else:
        add(environment.get("XDG_RUNTIME_DIR") or f"/run/containers/{os.getuid()}", *_session_file(environment))
    add(environment.get("XDG_CONFIG_HOME") or (home and f"{home}/.config"), "containers", "auth.json")
    add(docker_directory(environment), "config.json")
    add(home, ".dockercfg")
    return tuple(dict.fromkeys(found))


def _session_file(environment: Mapping[str, str]) -> tuple[str, ...]:
    return ("containers", "auth.json") if environment.get("XDG_RUNTIME_DIR") else ("auth.json",)


def docker_directory(environment: Mapping[str, str]) -> str:
    """Return where Docker's settings are; empty without a home."""
    home = environment.get("HOME", "")
    return environment.get("DOCKER_CONFIG") or (f"{home}/.docker" if home else "")


def read(path: Path, *, anything: bool = False) -> bytes:
    """Return as much of a file as ``parse`` needs to refuse a large one; of pipes too, with ``anything``.

    Raises OSError.
    """
    # Not blocking: a FIFO that nobody asked us to read must not hold us up.
    opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC | (0 if anything else os.O_NONBLOCK))
    with open(opened, "rb") as stream:
        if not anything and not stat.S_ISREG(os.fstat(opened).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        return stream.read(FILE_LIMIT + 1)


def parse(raw: bytes, name: str, path: Path | None = None) -> AuthDocument:
    """Read a document. Raises AuthenticationError."""
    value = json_object(raw, name)
    if path is not None and path.name == ".dockercfg":
        value = {"auths": value}
    store = value.get("credsStore")
    helpers = {
        normal_key(key): helper for key, helper in _mapping(value.get("credHelpers")).items() if isinstance(helper, str)
    }
    return AuthDocument(
        name, path, _entries(_mapping(value.get("auths"))), helpers, store if isinstance(store, str) else ""
    )


def json_object(raw: bytes, name: str) -> dict[str, object]:
    """Return the object that ``raw`` is. Raises AuthenticationError, which quotes nothing of it."""
    if len(raw) > FILE_LIMIT:
        raise AuthenticationError(f"{name} is larger than {FILE_LIMIT} bytes")
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        value = None  # the parser's own message could quote a secret
    if not isinstance(value, dict):
        raise AuthenticationError(f"{name} is not a JSON object", hint="repair or remove it, then log in again")
    return value


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _entries(auths: Mapping[str, object]) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    hosts: dict[str, Entry] = {}
    for key, fields in auths.items():
        if not isinstance(fields, dict):
            continue
        normal, entry = normal_key(key), Entry(key, fields)
        # The plain name wins over old URLs of the same.
        if normal not in found or key == normal:
            found[normal] = entry
        if "://" in key:
            # To Docker and containers a URL means its host, whatever its path.
            hosts.setdefault(normal.partition("/")[0], entry)
    return {**hosts, **found}


def normal_key(key: str) -> str:
    """Return ``host[/path]``: older Dockers wrote URLs with the version of the API at their end."""
    text = key.partition("://")[2] or key
    host, _, path = text.partition("/")
    path = _VERSION.sub("", path).strip("/")
    return canonical_host(host) + (f"/{path}" if path else "")
