"""The worker seen from the engine: starting it, its id maps, requests and their answers.

Thread-safe. The engine has threads and therefore never enters a namespace itself.
"""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.errors import BuilderError, ContextError, ImageError, InterruptedBuildError, OutputError, SandboxError
from builder.rootfs.entry import LayerFormatError, UnsafePathError
from builder.run import wire
from builder.run.namespaces import IdMaps, Range, hide_memory
from builder.run.probe import Attempt, Refusal

if TYPE_CHECKING:
    import subprocess

_ERRORS: dict[str, type[BuilderError]] = {
    each.__name__: each
    for each in (
        SandboxError,
        OutputError,
        ImageError,
        ContextError,
        LayerFormatError,
        UnsafePathError,
        InterruptedBuildError,
    )
}
_BOOTSTRAP = "import sys; sys.path += sys.argv[7:]; from builder.run.worker import main; main()"
_CLOSE_SECONDS = 30.0


class Answer:
    """What the worker will say to one request."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._done = threading.Event()
        self._message: tuple[str, Any] = ("lost", None)

    def settle(self, kind: str, value: Any) -> None:
        """Give the answer to whoever waits."""
        self._message = (kind, value)
        self._done.set()

    def wait(self, seconds: float) -> bool:
        """Wait for at most ``seconds``; whether there is an answer."""
        return self._done.wait(seconds)

    def result(self) -> Any:
        """Wait, and return the answer. Raises the worker's error; SandboxError when the worker died."""
        self._done.wait()
        kind, value = self._message
        if kind == "ok":
            return value
        if kind == "error":
            name, message, hint = value
            raise _ERRORS.get(name, SandboxError)(message, hint=hint)
        if kind == "bug":
            raise RuntimeError(f"in the sandbox's worker:\n{value}")
        raise SandboxError(f"the sandbox's worker ended unexpectedly{value or ''}")


