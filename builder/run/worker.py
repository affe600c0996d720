"""The process that lives in the namespaces: entered once without threads, then serving the engine (run-sandbox.md 2).

Started by ``run.process`` with the real interpreter, without site packages; the module search path comes as arguments.
It sees container ids as they are, so unpacking, diffing, packing and deleting happen here. Its end is the end
of every mount and every step; it ends itself as soon as the engine is gone.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

from builder.errors import BuilderError, OutputError, room_hint
from builder.rootfs.measure import allocated
from builder.rootfs.rooted import remove_tree
from builder.run import namespaces, wire
from builder.run.choice import choose
from builder.run.layers import Layers
from builder.run.snapshots import Snapshotter
from builder.run.spawning import Nursery
from builder.run.step import Step

_JOIN_SECONDS = 20.0


def main() -> None:
    """Enter the namespaces and serve until the engine closes the socket or dies."""
    number, mode, root, view, scratch, wanted = sys.argv[1:7]
    sock = socket.socket(fileno=int(number))
    sock.set_inheritable(False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Ignored by who started us, it would keep us, and each RUN, from learning how a child ended.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.umask(0o022)
    try:
        maps = _enter(mode, sock, scratch)
        nursery = None if mode in ("chroot", "oci") else Nursery()
        layers = Layers(Path(root), view, Path(scratch), single=mode == "single")
        snapshotter, name, warning = choose(wanted, mode, layers, Path(scratch))
    except OSError as error:
        wire.send(sock, ("failed", str(error.filename), error.errno))
        return
    worker = _Worker(sock, Path(scratch), layers, snapshotter, maps, nursery)
    wire.send(sock, ("ready", name, warning))
    worker.serve()


def _enter(mode: str, sock: socket.socket, scratch: str) -> namespaces.IdMaps | None:
    """Enter the namespaces of ``mode``; return the ids that exist there, None for all. Raises OSError."""
    if mode == "chroot":
        namespaces.try_chroot(os.fsencode(scratch))
        namespaces.hide_memory()
        namespaces.adopt_orphans()  # of a step whose own process was killed
        return None
    uid, gid = os.geteuid(), os.getegid()
    maps = None
    if mode not in ("root", "oci"):
        namespaces.unshare(namespaces.CLONE_NEWUSER, "unshare user namespace")
        if mode == "single":
            namespaces.map_single(uid, gid)
            maps = namespaces.IdMaps(((0, uid, 1),), ((0, gid, 1),))
        else:
            # The maps are written from outside: by set-id programs, or by a root that keeps its rights there.
            wire.send(sock, ("unshared",))
            answer = wire.receive(sock)
            if answer is None:
                os._exit(0)
            maps = namespaces.IdMaps(*answer[0])
        namespaces.become_root()
    namespaces.enter_mounts()
    return maps


class _Worker:
    def __init__(
        self,
        sock: socket.socket,
        scratch: Path,
        layers: Layers,
        snapshotter: Snapshotter,
        maps: namespaces.IdMaps | None,
        nursery: Nursery | None,
    ) -> None:
        self._sock = sock
        self._scratch = scratch
        self._layers = layers
        self._snapshotter = snapshotter
        self._maps = maps
        self._nursery = nursery
        self._steps: dict[int, Step] = {}
        self._early: set[int] = set()
        self._mutex = threading.Lock()
        self._threads: list[threading.Thread] = []

    def serve(self) -> None:
        """Answer each request in a thread of its own, until there is nobody to answer."""
        while (message := wire.receive(self._sock)) is not None:
            (verb, number, payload), fds = message
            if verb == "cancel":
                self._cancel(number)
            elif verb == "close":
                self._finish()
                break
            else:
                thread = threading.Thread(target=self._answer, args=(verb, number, payload, fds), daemon=True)
                self._threads.append(thread)
                thread.start()
        # No orderly end: threads may be anywhere, and the kernel cleans up better and at once. The steps' lifelines
        # close with us; what lies in our directory the next worker deletes.
        os._exit(0)

    def _finish(self) -> None:
        """End every step, then delete what is left, so that two threads do not delete the same."""
        with self._mutex:
            steps = list(self._steps.values())
        for step in steps:
            step.cancel()
        for thread in self._threads:
            thread.join(_JOIN_SECONDS)
        if self._nursery is not None:
            self._nursery.close()
        remove_tree(self._scratch)

    def _cancel(self, number: int) -> None:
        with self._mutex:
            step = self._steps.get(number)
            if step is None:
                self._early.add(number)
        if step is not None:
            step.cancel()

    def _answer(self, verb: str, number: int, payload: Any, fds: list[int]) -> None:
        reply: tuple[Any, ...]
        try:
            reply = ("ok", number, self._do(verb, number, payload, fds))
        except BuilderError as error:
            reply = ("error", number, (type(error).__name__, error.message, error.hint))
        except OSError as error:
            failure = OutputError(f"{error.filename or 'the store'}: {error.strerror}")
            reply = ("error", number, (type(failure).__name__, failure.message, room_hint(error)))
        except BaseException:  # noqa: BLE001 -- a thread has nobody else to tell of our own bugs
            import traceback

            reply = ("bug", number, traceback.format_exc())
        try:
            wire.send(self._sock, reply)
        except OSError:
            os._exit(0)
        if verb == "run":
            self._forget(number)

    def _do(self, verb: str, number: int, payload: Any, fds: list[int]) -> Any:
        match verb:
            case "run":
                return self._run(number, payload, fds)
            case "emulate":
                return namespaces.register_format(os.fsencode(self._scratch / "formats"), payload)
            case "measure":
                return [allocated(os.fsdecode(path)) for path in payload]
            case _:
                return self._delete(payload)

    def _run(self, number: int, payload: Any, fds: list[int]) -> Any:
        place = self._scratch / f"step-{number}"
        try:
            step = Step(place, self._layers, self._snapshotter, self._maps, self._nursery)
        except BaseException:
            for fd in fds:
                os.close(fd)  # or the engine waits for more output
            raise
        with self._mutex:
            self._steps[number] = step
            early = number in self._early
        if early:
            step.cancel()
        return step.run(payload, *fds)

    def _delete(self, paths: list[bytes]) -> int:
        """Delete trees that dead processes left; what belongs to other ids than ours stays for those who can."""
        for path in paths:
            remove_tree(Path(os.fsdecode(path)))
        return len(paths)

    def _forget(self, number: int) -> None:
        """Delete the step's directories, after the engine has its answer."""
        with self._mutex:
            step = self._steps.pop(number, None)
            self._early.discard(number)
        if step is not None:
            step.remove()
