"""``pybuild login``: an account is tried at its registry and kept; ``--check`` says which one would be used."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from builder.cli.accounts import ask, asking, credential_source
from builder.cli.answers import answer, answer_json
from builder.cli.parsing import Parser, add_json, base
from builder.cli.registries import add_registry_options, session_settings
from builder.cli.reporters import make_reporter, printable
from builder.errors import UsageError
from builder.events import Reporter, Warned, warner
from builder.values import dataclass

if TYPE_CHECKING:
    from builder.registry.credentials import Credential
    from builder.registry.trial import Trial

HUB = "docker.io"

_PASSWORD_BYTES = 1 << 16

EXAMPLES = """
examples:
  pybuild login -u ann registry.example      # asks for the password
  pybuild login -u ci --password-stdin registry.example < token.txt
  pybuild login -u ann --authfile team.json registry.example/team
  pybuild login --check registry.example/team/app:1
"""


def parser() -> Parser:
    """Return the grammar."""
    about = "Try an account at a registry (default: docker.io) and keep it, where docker and podman find it too."
    parser = base("pybuild login", about, EXAMPLES)
    parser.add_argument("registry", metavar="REGISTRY", nargs="?", default=HUB, help="HOST[:PORT][/PATH]")
    parser.add_argument("-u", "--username", metavar="USER", help="whose account it is")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--password-stdin", action="store_true", help="read the password from standard input")
    how.add_argument("-p", "--password", metavar="PASSWORD", help="the password, for everybody here to see in ps")
    parser.add_argument(
        "--check",
        action="store_true",
        help="keep nothing; say which account is used for REGISTRY or a REF, where it is from, and whether it works",
    )
    parser.add_argument("--offline", action="store_true", help="with --check: do not ask the registry")
    add_json(parser)
    add_registry_options(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Carry it out and return the exit status."""
    reporter = make_reporter(options.progress, sys.stderr)
    if options.check:
        if options.username or options.password or options.password_stdin:
            raise UsageError("--check takes no account: it says which one there is")
        return _check(options, reporter)
    if options.offline:
        raise UsageError("--offline goes with --check")
    if options.creds:
        raise UsageError("login takes no --creds", hint="write -u USER, and the password on standard input")
    return _log_in(options, reporter)


def registry_of(text: str) -> str:
    """Return ``host[:port][/path]`` in the one spelling that accounts are kept under. Raises UsageError."""
    from builder.image.reference import Reference, ReferenceSyntaxError
    from builder.registry.authfile import normal_key

    name = normal_key(text)
    try:
        # A path is one of repositories, without a tag.
        Reference.parse(f"{name}{'' if '/' in name else '/x'}")
        fits = "@" not in name and ":" not in name.partition("/")[2]
    except ReferenceSyntaxError:
        fits = False
    if not fits:
        raise UsageError(f"{text} is no registry", hint="write HOST[:PORT], or HOST/PATH for some of its repositories")
    return name


def _log_in(options: argparse.Namespace, reporter: Reporter) -> int:
    from builder.registry.accounts import Accounts
    from builder.registry.credentials import Credential, GivenCredentials, NoCredentials
    from builder.registry.errors import AuthenticationError
    from builder.registry.trial import try_account

    registry = registry_of(options.registry)
    host, _, path = registry.partition("/")
    reach = session_settings(options, os.environ)
    username, password = _account(options, registry, reporter)
    given = Credential(username=username, password=password, source="the command line")
    trial = try_account(GivenCredentials({host: given}, NoCredentials()), reach(), host, path, reporter=reporter)
    if not trial.accepted:
        raise AuthenticationError(trial.said, host=host, status=401, hint="check the user name and the password")
    if not trial.asked:
        reporter.emit(Warned(f"{host} asked for no account; {username}'s is kept, but was not tried", "credentials"))
    authfile = Path(options.authfile) if options.authfile else None
    stored = Accounts(os.environ, authfile, warn=warner(reporter, "credentials")).store(registry, username, password)
    if stored.plain:
        text = (
            f"the password is in {stored.where} as it is; a credential helper keeps it encrypted (docs/registries.md)"
        )
        reporter.emit(Warned(text, "credentials"))
    if stored.hidden_by:
        reporter.emit(Warned(f"{stored.hidden_by} comes before the account that was kept", "credentials"))
    if options.json:
        answer_json({"registry": registry, "username": username, "kept_in": stored.where, "tried": trial.asked})
    else:
        answer(f"logged in to {registry} as {username}; the account is in {stored.where}")
    return 0


