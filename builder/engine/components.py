"""What keys are made of, told to people: names and short texts for all that ``engine.keys`` puts into one.

Files have a line each. Values of variables whose names look like secrets, and long texts, are told by their digests.
Nothing here decides whether a result is used.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, assert_never, cast

from builder.cache.keys import Component, Value, encode
from builder.context.contenthash import Record
from builder.context.gomatch import has_wildcard, root_relative
from builder.dockerfile.lint import looks_secret
from builder.engine.selecting import Selection
from builder.engine.times import TimePolicy
from builder.image.digest import ChainID
from builder.plan.copies import without_credentials
from builder.plan.graph import (
    BaseImage,
    CopyFiles,
    CopySource,
    GitTree,
    InlineFile,
    LocalPath,
    MakeDirectory,
    Mount,
    Operation,
    RemoteFile,
    RunCommand,
    StageOrigin,
)

PARENT = "parent"
"""The component that stands for all that lies below."""

FILE = "file "
"""How the names of components begin that are files, directories and links."""

FILES = (FILE, "here-document ", "time of ", "order of the sources", "pybuild's version")
"""How the names of components begin that tell what a COPY reads."""

VARIABLE = "variable "
"""How the names of components begin that are ARGs and ENVs."""

DESTINATION, DIRECTORY = "destination", "working directory"
"""The components that say where a COPY writes, and from where that is seen; the latter matters only with the former."""

CONFIGURED = (VARIABLE, "user", DIRECTORY, "shell")
"""How the names of components begin that may come from the config of a base image."""

MOUNT = "--mount="
"""How the names of components begin that hold the fields of a mount."""

SHOWN = "files of "
"""How the names of components begin that are the file systems behind mounts."""

ORDERS = ("order of the sources", "order of the variables", "order of the mounts")
"""Components that matter only where no other differs."""

_KINDS = {
    "f": "file",
    "d": "directory",
    "s": "symlink",
    "c": "character-device",
    "b": "block-device",
    "p": "fifo",
}

_LONGEST = 2000
"""Characters of a text that are kept as they are."""

_SHOWN = 16
"""Hex digits that stand for a digest."""

_SHELL_FLAGS = ("-c", "/c", "/C", "/S", "-Command")


def first_of(operation: Operation) -> dict[str, str]:
    """Return the first of an operation's components, with what it is seen from."""
    match operation:
        case MakeDirectory(path):
            return {"directory": path}
        case CopyFiles():
            return {DESTINATION: operation.dest, DIRECTORY: operation.cwd}
        case RunCommand():
            return dict([next(_command(operation))])
        case BaseImage():
            return {}
        case _:
            assert_never(operation)


def of_directory(operation: MakeDirectory, parent: ChainID, times: TimePolicy) -> Iterator[Component]:
    """Yield the components of a WORKDIR."""
    yield "directory", operation.path
    yield "user", operation.user
    yield "times", _times(times)
    yield PARENT, _short(parent)


def of_run(
    operation: RunCommand, parent: ChainID, sources: Sequence[ChainID], times: TimePolicy
) -> Iterator[Component]:
    """Yield the components of a RUN."""
    yield from _command(operation)
    for name, value in operation.env:
        yield VARIABLE + name, _digest(value) if looks_secret(name) else _bounded(value)
    yield DIRECTORY, operation.cwd
    yield "user", operation.user
    for mount in operation.mounts:
        yield from _mount(mount, sources)
    yield "platform", operation.platform.full
    yield "--network", operation.network
    yield "--security", operation.security
    yield "host name", operation.hostname
    yield "--add-host", " ".join(name for name, _ in operation.hosts)
    yield "--ulimit", " ".join(f"{name}={soft}:{hard}" for name, soft, hard in operation.ulimits)
    yield "--shm-size", str(operation.shm_size)
    yield "order of the variables", _bounded(" ".join(name for name, _ in operation.env))
    yield "order of the mounts", " ".join(map(_mount_name, operation.mounts))
    yield "times", _times(times)
    yield PARENT, _short(parent)


def of_copy(
    operation: CopyFiles,
    parent: Value,
    times: TimePolicy,
    sources: Sequence[Value],
    selections: Sequence[Sequence[Selection]] | None,
) -> Iterator[Component]:
    """Yield the components of a COPY or ADD; without ``selections`` nothing is known of the files."""
    yield DESTINATION, operation.dest
    if operation.cwd:
        yield DIRECTORY, operation.cwd
    yield "instruction", operation.instruction
    yield "--chown", operation.chown or ""
    yield "--chmod", operation.chmod or ""
    yield "--link", str(operation.link).lower()
    yield "--parents", str(operation.parents).lower()
    yield "--exclude", " ".join(operation.exclude)
    yield "--unpack", "" if operation.unpack is None else str(operation.unpack).lower()
    if selections is not None:
        for source, value, found in zip(operation.sources, sources, selections, strict=True):
            yield from _source(operation, source, value, found)
        yield "order of the sources", _bounded(" ".join(map(_listed, operation.sources, selections)))
    yield "times", _times(times)
    # What --link shows of the image below is no digest.
    yield PARENT, _short(parent) if isinstance(parent, str) else hashlib.sha256(encode(parent)).hexdigest()[:_SHOWN]


