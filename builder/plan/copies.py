"""COPY, ADD and WORKDIR: from instructions to operations with final paths (dockerfile.md 1.8, 1.9)."""

from __future__ import annotations

import re

from builder.dockerfile import instructions as df
from builder.dockerfile.source import Span
from builder.patterns import pattern
from builder.plan.graph import (
    ContextOrigin,
    CopyFiles,
    CopySource,
    GitTree,
    InlineFile,
    LocalPath,
    Origin,
    RemoteFile,
)
from builder.plan.metadata import Expander, StageState

_GIT_SCHEME = pattern(r"(git|ssh)://", re.IGNORECASE)
_GIT_OVER_HTTP = pattern(r"(?i:https?)://[^/?#]*/[^?#]*\.git(?:[?#]|\Z)")
_HTTP_SCHEME = pattern(r"https?://", re.IGNORECASE)
_SCP_FORM = pattern(r"[A-Za-z0-9._-]+@[A-Za-z0-9._-]+:", re.ASCII)
_CREDENTIALS = pattern(r"(?<=[A-Za-z0-9+.-]://)[^/?#\s]*@")  # no look for where a scheme begins: words may be long
_OCTAL = pattern(r"[0-7]+", re.ASCII)
_SYMBOLIC = pattern(r"[ugoa]*(?:[-+=](?:[rwxXst]+|[ugo])?)+", re.ASCII)


def join_path(cwd: str, path: str) -> str:
    """Return ``path`` seen from ``cwd``: absolute, without ``.``, ``..`` and doubled slashes."""
    parts: list[str] = []
    for part in (path if path.startswith("/") else f"{cwd or '/'}/{path}").split("/"):
        if part == "..":
            del parts[-1:]  # at the root, nothing
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def destination(cwd: str, path: str) -> str:
    """Return a COPY destination: absolute, with a trailing slash if it must be a directory."""
    absolute = join_path(cwd, path)
    wants_directory = not path or path.endswith(("/", "/.")) or path == "."
    return absolute + "/" if wants_directory and absolute != "/" else absolute


def is_git(url: str) -> bool:
    """Say whether ADD reads ``url`` with git: git@, ssh://, git://, or an http(s) path ending in ``.git``."""
    return any(form.match(url) for form in (_GIT_SCHEME, _SCP_FORM, _GIT_OVER_HTTP))


def is_http(url: str) -> bool:
    """Say whether ``url`` is http or https."""
    return _HTTP_SCHEME.match(url) is not None


def check_chmod(text: str, expand: Expander, span: Span) -> str:
    """Return ``text`` if it is a mode COPY accepts. Raises DockerfileError."""
    octal = _OCTAL.fullmatch(text) and int(text, 8) <= 0o7777
    if not octal and not (text and all(_SYMBOLIC.fullmatch(clause) for clause in text.split(","))):
        message = f"invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777"
        raise expand.fail(message, span, at=f"--chmod={text}")
    return text


def _heredocs(state: StageState, one: df.Copy | df.Add, expand: Expander) -> list[CopySource]:
    files: list[CopySource] = []
    for document in one.heredocs:
        text = expand.one(document.body, state.scope, one.span) if document.expand else document.body.text
        files.append(InlineFile(document.name, text.encode("utf-8", "surrogateescape")))
    return files


def _sources(state: StageState, one: df.Copy | df.Add, expand: Expander) -> list[str]:
    return [expand.one(word, state.scope, one.span) for word in one.sources]


def copy_operation(state: StageState, one: df.Copy, origin: Origin, expand: Expander) -> CopyFiles:
    """Return what COPY does."""
    sources = _sources(state, one, expand)
    for source in sources:
        if is_http(source) or is_git(source):
            raise expand.fail(f"source can't be a URL for COPY: {source}", one.span, "use ADD for URLs", at=source)
    files: list[CopySource] = [LocalPath(source) for source in sources]
    return _operation(state, one, [*files, *_heredocs(state, one, expand)], origin, expand)


def add_operation(state: StageState, one: df.Add, expand: Expander) -> CopyFiles:
    """Return what ADD does."""
    checksum = expand.optional(one.checksum, state.scope, one.span) or ""
    files: list[CopySource] = []
    for source in _sources(state, one, expand):
        if is_git(source):
            files.append(GitTree(source, checksum, bool(one.keep_git_dir)))
        elif is_http(source):
            files.append(RemoteFile(source, _http_checksum(checksum, expand, one.span)))
        elif checksum:
            raise expand.fail(
                f"checksum requires an HTTP(S) or git source, {source!r} is a local path", one.span, at=source
            )
        else:
            files.append(LocalPath(source))
    files += _heredocs(state, one, expand)
    if checksum and len(files) != 1:
        raise expand.fail("checksum can't be specified for multiple sources", one.span)
    return _operation(state, one, files, ContextOrigin(), expand)


def _http_checksum(text: str, expand: Expander, span: Span) -> str:
    if text and not re.fullmatch(r"sha256:[0-9a-f]{64}", text):
        hint = "write it as sha256: and 64 lower-case hex digits"
        raise expand.fail(f"invalid checksum {text!r}", span, hint, at=f"--checksum={text}")
    return text


def _operation(
    state: StageState, one: df.Copy | df.Add, sources: list[CopySource], origin: Origin, expand: Expander
) -> CopyFiles:
    # As for --chown, a variable that is empty is as good as no flag.
    chmod = expand.optional(one.chmod, state.scope, one.span) or None
    cwd, dest = state.config.working_dir, expand.one(one.dest, state.scope, one.span)
    return CopyFiles(
        sources=tuple(sources),
        origin=origin,
        dest=destination(cwd, dest),
        instruction="COPY" if isinstance(one, df.Copy) else "ADD",
        chown=expand.optional(one.chown, state.scope, one.span),
        chmod=None if chmod is None else check_chmod(chmod, expand, one.span),
        link=one.link,
        parents=one.parents if isinstance(one, df.Copy) else False,
        exclude=one.exclude,
        unpack=one.unpack if isinstance(one, df.Add) else False,
        cwd="" if dest.startswith("/") else cwd or "/",
    )


def history_text(operation: CopyFiles, dest: str) -> str:
    """Return ``COPY src dst # buildkit`` with the flags that change owners and modes."""
    words: list[str] = [operation.instruction]
    if operation.chown:
        words.append(f"--chown={operation.chown}")
    if operation.chmod:
        words.append(f"--chmod={operation.chmod}")
    if operation.link:
        words.append("--link")
    for source in operation.sources:
        match source:
            case LocalPath(path):
                words.append(path)
            case InlineFile(name, _):
                words.append(f"<<{name}")
            case RemoteFile(url, _) | GitTree(url, _, _):
                words.append(without_credentials(url))
    return " ".join([*words, dest, "# buildkit"])


def without_credentials(text: str) -> str:
    """Return ``text`` with users and passwords of URLs replaced: they must not reach histories, keys and logs."""
    return _CREDENTIALS.sub("xxxxx:xxxxx@", text)
