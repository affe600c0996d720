"""Keeping accounts: where a login is stored, a helper or a file, and what a logout removes.

What is found later by ``credentials`` is what was stored here. The formats are those of Docker and containers, so
that their programs find it too.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from builder.errors import OutputError, UsageError
from builder.registry.authedit import edit
from builder.registry.authfile import AuthDocument, docker_directory, documents, normal_key, parse, read
from builder.registry.credential_helper import HELPER_SECONDS, CredentialHelper
from builder.registry.credentials import ConfiguredCredentials, Credential
from builder.registry.errors import AuthenticationError
from builder.values import dataclass

_HUB_KEY = "https://index.docker.io/v1/"
_LEGACY = ".dockercfg"
_SECRETS = ("auth", "username", "password", "identitytoken", "registrytoken")


@dataclass(frozen=True, slots=True)
class Stored:
    """Where an account went. ``plain`` if it can be read there; ``hidden_by`` names what wins over it, if anything."""

    where: str
    plain: bool
    hidden_by: str = ""


@dataclass(frozen=True, slots=True)
class Removed:
    """From where an account was removed, and ``left``: what may still have one and could not be made to forget it."""

    where: tuple[str, ...]
    left: tuple[str, ...] = ()


class Accounts:
    """The accounts in the user's configuration. ``registry`` is ``host[/path]`` in the one spelling of ``normal_key``.

    ``authfile`` is the one file to work on; without it, the places are those that ``credentials`` looks into. ``warn``
    is told of helpers that do not work where that is no reason to stop.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        authfile: Path | None = None,
        *,
        helper_seconds: float = HELPER_SECONDS,
        warn: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._environment = dict(environment)
        self._authfile = authfile
        self._helper_seconds = helper_seconds
        self._warn = warn

    def store(self, registry: str, username: str, password: str) -> Stored:
        """Keep an account in the helper that is configured for the registry, or else in a file.

        Raises AuthenticationError (a helper that fails, a broken file), OutputError, UsageError.
        """
        if ":" in username or not username or not password:
            raise UsageError("an account is a user name without a colon and a password, both not empty")
        path = self._file(registry)
        document = self._document(path)
        helper = self._helper(document, registry)
        if helper is not None:
            if "/" in registry:
                raise UsageError(
                    f"{helper.program} keeps accounts of whole registries, not of {registry}",
                    hint=f"log in to {registry.partition('/')[0]}, or name a file with --authfile",
                )
            helper.store(registry, username, password)
            # As Docker does: what an earlier login left in the file is gone, and programs see that there is one.
            edit(path, lambda value: _put(value, path, registry, {}))
            where = f"{helper.program}, named in {helper.where}"
        else:
            pair = base64.b64encode(f"{username}:{password}".encode()).decode()
            edit(path, lambda value: _put(value, path, registry, {"auth": pair}))
            where = str(path)
        return Stored(where, helper is None, self._hidden_by(registry, username, password))

    def remove(self, registry: str) -> Removed:
        """Forget the account of a registry wherever it is. Raises AuthenticationError, OutputError."""
        removed: list[str] = []
        left: list[str] = []
        for document in self._documents():
            helper = self._helper(document, registry)
            if helper is not None and "/" not in registry:
                name = f"{helper.program}, named in {helper.where}"
                try:
                    if helper.get(registry) is not None:
                        helper.erase(registry)
                        removed.append(name)
                except AuthenticationError as error:
                    self._warn(error.message)
                    left.append(name)
            if document.path is not None and self._dropped(document.path, registry):
                removed.append(str(document.path))
        inline = self._inline()
        if inline is not None and registry in inline.entries:
            left.append(inline.name)
        return Removed(tuple(removed), tuple(left))

    def registries(self) -> tuple[str, ...]:
        """Return every registry that a file or a helper may have an account of."""
        found: set[str] = set()
        for document in self._documents():
            found |= {*document.entries, *document.helpers}
            if document.store:
                try:
                    listed = CredentialHelper(
                        document.store, f"{document.name} (credsStore)", self._environment, self._helper_seconds
                    ).listed()
                except AuthenticationError as error:
                    self._warn(f"{error.message}; what it keeps stays there")
                    continue
                found |= {normal_key(server) for server in listed}
        return tuple(sorted(found))

    def _documents(self) -> list[AuthDocument]:
        if self._authfile is not None:
            return [self._document(self._authfile)]
        return [one for one in documents(self._environment) if one.path is not None]

    def _inline(self) -> AuthDocument | None:
        if self._authfile is not None:
            return None
        return next((one for one in documents(self._environment) if one.path is None), None)

    def _document(self, path: Path) -> AuthDocument:
        try:
            raw = read(path)
        except FileNotFoundError:
            raw = b""
        except OSError as error:
            raise OutputError(f"cannot read the accounts in {path}: {error.strerror}") from error
        return parse(raw if raw.strip() else b"{}", str(path), path)

    def _file(self, registry: str) -> Path:
        """Return the file that a login changes: one whose account will be the one that is found."""
        if self._authfile is not None:
            return self._authfile
        if self._environment.get("REGISTRY_AUTH_FILE"):
            return Path(self._environment["REGISTRY_AUTH_FILE"])
        there = [one for one in self._documents() if one.path is not None and one.path.name != _LEGACY]
        for document in there:
            if document.path is not None and (registry in document.entries or document.helper(registry)):
                return document.path
        directory = docker_directory(self._environment)
        docker = Path(directory, "config.json") if directory else None
        if docker is not None and (self._environment.get("DOCKER_CONFIG") or docker.exists()):
            return docker
        others = [one.path for one in there if one.path is not None]
        fallback = others[0] if others else docker
        if fallback is None:
            raise UsageError("there is no home directory to keep accounts in", hint="name a file with --authfile")
        return fallback

    def _helper(self, document: AuthDocument, registry: str) -> CredentialHelper | None:
        host = registry.partition("/")[0]
        own = document.helper(host)
        name, setting = (own[1], "credHelpers") if own is not None else (document.store, "credsStore")
        if not name or (own is None and "/" in registry):
            return None
        return CredentialHelper(name, f"{document.name} ({setting})", self._environment, self._helper_seconds)

    def _dropped(self, path: Path, registry: str) -> bool:
        held: list[bool] = []

        def drop(value: dict[str, object]) -> bool:
            auths = _auths(value, path)
            keys = [key for key in auths if normal_key(key) == registry]
            held.extend(bool(auths.pop(key)) for key in keys)
            return bool(keys)

        return edit(path, drop) and any(held) if self._has(path, registry) else False

    def _has(self, path: Path, registry: str) -> bool:
        return any(normal_key(entry.key) == registry for entry in self._document(path).entries.values())

    def _hidden_by(self, registry: str, username: str, password: str) -> str:
        if self._authfile is not None:
            return ""
        host, _, repository = registry.partition("/")
        try:
            found = ConfiguredCredentials(self._environment, helper_seconds=self._helper_seconds).find(host, repository)
        except AuthenticationError as error:
            return error.message
        meant = Credential(username=username, password=password)
        return "" if found is None or meant.same_account(found) else found.source


def _auths(value: dict[str, object], path: Path) -> dict[str, object]:
    if path.name == _LEGACY:
        return value
    auths = value.setdefault("auths", {})
    if not isinstance(auths, dict):
        raise AuthenticationError(f"the auths in {path} are no JSON object", hint="repair or remove it")
    return auths


def _put(value: dict[str, object], path: Path, registry: str, secrets: Mapping[str, str]) -> bool:
    auths = _auths(value, path)
    spellings = [key for key in auths if normal_key(key) == registry]
    # Docker looks for nothing but its old URL in its file; containers understands both.
    key = _HUB_KEY if registry == "docker.io" and path.name == "config.json" else registry
    kept = _without_secrets([auths[one] for one in (key, *spellings) if one in auths])
    for one in spellings:
        if one != key:
            del auths[one]
    auths[key] = {**kept, **secrets}
    return True


def _without_secrets(entries: Iterable[object]) -> dict[str, object]:
    first = next((one for one in entries if isinstance(one, dict)), {})
    return {name: field for name, field in first.items() if name not in _SECRETS}
