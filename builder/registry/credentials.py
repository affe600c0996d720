"""Where credentials come from: Docker's and containers' files and variables, and credential helpers.

The environment is a mapping that the caller hands in. Nothing is cached on disk, nothing secret is in a ``repr`` or
an error. A file that cannot be read because it is not there or not ours is no credentials, a broken one is an error.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from builder.registry.errors import AuthenticationError
from builder.registry.hosts import canonical_host

HELPER_SECONDS = 30.0
_FILE_LIMIT = 1 << 20
_HELPER_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", re.ASCII)
_HUB_KEY = "https://index.docker.io/v1/"
_NOT_FOUND = ("credentials not found", "no credentials server url", "not found in")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """One account. ``identity_token`` is an OAuth2 refresh token, ``registry_token`` a ready bearer token.

    ``source`` names where it was found, for people.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)
    source: str = ""


class CredentialSource(Protocol):
    """Knows accounts by registry host and repository; thread-safe."""

    def find(self, registry: str, repository: str = "") -> Credential | None:
        """Return the account for a repository, None to stay anonymous. Raises AuthenticationError."""
        ...


class NoCredentials:
    """Stays anonymous everywhere."""

    def find(self, registry: str, repository: str = "") -> Credential | None:
        """Return None."""
        del registry, repository
        return None


class ConfiguredCredentials:
    """The user's configuration, in this order; the first that knows the registry wins.

    ``$DOCKER_AUTH_CONFIG`` (the text itself), ``$REGISTRY_AUTH_FILE``, ``$XDG_RUNTIME_DIR/containers/auth.json``,
    ``$XDG_CONFIG_HOME/containers/auth.json``, ``$DOCKER_CONFIG/config.json``, ``$HOME/.docker/config.json`` (not when
    DOCKER_CONFIG is set). Files are read at the first question, and once.
    """

    def __init__(self, environment: Mapping[str, str], *, helper_seconds: float = HELPER_SECONDS) -> None:
        self._environment = dict(environment)
        self._helper_seconds = helper_seconds
        self._lock = threading.Lock()
        self._documents: tuple[_Document, ...] | None = None
        self._helped: dict[tuple[str, str], Credential | None] = {}

    def find(self, registry: str, repository: str = "") -> Credential | None:
        """Return the account of the longest path of ``registry/repository`` that the first knowing source has."""
        with self._lock:
            if self._documents is None:
                self._documents = tuple(_documents(self._environment))
            for document in self._documents:
                found = self._search(document, canonical_host(registry), repository)
                if found is not None:
                    return found
        return None

    def _search(self, document: _Document, registry: str, repository: str) -> Credential | None:
        helper = document.helpers.get(registry)
        if helper is not None:
            # A registry with a helper of its own has no other source in this file (docker, podman).
            return self._ask(helper, registry, f"{document.name} (credHelpers)")
        if document.store and (found := self._ask(document.store, registry, f"{document.name} (credsStore)")):
            return found
        path = f"{registry}/{repository}".rstrip("/")
        while path:
            entry = document.entries.get(path)
            if entry is not None:
                return _decode(entry, f"{document.name} ({path})")
            path = path.rpartition("/")[0]
        return None

    def _ask(self, helper: str, registry: str, where: str) -> Credential | None:
        key = (helper, registry)
        if key not in self._helped:
            self._helped[key] = _run_helper(helper, registry, where, self._environment, self._helper_seconds)
        return self._helped[key]


@dataclass(frozen=True, slots=True)
class _Document:
    name: str
    entries: Mapping[str, Mapping[str, object]] = field(repr=False, hash=False)
    helpers: Mapping[str, str] = field(hash=False)
    store: str


def _documents(environment: Mapping[str, str]) -> Iterator[_Document]:
    inline = environment.get("DOCKER_AUTH_CONFIG", "").strip()
    if inline:
        yield _parse(inline.encode(errors="surrogateescape"), "$DOCKER_AUTH_CONFIG")
    for path in _paths(environment):
        try:
            with open(path, "rb") as stream:
                raw = stream.read(_FILE_LIMIT + 1)
        except OSError:
            continue
        if raw.strip():
            yield _parse(raw, str(path))