def _account(options: argparse.Namespace, registry: str, reporter: Reporter) -> tuple[str, str]:
    """Return user name and password: given, on standard input, or asked for. Raises UsageError."""
    username = options.username or ""
    if options.password_stdin:
        if not username:
            raise UsageError("--password-stdin needs --username")
        password = _from_stdin()
    elif options.password is not None:
        text = "--password is in the list of processes and the shell's history; --password-stdin is not"
        reporter.emit(Warned(text, "credentials"))
        username, password = username or _asked_name(registry), options.password
    else:
        username = username or _asked_name(registry)
        password = ask(f"Password of {username} for {registry}")
    if ":" in username or not username or not password:
        raise UsageError("an account is a user name without a colon and a password, both not empty")
    return username, password


def _asked_name(registry: str) -> str:
    if not sys.stdin.isatty():
        raise UsageError("login needs --username, and the password on standard input", hint="--password-stdin")
    sys.stderr.write(f"User name for {registry}: ")
    sys.stderr.flush()
    with asking():
        return sys.stdin.readline().strip()


def _from_stdin() -> str:
    raw = sys.stdin.buffer.read(_PASSWORD_BYTES + 1)
    if len(raw) > _PASSWORD_BYTES:
        raise UsageError(f"a password has at most {_PASSWORD_BYTES} bytes")
    try:
        return raw.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        # Not chained: the error holds the password.
        raise UsageError("the password on standard input is no UTF-8") from None


def _check(options: argparse.Namespace, reporter: Reporter) -> int:
    from builder.registry.authfile import paths
    from builder.registry.errors import AuthenticationError, RegistryError
    from builder.registry.trial import try_account

    registry, repository = _place(options.registry)
    reach = session_settings(options, os.environ)
    source = credential_source(options, os.environ, reporter)()
    found = source.find(registry, repository)
    trial: Trial | None = None
    failed: RegistryError | None = None
    if not options.offline:
        try:
            trial = try_account(source, reach(), registry, repository, reporter=reporter)
        except RegistryError as error:
            failed = error
    authfile = Path(options.authfile) if options.authfile else None
    checked = _Checked(registry, repository, found, trial, failed.message if failed is not None else "")
    places = [str(one) for one in paths(os.environ, authfile)]
    if authfile is None and os.environ.get("DOCKER_AUTH_CONFIG"):
        places.insert(0, "$DOCKER_AUTH_CONFIG")
    if options.json:
        answer_json(checked.to_json(places))
    else:
        answer(checked.to_text(places))
    if failed is not None:
        raise failed
    return 0 if found is not None and (trial is None or trial.accepted) else AuthenticationError.exit_code


def _place(text: str) -> tuple[str, str]:
    """Return registry and repository of a reference; what looks like a host is one. Raises UsageError."""
    from builder.image.reference import Reference
    from builder.registry.hosts import canonical_host

    text = text.removeprefix("docker://")
    host = text.partition(":")[0]
    if "://" in text or ("/" not in text and ("." in host or host in ("localhost", ""))) or text.startswith("["):
        registry, _, repository = registry_of(text).partition("/")
        return registry, repository
    reference = Reference.parse(text)
    return canonical_host(reference.registry), reference.repository


@dataclass(frozen=True, slots=True)
class _Checked:
    """The answer of ``--check``. Without ``trial`` the registry was not asked; ``failed`` says why it could not be."""

    registry: str
    repository: str
    found: Credential | None
    trial: Trial | None
    failed: str

    def to_json(self, places: Sequence[str]) -> dict[str, object]:
        """Return it for programs; ``places`` is where accounts are looked for."""
        found = self.found
        account = found and {
            "username": found.username or None,
            "kind": _kind(found),
            "source": found.source,
            "file": found.file or None,
            "key": found.key or None,
            "helper": found.helper or None,
        }
        return {
            "registry": self.registry,
            "repository": self.repository or None,
            "account": account,
            "looked_into": None if found else list(places),
            "accepted": self.trial.accepted if self.trial else None,
            "asked_for": self.trial.asked if self.trial else None,
            "said": self.failed or (self.trial.said if self.trial else "") or None,
        }

    def to_text(self, places: Sequence[str]) -> str:
        """Return it for people."""
        lines = [("registry", self.registry)]
        if self.repository:
            lines.append(("repository", self.repository))
        if self.found is None:
            lines.append(("account", "none"))
            lines += [("" if index else "looked into", one) for index, one in enumerate(places)]
        else:
            kind = _kind(self.found)
            lines.append(("account", f"{self.found.username}, with a {kind}" if self.found.username else f"a {kind}"))
            lines.append(("source", self.found.source))
        lines.append(("accepted", self._accepted()))
        return "\n".join(f"{name:12}{printable(text)}" for name, text in lines)

    def _accepted(self) -> str:
        if self.trial is None:
            return self.failed or "not tried"
        if not self.trial.accepted:
            return f"no: {self.trial.said}"
        if not self.trial.asked:
            return "the registry asks for no account here"
        return "yes" if self.found is not None else "yes, without an account"


def _kind(found: Credential) -> str:
    return "identity token" if found.identity_token else "registry token" if found.registry_token else "password"
