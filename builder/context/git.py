"""Checking out git repositories through the ``git`` command, which must not be able to do anything else.

No prompt, no configuration of the system or the user, no hooks, no helpers, no transport but https and ssh (http for
loopback, file for tests), ``--`` before what comes from outside. Credentials travel in git's environment, bound to the
origin they are for: never in a URL, an argument, the checkout or a message. URLs are read by giturl.py.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from builder.context.directory import DirectoryTree
from builder.context.giturl import GitSource
from builder.context.http import TransientContextError
from builder.context.tree import resolve
from builder.errors import ContextError, OutputError
from builder.registry.hosts import split_host
from builder.values import dataclass, field

if TYPE_CHECKING:
    import subprocess

_PASSED_ON = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SSH_AUTH_SOCK",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
    "TMPDIR",
    *(f"{name}_proxy" for name in ("http", "https", "all", "no")),
    *(f"{name}_PROXY" for name in ("HTTPS", "ALL", "NO")),
)
_SETTINGS = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.autocrlf": "false",
    "core.attributesFile": "/dev/null",
    "core.excludesFile": "/dev/null",
    "core.logAllRefUpdates": "false",
    "core.protectHFS": "true",
    "core.protectNTFS": "true",
    "credential.helper": "",
    "fetch.recurseSubmodules": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "http.followRedirects": "initial",
    "http.lowSpeedLimit": "1",
    "http.lowSpeedTime": "120",
    "init.templateDir": "",
    "init.defaultBranch": "main",
    "advice.detachedHead": "false",
    "submodule.recurse": "false",
}
_MOST_OUTPUT = 4000
_BY_SSH = "fatal: Could not read from remote repository."
_AWAY = (
    "Could not resolve host",
    "Failed to connect",
    "Connection timed out",
    "Connection refused",
    "Connection reset",
    "early EOF",
    "The requested URL returned error: 5",
)


@dataclass(frozen=True, slots=True)
class GitAccess:
    """How git reaches the world: the environment to pick proxies, agent and PATH from, and headers by host.

    ``authorization`` maps ``host[:port]``, or ``""`` for the host of the source, to an Authorization header's value.
    """

    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    authorization: Mapping[str, str] = field(default_factory=dict, repr=False)
    allow_file: bool = False


@dataclass(frozen=True, slots=True)
class Checkout:
    """Files of one commit. ``directory`` holds the subdirectory asked for; ``time`` is the commit's, in seconds."""

    directory: Path
    commit: str
    time: int


def resolve_commit(source: GitSource, access: GitAccess) -> str:
    """Return the commit id that ``source`` names now; asks the remote unless the URL says the whole id.

    Raises ContextError if there is none, or not the one that was promised.
    """
    if source.pinned:
        return _as_promised(source, source.pinned)
    ref = source.ref or "HEAD"
    wanted = [ref] if ref == "HEAD" or ref.startswith("refs/") else [f"refs/heads/{ref}", f"refs/tags/{ref}", ref]
    patterns = [pattern for name in wanted for pattern in (name, name + "^{}")]
    listed = _Git(source, access).run("ls-remote", "--quiet", "--", source.remote, *patterns)
    found = {name: commit for commit, _, name in (line.partition("\t") for line in listed.splitlines())}
    # As git checkout does, a branch before a tag; a tag's own object is not the commit it stands for.
    for name in wanted:
        commit = found.get(name + "^{}") or found.get(name)
        if commit:
            return _as_promised(source, commit)
    raise ContextError(
        f"{source.remote} has no branch or tag {source.ref!r}" if source.ref else f"{source.remote} is empty",
        hint="a commit must be named with all its digits",
    )


def checkout(source: GitSource, commit: str, scratch: Path, access: GitAccess) -> Checkout:
    """Put the files of ``commit`` into the new directory ``scratch``; modes are 0644 and 0755, no history is fetched.

    Without ``keep_git_dir`` nothing called ``.git`` is left. Raises ContextError, OutputError for a full disk.
    """
    try:
        return _checkout(source, commit, scratch, access)
    except OSError as error:
        raise OutputError(f"cannot store the files of {source.remote} in {scratch}: {error.strerror}") from error