def _paths(environment: Mapping[str, str]) -> Iterator[Path]:
    def under(variable: str, *names: str) -> Iterator[Path]:
        if value := environment.get(variable):
            yield Path(value, *names)

    yield from under("REGISTRY_AUTH_FILE")
    yield from under("XDG_RUNTIME_DIR", "containers", "auth.json")
    if environment.get("XDG_CONFIG_HOME"):
        yield from under("XDG_CONFIG_HOME", "containers", "auth.json")
    else:
        yield from under("HOME", ".config", "containers", "auth.json")
    if environment.get("DOCKER_CONFIG"):
        yield from under("DOCKER_CONFIG", "config.json")
    else:
        yield from under("HOME", ".docker", "config.json")


def _parse(raw: bytes, name: str) -> _Document:
    if len(raw) > _FILE_LIMIT:
        raise AuthenticationError(f"{name} is larger than {_FILE_LIMIT} bytes")
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        value = None  # the parser's own message could quote a secret
    if not isinstance(value, dict):
        raise AuthenticationError(f"{name} is not a JSON object", hint="log in again to have it rewritten")
    entries: dict[str, Mapping[str, object]] = {}
    for key, entry in _mapping(value.get("auths")).items():
        if isinstance(entry, dict):
            # The plain host wins over an old URL of it: setdefault after sorting would hide which one was meant.
            normal = _normal_key(key)
            if normal not in entries or key == normal:
                entries[normal] = entry
    helpers = {
        _normal_key(key): helper
        for key, helper in _mapping(value.get("credHelpers")).items()
        if isinstance(helper, str)
    }
    store = value.get("credsStore")
    return _Document(name, entries, helpers, store if isinstance(store, str) else "")


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _normal_key(key: str) -> str:
    """Return ``host[/path]``: older Dockers wrote URLs with the version of the API at their end."""
    text = key.partition("://")[2] or key
    host, _, path = text.partition("/")
    path = re.sub(r"^v[12](/|$)", "", path).strip("/")
    return canonical_host(host) + (f"/{path}" if path else "")


def _decode(entry: Mapping[str, object], source: str) -> Credential | None:
    def text(key: str) -> str:
        value = entry.get(key)
        return value if isinstance(value, str) else ""

    username, password = text("username"), text("password")
    if text("auth"):
        try:
            pair = base64.b64decode(text("auth").strip(), validate=True).rstrip(b"\0").decode()
        except (binascii.Error, ValueError):
            pair = ""
        if ":" not in pair:
            raise AuthenticationError(f"the entry in {source} is not base64 of user:password", hint="log in again")
        username, _, password = pair.partition(":")
    if not (password or text("identitytoken") or text("registrytoken")):
        # `docker login` with a helper leaves an empty entry behind.
        return None
    return Credential(
        username=username,
        password=password,
        identity_token=text("identitytoken"),
        registry_token=text("registrytoken"),
        source=source,
    )


def _run_helper(
    helper: str, registry: str, where: str, environment: Mapping[str, str], seconds: float
) -> Credential | None:
    """Ask ``docker-credential-HELPER get``. Its output never becomes part of an error: it holds the secret."""
    import shutil
    import subprocess

    name = f"docker-credential-{helper}"
    if not _HELPER_NAME.fullmatch(helper):
        raise AuthenticationError(f"{where} names {helper[:50]!r}, which is no credential helper")
    program = shutil.which(name, path=environment.get("PATH", ""))
    if program is None:
        raise AuthenticationError(f"{where} names the credential helper {name}, which is not in PATH")
    server = _HUB_KEY if registry == "docker.io" else registry
    try:
        done = subprocess.run(
            [program, "get"],
            input=server.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=dict(environment),
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise AuthenticationError(f"{name} gave no answer for {registry} within {seconds:g} s") from None
    except OSError as error:
        raise AuthenticationError(f"{name} does not run: {error.strerror}") from error
    if done.returncode != 0:
        said = done.stdout[:1000].decode(errors="replace").lower()
        if any(phrase in said for phrase in _NOT_FOUND):
            return None
        raise AuthenticationError(f"{name} failed for {registry} with status {done.returncode}")
    try:
        value = json.loads(done.stdout)
        username, secret = value["Username"], value["Secret"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise AuthenticationError(f"{name} answered for {registry} with something else than an account") from None
    if not isinstance(username, str) or not isinstance(secret, str) or not secret:
        return None
    source = f"{name}, named in {where}"
    if username == "<token>":
        return Credential(identity_token=secret, source=source)
    return Credential(username=username, password=secret, source=source)