class Worker:
    """One running worker process."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        sock: socket.socket,
        errors: int,
        scratch: Path,
        snapshotter: tuple[str, str],
    ) -> None:
        self.scratch = scratch
        self.snapshotter, self.warning = snapshotter
        self._process = process
        self._sock = sock
        self._errors = errors
        self._numbers = itertools.count()
        self._answers: dict[int, Answer] = {}
        self._mutex = threading.Lock()
        self._alive = True
        self._listener = threading.Thread(target=self._listen, name="pybuild-sandbox", daemon=True)
        self._listener.start()

    @property
    def pid(self) -> int:
        """The process id, for tests that kill it."""
        return self._process.pid

    def ask(self, verb: str, payload: Any, fds: Sequence[int] = ()) -> Answer:
        """Send a request. The descriptors are duplicated."""
        answer = Answer(next(self._numbers))
        with self._mutex:
            alive = self._alive
            if alive:
                self._answers[answer.number] = answer
        if not alive:
            answer.settle("lost", None)
            return answer
        try:
            wire.send(self._sock, (verb, answer.number, payload), fds)
        except OSError:
            self._fail()
        return answer

    def cancel(self, answer: Answer) -> None:
        """End what was asked for as soon as possible; there will be an answer still."""
        try:
            wire.send(self._sock, ("cancel", answer.number, None))
        except OSError:
            self._fail()

    def close(self) -> None:
        """End the process and everything in it; wait until it is gone."""
        import subprocess

        try:
            wire.send(self._sock, ("close", -1, None))
        except OSError:
            pass  # it is gone already
        try:
            self._process.wait(_CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listener.join()
        self._sock.close()
        os.close(self._errors)

    def _listen(self) -> None:
        while (message := wire.receive(self._sock)) is not None:
            (kind, number, value), _ = message
            with self._mutex:
                answer = self._answers.pop(number, None)
            if answer is not None:
                answer.settle(kind, value)
        self._fail()

    def _fail(self) -> None:
        with self._mutex:
            self._alive = False
            pending, self._answers = self._answers, {}
        said = _tail(self._errors)
        for answer in pending.values():
            answer.settle("lost", said)


def start(attempt: Attempt, root: Path, scratch: Path, snapshotter: str = "auto") -> Worker | Refusal:
    """Start a worker in the way ``attempt`` says; the refusal says why that does not work here.

    ``root`` is the store, ``scratch`` an empty directory in it that the worker will own and remove; ``snapshotter`` is
    ``auto`` or the name of one.
    """
    import subprocess

    ours, theirs = wire.pair()
    errors = os.memfd_create("pybuild-worker", os.MFD_CLOEXEC)
    home = str(Path(__file__).resolve().parents[2])
    paths = [home, *(os.path.abspath(path) for path in sys.path if path and os.path.exists(path))]
    arguments = [str(theirs.fileno()), attempt.mode, str(root), attempt.view, str(scratch), snapshotter, *paths]
    interpreter = sys.executable or "python3"
    try:
        process = subprocess.Popen(
            [interpreter, "-I", "-S", "-X", "utf8", "-c", _BOOTSTRAP, *arguments],
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            env={"LANG": "C.UTF-8"},
            start_new_session=True,
        )
    except OSError as error:
        for fd in (ours.detach(), theirs.detach(), errors):
            os.close(fd)
        return Refusal(attempt.mode, f"cannot start {interpreter}: {error.strerror}")
    theirs.close()
    refusal = _handshake(attempt, ours, process.pid)
    if not isinstance(refusal, Refusal):
        if attempt.mode == "chroot":
            hide_memory()  # steps share our process ids and our uid
        return Worker(process, ours, errors, scratch, refusal)
    ours.close()
    process.kill()
    process.wait()
    said = "" if refusal.what else _tail(errors)
    os.close(errors)
    shutil.rmtree(scratch, ignore_errors=True)
    return Refusal(refusal.mode, refusal.what or f"the worker did not start{said}", refusal.number)


def _handshake(attempt: Attempt, sock: socket.socket, pid: int) -> Refusal | tuple[str, str]:
    """Follow the worker into its namespaces. When it is ready, return its snapshotter and a warning about that."""
    while True:
        message = wire.receive(sock)
        match message[0] if message else None:
            case ("ready", str() as name, str() as warning):
                return name, warning
            case ("unshared",) if attempt.maps is not None:
                problem = _write_maps(pid, attempt.maps)
                if problem:
                    return Refusal(attempt.mode, problem)
                wire.send(sock, (attempt.maps.uids, attempt.maps.gids))
            case ("failed", what, number):
                return Refusal(attempt.mode, what, number or 0)
            case _:
                return Refusal(attempt.mode, "")


def _write_maps(pid: int, maps: IdMaps) -> str:
    """Give the process's user namespace its ids; return what went wrong."""
    if os.geteuid() == 0:
        try:
            for name, ranges in (("gid_map", maps.gids), ("uid_map", maps.uids)):
                with open(f"/proc/{pid}/{name}", "wb", buffering=0) as file:
                    file.write("".join(f"{a} {b} {n}\n" for a, b, n in ranges).encode())
        except OSError as error:
            needed = "this takes CAP_SETUID, CAP_SETGID and CAP_SETFCAP"
            return f"write the id maps of the user namespace: {error.strerror}; {needed}"
        return ""
    return _set_id_program("newgidmap", pid, maps.gids) or _set_id_program("newuidmap", pid, maps.uids)


def _set_id_program(name: str, pid: int, ranges: Sequence[Range]) -> str:
    import subprocess

    numbers = [str(number) for each in ranges for number in each]
    try:
        done = subprocess.run([name, str(pid), *numbers], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except OSError as error:
        return f"{name}: {error.strerror}"
    return "" if done.returncode == 0 else done.stderr.decode(errors="replace").strip() or f"{name} failed"


def _tail(fd: int) -> str:
    size = os.fstat(fd).st_size
    text = os.pread(fd, 4096, max(0, size - 4096)).decode(errors="replace").strip()
    return f":\n{text}" if text else ""
