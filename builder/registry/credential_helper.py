"""Credential helpers: programs named ``docker-credential-NAME`` that keep accounts, and the protocol they speak.

What a helper prints never becomes part of an error: it may hold the secret. Which helper is asked for what is
``credentials``'s and ``accounts``'s business.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from builder.patterns import pattern
from builder.registry.errors import AuthenticationError
from builder.values import dataclass, field

HELPER_SECONDS = 30.0
_NAME = pattern(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", re.ASCII)
_HUB_KEY = "https://index.docker.io/v1/"
_NOT_FOUND = ("credentials not found", "no credentials server url", "not found in")


@dataclass(frozen=True, slots=True)
class CredentialHelper:
    """One helper. ``where`` names the file that names it, for people; every call ends within ``seconds``.

    All methods raise AuthenticationError when there is no such program, when it fails or when it takes too long.
    """

    name: str
    where: str
    environment: Mapping[str, str] = field(repr=False, hash=False)
    seconds: float = HELPER_SECONDS

    @property
    def program(self) -> str:
        """The program's name."""
        return f"docker-credential-{self.name}"

    def get(self, registry: str) -> tuple[str, str] | None:
        """Return user name and secret; None if the helper has none. The user ``<token>`` means an identity token."""
        for server in _servers(registry):
            said = self._run("get", server.encode(), registry)
            if said is not None:
                return self._account(said, registry)
        return None

    def store(self, registry: str, username: str, secret: str) -> None:
        """Let the helper keep an account."""
        account = {"ServerURL": next(_servers(registry)), "Username": username, "Secret": secret}
        self._run("store", json.dumps(account).encode(), registry)

    def erase(self, registry: str) -> None:
        """Let the helper forget an account, which need not be there."""
        for server in _servers(registry):
            # Some helpers fail where there is nothing to erase.
            if self._run("get", server.encode(), registry) is not None:
                self._run("erase", server.encode(), registry)

    def listed(self) -> tuple[str, ...]:
        """Return the servers that the helper has accounts of, as it names them."""
        said = self._run("list", b"", "its list")
        try:
            value = json.loads(said or b"{}")
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise AuthenticationError(f"{self.program} answered with something else than a list of accounts")
        return tuple(value)

    def _account(self, said: bytes, registry: str) -> tuple[str, str] | None:
        try:
            value = json.loads(said)
        except (ValueError, RecursionError):
            value = None  # not chained: the parser's own message could quote the secret
        fields = value if isinstance(value, dict) else {}
        username, secret = fields.get("Username"), fields.get("Secret")
        if not isinstance(username, str) or not isinstance(secret, str):
            raise AuthenticationError(f"{self.program} answered for {registry} with something else than an account")
        return (username, secret) if secret else None

    def _run(self, action: str, sent: bytes, registry: str) -> bytes | None:
        """Return what the helper printed; None if it says that it has no such account."""
        import shutil
        import subprocess

        if not _NAME.fullmatch(self.name):
            raise AuthenticationError(f"{self.where} names {self.name[:50]!r}, which is no credential helper")
        program = shutil.which(self.program, path=self.environment.get("PATH", ""))
        if program is None:
            raise AuthenticationError(
                f"{self.where} names the credential helper {self.program}, which is not in PATH",
                hint="install it, or remove it from that file",
            )
        try:
            done = subprocess.run(
                [program, action],
                input=sent,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=dict(self.environment),
                timeout=self.seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            # Not chained, like all errors here: its text holds what the helper printed.
            raise AuthenticationError(
                f"{self.program} gave no answer for {registry} within {self.seconds:g} s"
            ) from None
        except OSError as error:
            raise AuthenticationError(f"{self.program} does not run: {error.strerror}") from error
        if done.returncode == 0:
            return done.stdout
        said = done.stdout[:1000].decode(errors="replace").lower()
        if any(phrase in said for phrase in _NOT_FOUND):
            return None
        raise AuthenticationError(
            f"{self.program} failed for {registry} with status {done.returncode}",
            hint=f"what it says is not shown, it may be secret; try: echo {registry} | {self.program} {action}",
        )


def _servers(registry: str) -> Iterator[str]:
    """Yield what a registry is called in helpers: Docker has an old URL for its Hub, containers its name."""
    if registry == "docker.io":
        yield _HUB_KEY
    yield registry
