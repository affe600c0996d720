"""URLs of git repositories as contexts and as sources of ADD, in both forms (dockerfile.md 1.9). Pure.

``URL#ref:subdir`` and ``URL?branch=..&subdir=..``. What is accepted here is all that git is run with
(git.py), so nothing that could be taken for an option or for another transport gets through.
"""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

from builder.context.gomatch import root_relative
from builder.errors import ContextError
from builder.patterns import pattern
from builder.registry.hosts import is_loopback
from builder.values import dataclass, field, replace

_SCP = pattern(r"([A-Za-z0-9_][A-Za-z0-9_.-]*)@([A-Za-z0-9][A-Za-z0-9.-]*):(?!/?/)([^\x00-\x20\x7f]+)")
_HASH = pattern(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_HASH_PREFIX = pattern(r"[0-9a-f]{4,64}")
_BAD_IN_REF = pattern(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(/|\Z)|\.\Z|/\Z")
_TRUE = ("", "1", "t", "true")
_FALSE = ("0", "f", "false")
_KEYS = (
    "ref",
    "branch",
    "tag",
    "commit",
    "checksum",
    "subdir",
    "submodules",
    "keep-git-dir",
    "mtime",
    "fetch-by-commit",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GitSource:
    """What to check out. ``remote`` holds no credentials; ``account`` is what the URL had of them.

    ``ref`` is a branch, tag, full reference or commit, empty for the remote's HEAD. ``commit`` is the commit, or the
    beginning of it, that ``ref`` must lead to; with ``by_commit`` it is fetched whatever ``ref`` says.
    """

    remote: str
    account: str = field(default="", repr=False)
    ref: str = ""
    commit: str = ""
    subdir: str = ""
    submodules: bool = True
    keep_git_dir: bool = False
    mtime: Literal["commit", "checkout"] = "commit"
    by_commit: bool = False

    @property
    def pinned(self) -> str:
        """The whole commit id, if nothing else decides; else empty: a branch or tag that is named has to lead there."""
        text = self.commit if self.by_commit or not self.ref else self.ref
        return text if _HASH.fullmatch(text) else ""


def is_git_url(text: str, *, allow_file: bool = False) -> bool:
    """Say whether ``text`` names a git repository rather than a path or a file on a web server."""
    if _SCP.fullmatch(text.partition("#")[0].partition("?")[0]) is not None:
        return True
    scheme = text.partition("://")[0].lower()
    if scheme in ("ssh", "git", "git+ssh"):
        return "://" in text
    if scheme not in ("http", "https", *(("file",) if allow_file else ())) or "://" not in text:
        return False
    return re.search(r"\.git/?\Z", text.partition("#")[0].partition("?")[0]) is not None


def parse_git_url(text: str, *, allow_file: bool = False) -> GitSource:
    """Read a git URL; raise ContextError for what is none or cannot be meant. ``allow_file`` is for tests."""
    address, _, fragment = text.partition("#")
    address, mark, query = address.partition("?")
    remote, account = _split_remote(address, allow_file=allow_file)
    fields = _query(query, remote) if mark else {}
    ref, _, subdir = fragment.partition(":")
    named = [name for name in ("ref", "branch", "tag") if fields.get(name)]
    if len(named) + bool(ref) > 1:
        raise ContextError(f"{remote}: only one of #ref, ref, branch and tag can be given")
    if subdir and fields.get("subdir"):
        raise ContextError(f"{remote}: the subdirectory is given twice")
    match named:
        case ["branch"]:
            ref = "refs/heads/" + fields["branch"].removeprefix("refs/heads/")
        case ["tag"]:
            ref = "refs/tags/" + fields["tag"].removeprefix("refs/tags/")
        case ["ref"]:
            ref = fields["ref"]
        case _:
            pass
    mtime = fields.get("mtime", "commit")
    if mtime not in ("commit", "checkout"):
        raise ContextError(f"{remote}: mtime is commit or checkout, not {mtime!r}")
    return GitSource(
        remote=remote,
        account=account,
        ref=check_ref(ref, remote),
        commit=check_commit(_one_commit(fields, remote), remote),
        subdir=root_relative(subdir or fields.get("subdir", "")),
        submodules=_switch(fields, "submodules", remote, default=True),
        keep_git_dir=_switch(fields, "keep-git-dir", remote, default=False),
        mtime="commit" if mtime == "commit" else "checkout",
        by_commit=_switch(fields, "fetch-by-commit", remote, default=False),
    )


def pinned_to(source: GitSource, checksum: str) -> GitSource:
    """Return ``source`` with the commit of ``--checksum``. Raises ContextError for no commit id, or two."""
    commit = check_commit(checksum, source.remote)
    if source.commit and source.commit != commit:
        raise ContextError(f"{source.remote}: the URL says commit {source.commit}, --checksum {commit}")
    return replace(source, commit=commit)


def check_ref(ref: str, remote: str) -> str:
    """Return ``ref`` if it is a name git could have given; raise ContextError otherwise."""
    if ref and (ref.startswith(("-", "/", ".")) or ref == "@" or len(ref) > 1024 or _BAD_IN_REF.search(ref)):
        raise ContextError(f"{remote}: {ref[:100]!r} is no name of a branch, tag or commit")
    return ref


def check_commit(text: str, remote: str) -> str:
    """Return ``text`` in lower case if it is empty or the beginning of a commit id; raise ContextError otherwise."""
    if text and not _HASH_PREFIX.fullmatch(text.lower()):
        raise ContextError(f"{remote}: {text[:100]!r} is no commit id", hint="give 4 to 64 hexadecimal digits")
    return text.lower()


def _split_remote(address: str, *, allow_file: bool) -> tuple[str, str]:
    if _SCP.fullmatch(address):
        return address, ""
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError as error:
        raise ContextError("a git URL is not well-formed") from error
    shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    if re.search(r"[\x00-\x20\x7f]", address) or not parts.path:
        raise ContextError(f"{shown!r} is no URL of a git repository")
    if parts.scheme == "file" and allow_file and not parts.netloc:
        return address, ""
    host = parts.hostname or ""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]*|[0-9a-f:]+", host):
        raise ContextError(f"{shown!r} is no URL of a git repository")
    allowed = parts.scheme in ("https", "ssh") or (parts.scheme == "http" and is_loopback(host))
    if not allowed:
        raise ContextError(
            f"{shown}: git over {parts.scheme} is not supported: nobody could tell what was changed on the way",
            hint="use https:// or ssh://",
        )
    place = (f"[{host}]" if ":" in host else host) + (f":{port}" if port is not None else "")
    account = parts.netloc.rpartition("@")[0]
    if parts.scheme != "ssh":
        return urlunsplit((parts.scheme, place, parts.path, "", "")), unquote(account)
    user = account.partition(":")[0]
    if not re.fullmatch(r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]*)?", user) or ":" in account:
        raise ContextError(f"{shown}: only a user name can stand before the host", hint="use a key and an ssh agent")
    return urlunsplit(("ssh", f"{user}@{place}" if user else place, parts.path, "", "")), ""


def _query(query: str, remote: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in _KEYS:
            raise ContextError(f"{remote}: unknown query key {name[:100]!r}", hint=f"there are {', '.join(_KEYS)}")
        if fields.setdefault(name, value) != value:
            raise ContextError(f"{remote}: {name} is given twice")
    return fields


def _one_commit(fields: dict[str, str], remote: str) -> str:
    commit, checksum = fields.get("commit", ""), fields.get("checksum", "")
    if commit and checksum and commit != checksum:
        raise ContextError(f"{remote}: commit and checksum differ")
    return commit or checksum


def _switch(fields: dict[str, str], name: str, remote: str, *, default: bool) -> bool:
    value = fields.get(name)
    if value is None:
        return default
    if value.lower() not in (*_TRUE, *_FALSE):
        raise ContextError(f"{remote}: {name} is true or false, not {value[:100]!r}")
    return value.lower() in _TRUE
