"""The process of one RUN where neither namespaces nor mounts are allowed (run-sandbox.md 3, mode ``chroot``).

Started like ``run.init``, whose functions it uses, with the same plan; its tree is a plain directory, furnished by
``run.lending``. The command gets no /proc, no /sys and no isolation from whatever surrounds pybuild, but it cannot
leave the tree: it has no capability that would help it. All it starts has ended before the step does.

Standard library only, but for those two and ``run.attending``, which the worker loads beside it.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import time

from builder.run import attending, init
from builder.run.attending import SIGKILL, Failure, outcome, perform, send
from builder.run.lending import Tree

TYPE_CHECKING = False  # as in run.init
if TYPE_CHECKING:
    from typing import NoReturn

    from builder.run.attending import Plan

PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 4, 36, 38
FORBIDDEN = {2: "DAC_READ_SEARCH", 18: "SYS_CHROOT", 19: "SYS_PTRACE", 27: "MKNOD"}
"""Capabilities that would let the command out of the tree, or into other processes."""

_TICK = 1.0  # seconds between looks for orphans that have ended

# -- the command


def command(plan: Plan, root: int, cwd: int, report: int) -> NoReturn:
    """Be the step's first process: enter the tree for good, give up every right that leads out, become the command.

    Raises OSError, Failure.
    """
    init.prctl(init.PR_SET_PDEATHSIG, SIGKILL)
    os.setsid()
    if plan["cgroup"]:
        init.join_cgroup(plan["cgroup"])
    os.fchdir(root)
    os.chroot(b".")
    os.fchdir(cwd)
    os.umask(0o022)
    confine(plan)
    init.surrender(plan)
    if not plan["insecure"]:
        left = [name for number, name in FORBIDDEN.items() if init.prctl(init.PR_CAPBSET_READ, number) == 1]
        if left:
            text = f"cannot give up CAP_{' and CAP_'.join(left)}: this needs CAP_SETPCAP"
            raise Failure("setup", 71, text)
    send(report, ("stubs", []))
    init.execute(plan["args"], dict(plan["env"]))


def confine(plan: Plan) -> None:
    """Load the filter where that is possible, and take from the plan what would lead out of the tree.

    Without CAP_SYS_ADMIN a filter costs the setuid bit. Root needs none; for a user without rights, whom the filter
    would take little from, su and sudo matter more.
    """
    if not plan["insecure"]:
        plan["capabilities"] &= ~sum(1 << number for number in FORBIDDEN)
    filtered, plan["seccomp"] = plan["seccomp"], None
    if not filtered:
        return
    init.libc.syscall(init.NR["keyctl"], 1, None)  # the filter refuses it
    try:
        init.load_filter(filtered)
    except PermissionError:
        if plan["identity"][0] == 0:
            init.prctl(PR_SET_NO_NEW_PRIVS, 1)
            init.load_filter(filtered)


# -- the helper


def children() -> list[int]:
    """Return the processes whose parent is this one."""
    try:
        texts = []
        for task in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{task}/children") as file:
                texts.append(file.read())
        return [int(word) for text in texts for word in text.split()]
    except OSError:
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _parent(pid) == os.getpid()]


def _parent(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except OSError:
        return 0


def end_children(keep: frozenset[int] = frozenset()) -> None:
    """Kill all that descends from this process, which has to be a subreaper, but for the processes in ``keep``.

    A killed process leaves its children to us, so that after enough rounds there is nobody. Reaps them, too.
    """
    while (ending := [pid for pid in children() if pid not in keep]) or (not keep and _has_children()):
        for pid in ending:
            os.kill(pid, SIGKILL)
        for pid in ending:
            try:
                os.waitpid(pid, 0)
            except ChildProcessError:
                pass


def _has_children() -> bool:
    """Ask the kernel: its list may leave some out while others end."""
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return False
    return True


def reap(child: int) -> None:
    """Let go of orphans that have ended, but not of ``child``."""
    for pid in children():
        if pid != child:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass


class Watch:
    """The wait for the command's end."""

    def __init__(self, tree: Tree, child: int, report: int, life: int, timeout: float | None) -> None:
        self.tree = tree
        self.child = child
        self.report = report
        self.life = life
        self.timeout = timeout
        self.reports, self.why = b"", ""

    def wait(self) -> int:
        """Return the command's status, after everything it has started was killed too."""
        pidfd = os.pidfd_open(self.child)
        poll = select.poll()
        for fd in (pidfd, self.report, self.life, *(fd for fd, _ in self.tree.pipes)):
            poll.register(fd, select.POLLIN)
        end = None if self.timeout is None else time.monotonic() + self.timeout
        while True:
            left = _TICK if end is None else max(0.0, min(_TICK, end - time.monotonic()))
            events = [fd for fd, _ in poll.poll(left * 1000)]
            self.relay()
            if self.report in events and not self.hear():
                poll.unregister(self.report)
            if pidfd in events and self.report not in events:
                break
            if not events:
                reap(self.child)
            if self.life in events or (end is not None and time.monotonic() >= end):
                self.why = self.why or ("cancelled" if self.life in events else f"timeout {self.timeout:g}s")
                os.kill(self.child, SIGKILL)
                end = None
                if self.life in events:
                    poll.unregister(self.life)
        os.close(pidfd)
        _, status = os.waitpid(self.child, 0)
        end_children()
        self.relay()
        return status

    def hear(self) -> bool:
        """Take what the command's process says; whether it may say more."""
        chunk = os.read(self.report, 65536)
        self.reports += chunk
        return bool(chunk)

    def relay(self) -> None:
        """Pass on what was written to /dev/stdout and /dev/stderr."""
        for fd, stream in self.tree.pipes:
            try:
                while data := os.read(fd, 65536):
                    while data:
                        data = data[os.write(stream, data) :]
            except BlockingIOError:
                pass