def _command(operation: RunCommand) -> Iterator[Component]:
    args = operation.args
    if operation.script is not None:
        name, body = operation.script
        yield f"here-document {name}", _bounded(body.decode("utf-8", "replace"))
    elif len(args) > 2 and args[-2] in _SHELL_FLAGS:
        yield "command", _bounded(args[-1])
        yield "shell", _bounded(" ".join(map(repr, args[:-1])))
    else:
        yield "command", _bounded(" ".join(map(repr, args)))


def _mount(mount: Mount, sources: Sequence[ChainID]) -> Iterator[Component]:
    name = _mount_name(mount)
    fields: dict[str, object] = {
        "source": mount.source,
        "id": mount.id,
        "readonly": mount.readonly,
        "sharing": mount.sharing,
        "mode": None if mount.mode is None else f"{mount.mode:o}",
        "uid": mount.uid,
        "gid": mount.gid,
        "size": mount.size,
        "required": mount.required,
        "env": mount.env,
    }
    yield name, _bounded(",".join(f"{field}={value}" for field, value in fields.items()))
    if isinstance(mount.origin, StageOrigin):
        yield shown(mount), _short(sources[mount.origin.source])


def shown(mount: Mount) -> str:
    """Return the name of the component for the file system behind a mount."""
    return SHOWN + _mount_name(mount)


def _mount_name(mount: Mount) -> str:
    return f"{MOUNT}{mount.kind} {mount.target or mount.id or mount.env}"


def _listed(source: CopySource, found: Sequence[Selection]) -> str:
    """Return how a source counts by its name and place among the others, not by how it is spelled."""
    if isinstance(source, InlineFile):
        return f"<<{source.name}"
    return " ".join(one.below or ("/" if one.top.is_dir else one.name) for one in found) or "nothing"


def _source(operation: CopyFiles, source: CopySource, value: Value, found: Sequence[Selection]) -> Iterator[Component]:
    """Yield the files of one source; ``value`` is what ``engine.copies`` says of it."""
    match source:
        case InlineFile(name, data):
            yield f"here-document {name}", _bounded(data.decode("utf-8", "replace"))
            return
        case LocalPath():
            prefix = "/" if isinstance(operation.origin, StageOrigin) else ""
        case RemoteFile(url, _) | GitTree(url, _, _):
            prefix = f"{without_credentials(url)}: "
    _, content, mtimes = cast("tuple[str, tuple[str, tuple[Any, ...]], tuple[int, ...]]", value)
    for mtime in mtimes:
        yield f"time of {prefix.removesuffix(': ')}", str(mtime)
    for one, (_, top, parents, below) in zip(found, content[1], strict=True):
        for relative, recorded in parents:
            yield f"{FILE}{prefix}{relative}", _entry(recorded, None)
        path, leads = _path(source, one)
        text = "directory" if top == "directory" else _entry(top, None)
        yield f"{FILE}{prefix}{path or '.'}", f"{text} target={leads}" if leads else text
        if one.top.is_dir:
            start = f"{FILE}{prefix}{path}/" if path else f"{FILE}{prefix}"
            for relative, recorded, number in below:
                yield start + relative, _entry(recorded, number)


def _path(source: CopySource, one: Selection) -> tuple[str, str]:
    """Return where what a source selects lies, and for a link that is followed where that leads."""
    where = one.top.path
    if not isinstance(source, LocalPath) or one.name == where.rpartition("/")[2]:
        return where, ""
    return (one.name if has_wildcard(source.path) else root_relative(source.path)), where or "."


def _entry(recorded: Record, link: int | None) -> str:
    """Return a line of fields; the target, which may hold blanks, is the last one."""
    kind, mode, uid, gid, size, target, major, minor, xattrs, sha256 = recorded
    text = _start(kind, mode, uid, gid)
    if sha256 is not None:
        text = f"{text} size={size} sha256={sha256[:8].hex()}"
    if not (xattrs or major or minor or target) and link is None:
        return text
    if xattrs:
        text += f" attributes={_digest(repr(xattrs)).removeprefix('sha256:')}"
    if major or minor:
        text += f" device={major}:{minor}"
    if link is not None:
        text += f" hardlink={link}"
    return f"{text} target={target}" if target else text


@functools.lru_cache(maxsize=1024)
def _start(kind: str, mode: int, uid: int, gid: int) -> str:
    return f"{_KINDS.get(kind, kind)} mode={mode:o} owner={uid}:{gid}"


def fields_of(text: str) -> Mapping[str, str]:
    """Return the fields of a file's line; its kind is called ``kind``."""
    line, _, target = text.partition(" target=")
    kind, *rest = line.split(" ")
    fields = dict(one.partition("=")[::2] for one in rest)
    return {"kind": kind, **fields, **({"target": target} if target else {})}


def _times(times: TimePolicy) -> str:
    mode, epoch = times.identity()
    return mode if epoch is None else f"{mode} {epoch}"


def _bounded(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... {_digest(text)}"


def _digest(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:_SHOWN]}"


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:_SHOWN]