def _checkout(source: GitSource, commit: str, scratch: Path, access: GitAccess) -> Checkout:
    scratch.mkdir()
    scratch.chmod(0o755)  # whatever the umask
    git = _Git(source, access, scratch)
    git.run("init", "--quiet", f"--object-format={'sha256' if len(commit) == 64 else 'sha1'}")
    git.run("config", "remote.origin.url", source.remote)
    _fetch(git, source, commit)
    git.run("checkout", "--quiet", "--force", "--detach", commit, "--")
    if source.submodules and (scratch / ".gitmodules").is_file():
        git.run("submodule", "--quiet", "update", "--init", "--recursive", "--depth=1")
    head = git.run("rev-parse", "--verify", "HEAD^{commit}").strip()
    if head != commit:
        raise ContextError(f"{source.remote}: got commit {head} instead of {commit}")
    time = _head_time(git)
    if not source.keep_git_dir:
        _remove_git(scratch)
    if source.mtime == "commit":
        _set_times(scratch, time)
    return Checkout(_subdirectory(source, scratch), commit, time)


def commit_time(directory: Path, environment: Mapping[str, str]) -> int | None:
    """Return when the commit that ``directory`` has checked out was made, in seconds; None outside of git.

    The same for whoever owns the checkout: in CI containers that is often someone else than who builds.
    """
    git = _Git(GitSource(remote=str(directory)), GitAccess(environment), directory, local=True)
    try:
        return _head_time(git)
    except ContextError:
        return None


def _head_time(git: _Git) -> int:
    # Of the plumbing, which no configuration of the repository makes start another program, unlike `git log`.
    text = git.run("rev-list", "--max-count=1", "--timestamp", "HEAD", "--").partition(" ")[0]
    return max(0, int(text))


class _Git:
    """The command with its environment, in one directory."""

    def __init__(
        self, source: GitSource, access: GitAccess, directory: Path | None = None, *, local: bool = False
    ) -> None:
        self._remote = source.remote
        self._directory = directory
        self._environment = _environment(source, access, local=local)

    def run(self, *arguments: str) -> str:
        """Return what git prints; raise ContextError with what it complains about."""
        import subprocess

        try:
            done = subprocess.run(
                ["git", *arguments],
                cwd=self._directory or "/",
                env=self._environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                umask=0o022,
                start_new_session=True,  # no terminal: ssh asks its questions there, whatever stdin is
            )
        except FileNotFoundError as error:
            raise ContextError(
                f"cannot fetch {self._remote}: there is no git command", hint="install git, or check out beforehand"
            ) from error
        except OSError as error:
            raise ContextError(f"cannot run git: {error.strerror}") from error
        if done.returncode != 0:
            self._fail(arguments[0], done)
        return done.stdout.decode("utf-8", "surrogateescape")

    def _fail(self, verb: str, done: subprocess.CompletedProcess[bytes]) -> NoReturn:
        said = done.stderr[-_MOST_OUTPUT:].decode("utf-8", "replace")
        lines = [line for line in said.split("\n") if line.strip()]
        told = [line for line in lines if line.startswith(("fatal: ", "error: ", "remote: "))]
        # Of this one the reason stands before it, in words of ssh.
        lines = (lines[: lines.index(_BY_SSH)][-3:] if _BY_SSH in lines else told) or lines
        text = "; ".join("".join(char for char in line[:300] if char.isprintable()) for line in lines[:3])
        message = f"git {verb} of {self._remote} failed: {text or f'exit status {done.returncode}'}"
        if any(sign in said for sign in _AWAY):
            raise TransientContextError(message)
        # What is private is "not found" at many servers.
        raise ContextError(
            message, hint="check the URL; what is private needs a secret GIT_AUTH_TOKEN, or --ssh default"
        )


