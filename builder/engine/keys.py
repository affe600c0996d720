"""From operations to the values their cache keys are made of (cache-and-graph.md 5.4, semantics 64).

Both keys of an operation are here: what it *is* (inputs by identity) and what it *read* (inputs by content). Never in
a key: secrets' values, proxies, host paths, the clock, where the build runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from builder.cache.keys import Component, Identity, Value
from builder.engine.selecting import Selection
from builder.engine.times import TimePolicy
from builder.image.digest import ChainID
from builder.levels import FIRST, Level
from builder.plan.graph import (
    CopyFiles,
    MakeDirectory,
    Mount,
    RunCommand,
    StageOrigin,
)
from builder.rootfs.entry import Entry

COPY_VERSION = 4
RUN_VERSION = 1
DIRECTORY_VERSION = 2


def directory_identity(operation: MakeDirectory, parent: ChainID, times: TimePolicy) -> Identity:
    """Return what a WORKDIR is."""

    def described() -> Iterator[Component]:
        from builder.engine.components import of_directory

        return of_directory(operation, parent, times)

    value = (parent, operation.path, operation.user, times.identity())
    return Identity("directory", DIRECTORY_VERSION, value, described)


def copy_identity(
    operation: CopyFiles,
    parent: Value,
    times: TimePolicy,
    sources: Sequence[Value],
    selections: Sequence[Sequence[Selection]] | None,
) -> Identity:
    """Return what a COPY or ADD is whose sources have these identities, or with ``selections`` these contents.

    ``parent`` is a ChainID, or what a ``--link`` shows of the image below.
    """

    def described() -> Iterator[Component]:
        from builder.engine.components import of_copy

        return of_copy(operation, parent, times, sources, selections)

    return Identity(
        "copy" if selections is None else "copy by content",
        COPY_VERSION,
        {
            "parent": parent,
            "instruction": operation.instruction,
            "dest": operation.dest,
            "chown": operation.chown,
            "chmod": operation.chmod,
            "link": operation.link,
            "parents": operation.parents,
            "exclude": operation.exclude,
            "unpack": operation.unpack,
            "times": times.identity(),
            "sources": tuple(sources),
        },
        described,
    )


def directory_of(entry: Entry) -> Value:
    """Return what a key says of a directory that a layer repeats, its time included."""
    return (entry.mode, entry.uid, entry.gid, entry.mtime, dict(entry.xattrs))


def run_identity(operation: RunCommand, parent: ChainID, sources: Sequence[ChainID], times: TimePolicy) -> Identity:
    """Return what a RUN is."""

    def described() -> Iterator[Component]:
        from builder.engine.components import of_run

        return of_run(operation, parent, sources, times)

    return Identity("run", RUN_VERSION, _run(operation, parent, sources, times), described)


def flat_identity(exact: Identity, *, ignored: bool = False) -> Identity:
    """Return what a RUN is that was made with a single uid: its owners are the recorded ones.

    Only builds that cannot do better look there. ``ignored``: it ran as root although USER says otherwise, which is
    for those only who asked for that.
    """

    def described() -> Iterator[Component]:
        yield from exact.describe()
        yield "users", "one uid, USER ignored" if ignored else "one uid"

    return Identity("run with one uid, owners recorded", RUN_VERSION, (exact.key, ignored), described)


def levelled(exact: Identity, level: Level) -> Identity:
    """Return what an operation is at a compatibility level; at the first it is what it was before there were levels."""
    if level.number == FIRST.number:
        return exact

    def described() -> Iterator[Component]:
        yield from exact.describe()
        yield "compatibility level", str(level.number)

    return Identity(f"{exact.kind} at a level", exact.version, (exact.key, level.number), described)


def _run(operation: RunCommand, parent: ChainID, sources: Sequence[ChainID], times: TimePolicy) -> Value:
    return {
        "parent": parent,
        "platform": operation.platform.full,
        "args": operation.args,
        "env": tuple(operation.env),
        "cwd": operation.cwd,
        "user": operation.user,
        "network": operation.network,
        "security": operation.security,
        "hostname": operation.hostname,
        # Where a host is may change from day to day; that it is there is what the command was written for.
        "hosts": tuple(name for name, _ in operation.hosts),
        "ulimits": operation.ulimits,
        "shm_size": operation.shm_size,
        "script": operation.script,
        "mounts": tuple(_mount(mount, sources) for mount in operation.mounts),
        "times": times.identity(),
    }


def _mount(mount: Mount, sources: Sequence[ChainID]) -> Value:
    shown: str | None = None
    if isinstance(mount.origin, StageOrigin):
        shown = sources[mount.origin.source]
    return {
        "kind": mount.kind,
        "target": mount.target,
        "shown": shown,
        "source": mount.source,
        "id": mount.id,
        "readonly": mount.readonly,
        "sharing": mount.sharing,
        "mode": mount.mode,
        "uid": mount.uid,
        "gid": mount.gid,
        "size": mount.size,
        "required": mount.required,
        "env": mount.env,
    }
