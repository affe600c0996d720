"""One RUN from the worker's side: directories, the process of ``run.init``, and the layer cut from what it left.

run-sandbox.md 2 and 5. Runs in a thread of the worker, inside its namespaces. The order of mounts and everything else
the command can see was decided by ``run.mounts``; the tree is only looked at again when all its processes have ended.
"""

from __future__ import annotations

import functools
import itertools
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.errors import InterruptedBuildError, SandboxError
from builder.rootfs.rooted import remove_tree
from builder.run import attending, spawning, wire
from builder.run.layers import Layers
from builder.run.namespaces import IdMaps, has_id
from builder.run.users import Identity, resolve_user

if TYPE_CHECKING:
    from builder.rootfs.pack import Item
    from builder.run.recording import Recorder
    from builder.run.snapshots import Snapshot, Snapshotter
    from builder.run.spawning import Nursery

Plain = dict[str, Any]

_MAX_WARNINGS = 20

# The processes of steps are all this process starts; with them known, other children are what steps have left.
_HELPERS: set[int] = set()
_SPAWNING = threading.Lock()


class Step:
    """One RUN; ``cancel`` may be called from another thread at any time."""

    def __init__(
        self, scratch: Path, layers: Layers, snapshotter: Snapshotter, maps: IdMaps | None, nursery: Nursery | None
    ) -> None:
        self._scratch = scratch
        self._layers = layers
        self._snapshotter = snapshotter
        self._snapshot: Snapshot | None = None
        self._maps = maps
        self._nursery = nursery
        self._life, self._lifeline = os.pipe()
        self._mutex = threading.Lock()
        self._pid = 0
        self._chroot = False
        self.cancelled = False
        self._warnings: list[str] = []

    def cancel(self) -> None:
        """End the command, now or before it starts."""
        with self._mutex:
            self.cancelled = True
            if self._lifeline >= 0:
                os.close(self._lifeline)
                self._lifeline = -1

    def run(self, request: Plain, stdout: int, stderr: int) -> Plain:
        """Do what ``request`` says; return ``status``, ``packed`` and ``warnings``. Closes the descriptors.

        Raises SandboxError when the step could not be set up, and the errors of unpacking and packing.
        """
        try:
            try:
                lowers = self._unpack(request["layers"])
                snapshot = self._begin(lowers)
                plan = self._prepare(request["plan"], snapshot)
                channel = self._spawn(plan, stdout, stderr)
            finally:
                os.close(stdout)
                os.close(stderr)
            status = self._accompany(channel, request)
            packed = None
            if status[0] == "exit" and status[1] == 0 and not self.cancelled:
                packed = self._pack(snapshot, request)
            return {"status": status, "packed": packed, "warnings": self._warnings}
        finally:
            self.cancel()
            os.close(self._life)

    def _unpack(self, layers: Sequence[tuple[str, bytes, str, bool]]) -> list[Path]:
        paths: list[Path] = []
        for name, blob, diff_id, alone in layers:
            if self.cancelled:
                raise InterruptedBuildError("cancelled while unpacking layers")
            paths.append(self._layers.ensure(name, blob, diff_id, () if alone else tuple(paths), self._warn))
        return paths

    def _warn(self, message: str) -> None:
        if len(self._warnings) < _MAX_WARNINGS:
            self._warnings.append(message)

    def _begin(self, lowers: Sequence[Path]) -> Snapshot:
        os.mkdir(self._scratch)
        os.mkdir(self._scratch / "p")
        self._snapshot = self._snapshotter.begin(self._scratch, lowers)
        return self._snapshot

    def _prepare(self, plan: Plain, snapshot: Snapshot) -> Plain:
        """Make the directories of the step's mounts and complete the plan with where they are."""
        plan["scratch"] = os.fsencode(self._scratch)
        plan.update(snapshot.fields())
        for number, op in enumerate(plan["mounts"]):
            if op["op"] == "overlay":
                base = self._scratch / f"o{number}"
                base.mkdir()
                below = self._unpack(op.pop("layers", ())) if not op["source"] else [Path(os.fsdecode(op["source"]))]
                op.update(self._snapshotter.shadow(base, below))
            elif "fresh" in op:
                self._initialise(op)
        return plan

    def _initialise(self, op: Plain) -> None:
        """Give a cache directory that nobody has used yet its first files, owner and mode; made if missing."""
        directory, owner, seed = op["source"], op["owner"], op.pop("seed")
        os.makedirs(directory, exist_ok=True)
        with os.scandir(directory) as entries:
            if any(entries):
                return
        new = os.fsencode(self._layers.temporary()) if seed else directory
        if seed:
            self._layers.unpack(Path(os.fsdecode(new)), seed[0], seed[1], self._warn)
        try:
            os.chown(new, *owner)
            os.chmod(new, op["fresh"])
        except OSError as error:
            raise SandboxError(
                f"cannot give a cache mount to uid {owner[0]} gid {owner[1]}: {error.strerror}",
                hint="these ids do not exist in this user namespace",
            ) from error
        if seed:
            try:
                os.rename(new, directory)
            except OSError:  # another step was first: its files are as good
                remove_tree(Path(os.fsdecode(new)))

    def _spawn(self, plan: Plain, stdout: int, stderr: int) -> socket.socket:
        self._chroot = plan["isolation"] == "chroot"
        ours, theirs = socket.socketpair()
        spec = wire.memory_file(attending.frame(plan))
        fds = [stdout, stderr, spec, theirs.fileno(), self._life]
        try:
            with _SPAWNING:
                self._pid = self._nursery.fork(fds) if self._nursery else 0
                if not self._pid:
                    self._pid = spawning.start(_program(plan["isolation"]), fds)
                _HELPERS.add(self._pid)
        except OSError as error:
            ours.close()
            raise SandboxError(f"cannot start a process for the RUN: {error.strerror}") from error
        finally:
            os.close(spec)
            theirs.close()
        return ours

    def _accompany(self, channel: socket.socket, request: Plain) -> tuple[str, int, int, str]:
        """Answer the process's question who the user is, wait for its end; return (phase, code, signal, why)."""
        refusal: SandboxError | None = None
        message: Any = None
        recorder: Recorder | None = None
        try:
            while True:
                head, fds, _, _ = socket.recv_fds(channel, 4, 1, socket.MSG_CMSG_CLOEXEC)
                message = attending.receive(channel.fileno(), head)
                if message == ("recorder",):
                    recorder = _record(fds[0], self._warn)
                    continue
                if message is None or message[0] != "accounts":
                    break
                try:
                    identity = self._identity(request, message[1], message[2])
                    attending.send(
                        channel.fileno(), (identity.uid, identity.gid, identity.groups, os.fsencode(identity.home))
                    )
                except SandboxError as error:
                    refusal = error
                    channel.shutdown(socket.SHUT_WR)
                _preload()
        except ConnectionError:
            pass  # it died: the status below says so
        finally:
            channel.close()
            if recorder is not None:
                recorder.close()
        if refusal is not None:
            raise refusal
        return self._conclude(message)

    def _conclude(self, message: Any) -> tuple[str, int, int, str]:
        """Return what the last message says, None for none. Raises SandboxError if there was no command."""
        if message is None:
            if self._chroot:
                # What it leaves becomes ours only when it is gone, and its sockets close earlier.
                self._reap()
                _end_strays()
            return "lost", 71, 0, "the sandbox's own process ended unexpectedly"
        phase, code, signal, why = message[1:]
        if phase == "refused":
            raise SandboxError(why, hint="a step may read its secrets; it must neither link nor move them")
        if phase == "setup":
            raise SandboxError(f"cannot set up the RUN: {why}", hint="pybuild doctor tells what works here")
        return phase, code, signal, why

    def _identity(self, request: Plain, passwd: bytes | None, group: bytes | None) -> Identity:
        user = request["user"]
        identity = resolve_user(user, passwd, group)
        if self._maps is None:
            return identity
        if not has_id(self._maps.uids, identity.uid) or not has_id(self._maps.gids, identity.gid):
            single = request["plan"]["recorder"] is not None
            if single and request["ignore_user"]:
                return Identity(0, 0, (), identity.home)
            raise SandboxError(
                f"USER {user}: uid {identity.uid} gid {identity.gid} do not exist in this user namespace",
                hint="give yourself a larger range: usermod --add-subuids FIRST-LAST --add-subgids FIRST-LAST NAME"
                + (", or run such steps as root with --ignore-user" if single else ""),
            )
        groups = tuple(gid for gid in identity.groups if has_id(self._maps.gids, gid))
        return Identity(identity.uid, identity.gid, groups, identity.home)

    def _pack(self, snapshot: Snapshot, request: Plain) -> Plain | None:
        from builder.rootfs.coding import Coding, Compression
        from builder.rootfs.entry import Kind
        from builder.rootfs.pack import pack
        from builder.rootfs.settling import settling

        compression, level, single = request["coding"]
        coding = Coding(Compression(compression), level, single)
        items = snapshot.items(request["epoch"])
        first = next(items, None)
        if first is None:
            snapshot.adopt(None, {})
            return None
        emitted: dict[str, int | None] = {}

        def noting() -> Iterator[Item]:
            for item in itertools.chain([first], items):
                emitted[item.entry.path] = None if item.entry.kind is Kind.WHITEOUT else item.entry.mtime
                yield item

        blob, toc = (os.fsdecode(path) for path in request["target"])
        with open(blob, "wb") as file, settling(file) as blob_stream, open(toc, "wb") as toc_stream:
            packed = pack(noting(), blob_stream, toc_stream, coding=coding)
        snapshot.adopt(packed, emitted)
        fields = ("diff_id", "digest", "size", "uncompressed_size", "entries", "compressor")
        return {name: getattr(packed, name) if name[0] not in "d" else str(getattr(packed, name)) for name in fields}

    def _reap(self) -> None:
        if self._pid:
            os.waitpid(self._pid, 0)
            _HELPERS.discard(self._pid)
            self._pid = 0

    def remove(self) -> None:
        """Delete what the step left on the disk, when its process has let go of it.

        Until here its end is not waited for: with many layers, dismantling the mount takes longer than ``true``.
        """
        if self._snapshot is not None:
            self._snapshot.settle()
        self._reap()
        if self._snapshot is not None:
            self._snapshot.remove()
        remove_tree(self._scratch)


@functools.cache
def _program(isolation: str) -> bytes:
    """Return the code of the step's process."""
    if isolation == "oci":
        from builder.run import oci

        return spawning.program(oci)
    if isolation != "chroot":
        return spawning.program()
    from builder.run import chroot, lending

    return spawning.program(lending, chroot)


def _record(listener: int, warn: Callable[[str], None]) -> Recorder:
    from builder.run.recording import Recorder

    return Recorder(listener, warn)


def _end_strays() -> None:
    """Kill what a step has left whose process was killed: without namespaces nobody else does."""
    from builder.run.chroot import end_children

    with _SPAWNING:
        end_children(keep=frozenset(_HELPERS))


def _preload() -> None:
    """Import what the end of a step needs while the command is at work."""
    import builder.rootfs.diff
    import builder.rootfs.pack  # noqa: F401 -- for its effect
