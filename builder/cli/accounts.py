"""Whose account a command uses: ``--creds`` or ``$PYBUILD_CREDS``, ``--authfile``, then what the user has configured.

A given account goes to the one registry that the command line names, or that is named with it, and to no other.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from builder.errors import UsageError
from builder.events import Reporter, warner
from builder.patterns import pattern

if TYPE_CHECKING:
    from builder.registry.credentials import Credential, CredentialSource

VARIABLE = "PYBUILD_CREDS"

_REGISTRY = pattern(
    r"((?:localhost|\[[0-9a-fA-F:]+\]|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+)(?::[0-9]{1,5})?)=(.*)", re.DOTALL
)
NAMES = (
    ("tag", "destination"),
    ("reference", "source", "image", "names", "a", "b", "other", "repository", "registry", "remote"),
    ("list",),
)
"""Where parsers keep what a command writes to, what it reads, and lists, which are pushed but not read."""


def add_account_options(group: argparse._ArgumentGroup) -> None:
    """Add the options that say whose account it is."""
    group.add_argument(
        "--creds",
        metavar="[REGISTRY=]USER[:PASSWORD]",
        action="append",
        default=[],
        help="the account of the registry that is written to or read, or of REGISTRY; others see a password here in "
        f"the list of processes: leave it out to be asked, or use ${VARIABLE}",
    )
    group.add_argument(
        "--authfile", metavar="FILE", help="accounts, before those of Docker's file (default: $REGISTRY_AUTH_FILE)"
    )


def credential_source(
    options: argparse.Namespace, environment: Mapping[str, str], reporter: Reporter
) -> Callable[[], CredentialSource]:
    """Return what makes the source of accounts when one is needed.

    What was given is checked now, and a missing password asked for. Raises UsageError.
    """
    authfile = Path(options.authfile) if getattr(options, "authfile", None) else None
    if authfile is not None and not authfile.exists():
        raise UsageError(f"--authfile {authfile}: there is no such file", hint="pybuild login --authfile makes one")

    warn = warner(reporter, "credentials")

    given = _given(options, environment, warn)

    def make() -> CredentialSource:
        from builder.registry.credentials import ConfiguredCredentials, GivenCredentials

        configured = ConfiguredCredentials(environment, authfile=authfile, warn=warn)
        return GivenCredentials(given, configured) if given else configured

    return make


def ask(question: str) -> str:
    """Ask at the terminal, without showing what is typed. Raises UsageError where there is none."""
    if not sys.stdin.isatty():
        raise UsageError(
            f"{question}: nobody can be asked",
            hint="standard input is no terminal; login has --password-stdin, others $PYBUILD_CREDS",
        )
    from getpass import getpass

    try:
        with asking():
            return getpass(f"{question}: ", sys.stderr)
    except EOFError:
        raise UsageError(f"{question}: no answer") from None


@contextlib.contextmanager
def asking() -> Iterator[None]:
    """Let what is said when a question is interrupted stand on a line of its own."""
    try:
        yield
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        raise


def _given(
    options: argparse.Namespace, environment: Mapping[str, str], warn: Callable[[str], None]
) -> dict[str, Credential]:
    """Return the accounts by registry; no message here holds what was given, it may be a password."""
    if not hasattr(options, "creds"):
        return {}
    place, texts = "--creds", options.creds
    if not texts:
        place, texts = f"${VARIABLE}", [line for line in environment.get(VARIABLE, "").splitlines() if line]
    accounts: dict[str, Credential] = {}
    for text in texts:
        registry, account = _divided(text, options)
        try:
            registry = registry or _only_registry(options, place)
        except UsageError as error:
            if place == "--creds":
                raise
            # The variable is there for many commands, also for those that need none.
            warn(f"{error.message}; it is not used")
            continue
        _add(accounts, place, registry, account)
    return accounts


def _add(accounts: dict[str, Credential], place: str, registry: str, account: str) -> None:
    from builder.registry.credentials import Credential
    from builder.registry.hosts import canonical_host

    name = canonical_host(registry)
    username, colon, password = account.partition(":")
    if not username:
        raise UsageError(f"{place} has no user name", hint="write [REGISTRY=]USER[:PASSWORD]")
    if name in accounts:
        raise UsageError(f"{place} has two accounts for {name}", hint="name their registries: REGISTRY=USER")
    if not colon:
        password = ask(f"Password of {username} for {name}")
    if not password:
        raise UsageError(f"{place} has an empty password for {name}")
    accounts[name] = Credential(username=username, password=password, source=place)


def _divided(text: str, options: argparse.Namespace) -> tuple[str, str]:
    """Return the registry, or nothing, and the account."""
    for name in (registry for attributes in NAMES for registry in _registries(options, attributes)):
        if text.startswith(f"{name}="):
            return name, text[len(name) + 1 :]
    found = _REGISTRY.match(text)
    return (found[1], found[2]) if found is not None else ("", text)


def _only_registry(options: argparse.Namespace, place: str) -> str:
    for attributes in NAMES:
        found = _registries(options, attributes)
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(
                f"{place} does not say which registry it is for: {', '.join(found)}", hint="write REGISTRY=USER"
            )
    raise UsageError(f"{place} does not say which registry it is for", hint="write REGISTRY=USER")


def _registries(options: argparse.Namespace, attributes: tuple[str, ...]) -> tuple[str, ...]:
    """Return the registries that a command line names, in its order."""
    found: dict[str, None] = {}
    for attribute in attributes:
        value = getattr(options, attribute, None) or []
        for text in [value] if isinstance(value, str) else value:
            found.update(dict.fromkeys(_registry(text, bare=attribute == "registry")))
    if "tag" in attributes and hasattr(options, "context"):
        from builder.cli.outputs import output

        names = (reference for text in options.output for reference in output(text).names)
        found.update(dict.fromkeys(reference.registry for reference in names))
    return tuple(found)


def _registry(text: str, *, bare: bool) -> Iterator[str]:
    from builder.image.reference import Reference, ReferenceSyntaxError
    from builder.images.places import is_path, parse_place

    if bare and "/" not in text:
        yield text
        return
    place = parse_place(text)
    if place.kind == "registry" or (not place.kind and not is_path(place.text)):
        try:
            yield Reference.parse(place.text).registry
        except ReferenceSyntaxError:
            return  # an image's ID; others mistakes are the command's to tell
