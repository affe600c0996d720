"""Which account a registry gets: the command line's, then Docker's and containers' files and credential helpers.

The environment is a mapping that the caller hands in. Nothing is cached on disk, nothing secret is in a ``repr`` or
an error. How files and helpers are read is in ``authfile`` and ``credential_helper``.
"""

from __future__ import annotations

import base64
import binascii
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from builder.registry.authfile import AuthDocument, Entry, documents
from builder.registry.credential_helper import HELPER_SECONDS, CredentialHelper
from builder.registry.errors import AuthenticationError
from builder.registry.hosts import canonical_host
from builder.values import dataclass, field

_SHORTEST_HIDDEN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """One account. ``identity_token`` is an OAuth2 refresh token, ``registry_token`` a ready bearer token.

    ``source`` says where it was found, for people; ``file``, ``key`` and ``helper`` say it for programs.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)
    source: str = ""
    file: str = ""
    key: str = ""
    helper: str = ""

    def same_account(self, other: Credential | None) -> bool:
        """Say whether both hold the same secrets, wherever they are from."""
        return other is not None and _secrets(self) == _secrets(other)

    def hidden_in(self, text: str) -> str:
        """Return ``text``, which somebody else wrote, without the secrets: some servers repeat what they were sent."""
        pair = base64.b64encode(f"{self.username}:{self.password}".encode(errors="replace")).decode()
        for secret in (pair, self.password, self.identity_token, self.registry_token):
            if len(secret) >= _SHORTEST_HIDDEN:
                text = text.replace(secret, "***")
        return text


def _secrets(one: Credential) -> tuple[str, ...]:
    return one.username, one.password, one.identity_token, one.registry_token


class CredentialSource(Protocol):
    """Knows accounts by registry host and repository; thread-safe."""

    def find(self, registry: str, repository: str = "") -> Credential | None:
        """Return the account for a repository, None to stay anonymous. Raises AuthenticationError."""
        ...

    def renew(self, refused: Credential, registry: str, repository: str = "") -> Credential | None:
        """Look again after an account was refused; return what is there instead, None if that is nothing new."""
        ...


class NoCredentials:
    """Stays anonymous everywhere."""

    def find(self, registry: str, repository: str = "") -> Credential | None:
        """Return None."""
        del registry, repository
        return None

    def renew(self, refused: Credential, registry: str, repository: str = "") -> Credential | None:
        """Return None."""
        del refused, registry, repository
        return None


class GivenCredentials:
    """Accounts of certain registries, and another source for all others.

    ``accounts`` is by registry as references name it, with the port if there is one. A given account is never
    replaced by another: who names one wants to know that it is refused.
    """

    def __init__(self, accounts: Mapping[str, Credential], otherwise: CredentialSource) -> None:
        self._accounts = {canonical_host(registry): account for registry, account in accounts.items()}
        self._otherwise = otherwise

    def find(self, registry: str, repository: str = "") -> Credential | None:
        """Return the given account, or what the other source has."""
        given = self._accounts.get(canonical_host(registry))
        return given if given is not None else self._otherwise.find(registry, repository)

    def renew(self, refused: Credential, registry: str, repository: str = "") -> Credential | None:
        """Ask the other source again, if the account is from there."""
        if canonical_host(registry) in self._accounts:
            return None
        return self._otherwise.renew(refused, registry, repository)


class ConfiguredCredentials:
    """The user's configuration, in the order of ``authfile.paths``; the first source that knows the registry wins.

    Files are read at the first question, and helpers asked, once; ``renew`` does it again, because helpers of clouds
    give passwords that live for hours or minutes. ``warn`` is told, once, of a helper for all registries
    (credsStore) that does not work: most registries need no account. A helper for this registry that fails is an
    error.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        *,
        authfile: Path | None = None,
        helper_seconds: float = HELPER_SECONDS,
        warn: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._environment = dict(environment)
        self._authfile = authfile
        self._helper_seconds = helper_seconds
        self._warn = warn
        self._lock = threading.Lock()
        self._documents: tuple[AuthDocument, ...] | None = None
        self._helped: dict[tuple[str, str], tuple[str, str] | None] = {}
        self._warned: set[str] = set()

    def find(self, registry: str, repository: str = "") -> Credential | None:
        """Return the account of the longest path of ``registry/repository`` that the first knowing source has."""
        with self._lock:
            return self._find(canonical_host(registry), repository)

    def renew(self, refused: Credential, registry: str, repository: str = "") -> Credential | None:
        """Read files and ask helpers again, unless another thread has done so since ``refused`` was found."""
        name = canonical_host(registry)
        with self._lock:
            current = self._find(name, repository)
            if refused.same_account(current):
                self._documents = None
                # What helpers said of other registries was not refused.
                self._helped = {key: said for key, said in self._helped.items() if name != key[1].partition("/")[0]}
                current = self._find(name, repository)
        return None if refused.same_account(current) else current

    def sources(self) -> tuple[AuthDocument, ...]:
        """Return what there is to look into, the source that wins first. Raises AuthenticationError."""
        with self._lock:
            return self._read()

    def helper(self, name: str, where: str) -> CredentialHelper:
        """Return a helper by the name that ``where`` has for it."""
        return CredentialHelper(name, where, self._environment, self._helper_seconds)

    def _read(self) -> tuple[AuthDocument, ...]:
        if self._documents is None:
            self._documents = tuple(documents(self._environment, self._authfile, self._warn_once))
        return self._documents

    def _warn_once(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            self._warn(f"{message}; going on without it")

    def _find(self, registry: str, repository: str) -> Credential | None:
        for document in self._read():
            found = self._search(document, registry, repository)
            if found is not None:
                return found
        return None

    def _search(self, document: AuthDocument, registry: str, repository: str) -> Credential | None:
        helped = document.helper(registry, repository)
        if helped is not None and helped[1]:
            # A registry with a helper of its own has no other source in this file (docker, podman).
            return self._ask(helped[1], helped[0], document.name, "credHelpers")
        entry = document.entry(registry, repository)
        # The helper for all registries knows hosts only: an entry for a path says more.
        if helped is None and document.store and (entry is None or "/" not in entry[0]):
            found = self._ask_store(document, registry)
            if found is not None:
                return found
        return None if entry is None else _decode(entry[1], document.name)

    def _ask_store(self, document: AuthDocument, registry: str) -> Credential | None:
        try:
            return self._ask(document.store, registry, document.name, "credsStore")
        except AuthenticationError as error:
            self._warn_once(error.message)
            self._helped[document.store, registry] = None
            return None

    def _ask(self, helper: str, server: str, file: str, setting: str) -> Credential | None:
        asked = self.helper(helper, f"{file} ({setting})")
        if (helper, server) not in self._helped:
            self._helped[helper, server] = asked.get(server)
        said = self._helped[helper, server]
        if said is None:
            return None
        username, secret = said
        is_token = username == "<token>"
        return Credential(
            username="" if is_token else username,
            password="" if is_token else secret,
            identity_token=secret if is_token else "",
            source=f"{asked.program}, named in {asked.where}",
            file=file,
            key=server,
            helper=asked.program,
        )


def _decode(entry: Entry, file: str) -> Credential | None:
    def text(name: str) -> str:
        value = entry.fields.get(name)
        return value if isinstance(value, str) else ""

    source = f"{file} ({entry.key})"
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
        file=file,
        key=entry.key,
    )