def _environment(source: GitSource, access: GitAccess, *, local: bool) -> dict[str, str]:
    made = {name: access.environment[name] for name in _PASSED_ON if name in access.environment}
    made.setdefault("PATH", os.defpath)
    protocols = ["https", "ssh"]
    if source.remote.startswith("http://"):  # giturl lets this through for loopback only
        protocols.append("http")
    if access.allow_file:
        protocols.append("file")
    made |= {
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_SYSTEM": "/dev/null",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "false",
        "SSH_ASKPASS": "false",
        "SSH_ASKPASS_REQUIRE": "never",
        "GIT_SSH_COMMAND": "ssh -o BatchMode=yes -o ForwardAgent=no -o PermitLocalCommand=no",
        "GIT_ALLOW_PROTOCOL": ":".join(protocols),
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_LFS_SKIP_SMUDGE": "1",
    }
    settings = dict(_SETTINGS)
    if local:
        # A repository of someone else's may be read, since nothing of what it asks for is done: no transport exists.
        settings["safe.directory"] = "*"
        made |= {"GIT_ALLOW_PROTOCOL": "none", "GIT_NO_LAZY_FETCH": "1"}
    for prefix, header in _headers(source, access):
        settings[f"http.{prefix}.extraHeader"] = f"Authorization: {header}"
    for index, (name, value) in enumerate(settings.items()):
        made[f"GIT_CONFIG_KEY_{index}"] = name
        made[f"GIT_CONFIG_VALUE_{index}"] = value
    made["GIT_CONFIG_COUNT"] = str(len(settings))
    return made


def _headers(source: GitSource, access: GitAccess) -> list[tuple[str, str]]:
    """Return Authorization headers with the URL prefixes they may be sent to."""
    found = {f"https://{host}/": header for host, header in access.authorization.items() if host}
    if source.remote.startswith(("https://", "http://")):
        scheme, _, rest = source.remote.partition("://")
        host = rest.partition("/")[0]
        own = f"{scheme}://{host}/"
        if source.account:
            import base64

            encoded = base64.b64encode(source.account.encode("utf-8", "surrogateescape")).decode()
            found.setdefault(own, f"Basic {encoded}")
        for name in (host, split_host(host)[0], ""):
            if name in access.authorization:
                found.setdefault(own, access.authorization[name])
    for header in found.values():
        if not header.isprintable():
            raise ContextError("an Authorization header for git holds line breaks or control characters")
    return list(found.items())


def _fetch(git: _Git, source: GitSource, commit: str) -> None:
    options = ("--quiet", "--no-tags", "--no-recurse-submodules", "--update-shallow")
    try:
        git.run("fetch", *options, "--depth=1", "--", source.remote, commit)
    except TransientContextError:
        raise
    except ContextError:
        # A server may refuse to name commits: then everything it shows is fetched, and the commit must be in there.
        git.run(
            "fetch",
            *options,
            "--",
            source.remote,
            "+refs/heads/*:refs/remotes/origin/*",
            "+refs/tags/*:refs/tags/*",
        )


def _as_promised(source: GitSource, commit: str) -> str:
    if not commit.startswith(source.commit):
        raise ContextError(
            f"{source.remote}: {source.ref or 'HEAD'} is commit {commit}, not {source.commit}",
            hint="the reference was moved, or the checksum is wrong",
        )
    return commit


def _remove_git(scratch: Path) -> None:
    """Remove the repository and the links to it in submodules; git itself tracks nothing of that name."""
    for directory, names, files in os.walk(scratch):
        if ".git" in names:
            names.remove(".git")
            shutil.rmtree(os.path.join(directory, ".git"))
        if ".git" in files:
            os.unlink(os.path.join(directory, ".git"))


def _set_times(scratch: Path, time: int) -> None:
    for directory, names, files in os.walk(scratch, topdown=False):
        if ".git" in Path(directory).relative_to(scratch).parts:
            continue
        for name in (*names, *files):
            os.utime(os.path.join(directory, name), (time, time), follow_symlinks=False)
    os.utime(scratch, (time, time))


def _subdirectory(source: GitSource, scratch: Path) -> Path:
    if not source.subdir:
        return scratch
    with DirectoryTree(scratch, label=source.remote) as tree:
        path = resolve(tree, source.subdir)
        entry = tree.lstat(path)
    if entry is None or not entry.is_dir:
        raise ContextError(f"{source.remote} has no directory {source.subdir!r}")
    return scratch / os.fsdecode(path.encode("utf-8", "surrogateescape"))
