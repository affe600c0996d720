"""What the ways of carrying out a RUN have in common: how its process begins, watches the command, and ends.

The ways are ``run.init``, ``run.oci`` and ``run.chroot``. ``run.spawning`` starts them with four descriptors: SPEC has
the marshalled plan, STATUS is a socket to the worker, LIFE a pipe whose end means "stop", PROGRAM the code. The worker
reads and writes the same framed values.

Standard library only, and nothing imported late, as ``run.init``.
"""

from __future__ import annotations

import marshal
import os
import select
import sys
import time

TYPE_CHECKING = False  # as in run.init
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    Plan = dict[str, Any]
    Stubs = list[tuple[bytes, bool]]  # made in the image only to mount on: path, whether a directory; parents first
    Ended = tuple[str, int, int, str]  # phase, code, signal, why

SIGKILL = 9


class Failure(Exception):  # noqa: N818 -- a message to the worker in the form of an exception, not an error of ours
    """The step ends here: ``phase`` is "setup" or "exec", ``code`` what the step exits with."""

    def __init__(self, phase: str, code: int, text: str) -> None:
        super().__init__(text)
        self.report = (phase, code, text)


def frame(value: Any) -> bytes:
    """Return a value as it travels: its length, then its marshalled form."""
    payload = marshal.dumps(value)
    return len(payload).to_bytes(4, "little") + payload


def send(fd: int, value: Any) -> None:
    """Write one framed value."""
    data = frame(value)
    while data:
        data = data[os.write(fd, data) :]


def receive(fd: int, header: bytes = b"") -> Any:
    """Read one framed value; None at the end. ``header`` is what has been read of it."""

    def exactly(size: int) -> bytes:
        parts = b""
        while len(parts) < size and (chunk := os.read(fd, size - len(parts))):
            parts += chunk
        return parts

    header += exactly(4 - len(header))
    return marshal.loads(exactly(int.from_bytes(header, "little"))) if len(header) == 4 else None


def perform(become: Callable[..., object], *given: Any, report: int) -> NoReturn:
    """Become the command; what goes wrong before it is there is told to ``report``. Never returns."""
    try:
        become(*given, report)
    except Failure as failure:
        send(report, ("failure", *failure.report))
    except OSError as error:
        send(report, ("failure", "setup", 71, f"{error.filename}: {error.strerror}"))
    except BaseException as error:  # noqa: BLE001 -- there is no traceback without a library to print it
        send(report, ("failure", "setup", 71, repr(error)))
    finally:
        os._exit(71)


def attend(life: int, timeout: float | None, become: Callable[..., object], *given: Any) -> tuple[Stubs, Ended]:
    """Have a child :func:`perform` and wait for its end, which comes with that of ``life``, and when time is over."""
    report, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(report)
        perform(become, *given, report=writer)
    os.close(writer)
    reports, why = supervise(child, report, life, timeout)
    _, status = os.waitpid(child, 0)
    return outcome(status, reports, why)


def supervise(child: int, report: int, life: int, timeout: float | None) -> tuple[bytes, str]:
    """Wait until ``child`` has ended; kill it when ``life`` ends or time is over. Returns its reports and why."""
    pidfd = os.pidfd_open(child)
    poll = select.poll()
    for fd in (pidfd, report, life):
        poll.register(fd, select.POLLIN)
    deadline = None if timeout is None else time.monotonic() + timeout
    reports, why = b"", ""
    while True:
        left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
        events = [fd for fd, _ in poll.poll(None if left is None else min(left, 1e9))]  # poll(2) takes an int
        if report in events:
            chunk = os.read(report, 65536)
            reports += chunk
            if not chunk:
                poll.unregister(report)
        if pidfd in events and report not in events:
            os.close(pidfd)
            return reports, why
        if life in events or (not events and deadline is not None and time.monotonic() >= deadline):
            why = "cancelled" if life in events else f"timeout {timeout:g}s"
            os.kill(child, SIGKILL)
            deadline = None
            if life in events:
                poll.unregister(life)


def outcome(status: int, reports: bytes, why: str) -> tuple[Stubs, Ended]:
    """Return the stubs, and (phase, code, signal, why) of an ended child."""
    stubs: Stubs = []
    failure = None
    while reports:
        size = int.from_bytes(reports[:4], "little")
        kind, *rest = marshal.loads(reports[4 : 4 + size])
        reports = reports[4 + size :]
        if kind == "stubs":
            (stubs,) = rest
        else:
            failure = rest
    if failure is not None:
        phase, code, text = failure
        return stubs, (phase, code, 0, text)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return stubs, ("exit", 128 + number, number, why)
    return stubs, ("exit", os.WEXITSTATUS(status), 0, "")


def main(carry_out: Callable[[Plan, int, int], None]) -> None:
    """Read the plan and carry it out; every failure is told to the worker."""
    spec, channel, life, program = (int(number) for number in sys.argv[1:5])
    for fd in (channel, life):
        os.set_inheritable(fd, False)
    plan = receive(spec) | {"channel": channel}
    os.close(spec)
    os.close(program)
    try:
        carry_out(plan, channel, life)
    except OSError as error:
        what = os.fsdecode(error.filename or "sandbox")
        try:
            send(channel, ("result", "setup", 71, 0, f"{what}: {error.strerror}"))
        except OSError:
            pass  # the worker is gone, and with it whoever wants to know; what we print would look like the command's
    os._exit(0)  # nothing to tidy up, and steps are many