def _told(error: OSError, where: str) -> str:
    """Return what the system said, with what it was about unless that is ``where``."""
    name = os.fsdecode(error.filename or "")
    return f"{error.strerror} ({name})" if name not in ("", where) else error.strerror or str(error)


def furnish(tree: Tree, plan: Plan) -> int:
    """Put everything in its place; return the command's working directory."""
    for op in plan["mounts"]:
        try:
            getattr(tree, op["op"])(op)
        except OSError as error:
            where = os.fsdecode(op["target"]) or "/"
            raise Failure("setup", 71, f"cannot provide {where}: {_told(error, where)}") from error
    try:
        cwd = init.walk(tree.root, plan["cwd"], "dir", None, plan["identity"][:2])
        if not stat.S_ISDIR(os.fstat(cwd).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    except OSError as error:
        raise Failure("setup", 71, f"working directory {os.fsdecode(plan['cwd'])}: {error.strerror}") from error
    return cwd


def run(tree: Tree, plan: Plan, life: int) -> tuple[str, int, int, str]:
    """Run the command in the furnished tree and clear it again; return how it ended."""
    result: tuple[str, int, int, str]
    try:
        cwd = furnish(tree, plan)
        report, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(report)
            perform(command, plan, tree.root, cwd, report=writer)
        os.close(writer)
        watch = Watch(tree, child, report, life, plan["timeout"])
        status = watch.wait()
        _, result = outcome(status, watch.reports, watch.why)
    except Failure as failure:
        phase, code, text = failure.report
        result = (phase, code, 0, text)
    finally:
        problem = tree.clear()
    return ("refused", 71, 0, problem) if problem else result


def helper(plan: Plan, channel: int, life: int) -> None:
    """Ask who the user is, run the command, leave the tree as the command left it."""
    init.prctl(PR_SET_CHILD_SUBREAPER, 1)
    init.prctl(PR_SET_DUMPABLE, 0)
    root = os.open(plan["tree"], init.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    if not init.identify(plan, channel, root):
        return
    os.umask(0)
    result = run(Tree(root, plan["scratch"]), plan, life)
    send(channel, ("result", *result))


def main() -> None:
    """Carry out one RUN."""
    attending.main(helper)
