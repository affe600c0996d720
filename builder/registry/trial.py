"""Trying an account: does a registry let us in with it (distribution-spec, "Determining Support")?"""

from __future__ import annotations

from builder.events import Reporter
from builder.registry.client import Registry
from builder.registry.credentials import Credential, CredentialSource
from builder.registry.errors import AuthenticationError
from builder.registry.session import Call, SessionSettings
from builder.values import dataclass, replace


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of it. Without ``asked`` the registry wanted no account to let us in; ``said`` is why it did not."""

    accepted: bool
    asked: bool
    said: str = ""


def try_account(
    source: CredentialSource,
    settings: SessionSettings,
    registry: str,
    repository: str = "",
    *,
    reporter: Reporter | None = None,
) -> Trial:
    """Try the account that ``source`` has for a repository, at the registry itself and not at mirrors.

    Raises RegistryError when the registry cannot be asked.
    """
    watched = _Watched(source)
    settings = replace(settings, routes=replace(settings.routes, mirrors={}, maps={}))
    call = Call(
        action=f"cannot log in to {registry}",
        method="GET",
        registry=registry,
        repository=repository,
        target="/v2/",
        direct=True,
    )
    with Registry(watched, settings, reporter=reporter) as client:

        def attempt() -> None:
            with client.session.open(call) as response:
                client.session.expect(call, response, 200)

        try:
            client.retry.run(attempt)
        except AuthenticationError as error:
            if not watched.asked or error.status not in (400, 401, 403):
                raise
            return Trial(accepted=False, asked=True, said=error.message)
    return Trial(accepted=True, asked=watched.asked)


class _Watched:
    """Another source, and whether it was asked."""

    def __init__(self, source: CredentialSource) -> None:
        self._source = source
        self.asked = False

    def find(self, registry: str, repository: str = "") -> Credential | None:
        self.asked = True
        return self._source.find(registry, repository)

    def renew(self, refused: Credential, registry: str, repository: str = "") -> Credential | None:
        return self._source.renew(refused, registry, repository)
