"""Running commands in images: what the engine sees of this package.

Nothing is probed or started before the first step, so that a build without RUN needs no rights. The tree, the
namespaces and every unpacked file are the worker's business; this side only sends plain values and reads pipes.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from builder.errors import SandboxError
from builder.events import Reporter, SilentReporter, Warned, warner
from builder.run import cgroups, mounts, probe, seccomp
from builder.run.probe import Attempt
from builder.run.spec import ULIMITS, BindMount, ExitStatus, LayerSource, PackTarget, RunResult, RunSpec

if TYPE_CHECKING:
    from builder.run.process import Answer, Worker

OnOutput = Callable[[Literal["stdout", "stderr"], bytes], None]

_NAMESPACES = 0x02000000 | 0x04000000 | 0x08000000 | 0x20000000  # cgroup, uts, ipc, pid
_NEWNET = 0x40000000
_NODEV = 4
_ALL_CAPABILITIES = (1 << 64) - 1
_TICK = 0.05  # seconds between looks at the cancel event
_PIPE = 65536


class Sandbox:
    """Runs steps, several at a time, from any thread."""

    def __init__(
        self,
        root: Path,
        *,
        scratch: Callable[[], Path],
        stale: Callable[[], Sequence[Path]] = tuple,
        isolation: str = "auto",
        snapshotter: str = "auto",
        reporter: Reporter | None = None,
        resolver: Path = Path("/etc/resolv.conf"),
        ignore_user: bool = False,
        touch: Callable[[Path], bool] = os.path.lexists,
    ) -> None:
        """``root`` is the store; ``scratch`` makes a directory in it that survives us, ``stale`` names those that have.

        They are ``Store.scratch(run=True)`` and ``Store.stale_scratch``; ``touch`` is ``Store.touch``. ``ignore_user``:
        where there is only one uid, commands of other users run as root instead of being refused.
        """
        self._root = Path(os.path.abspath(root))
        self._make_scratch = scratch
        self._stale = stale
        self._isolation = isolation
        self._snapshotter = snapshotter
        self._reporter = reporter or SilentReporter()
        self._resolver = resolver
        self._ignore_user = ignore_user
        self._touch = touch
        self._mutex = threading.Lock()
        self._started: tuple[Attempt, Worker] | None = None
        self._groups = cgroups.Groups(warner(self._reporter, "cgroup"))

    @property
    def mode(self) -> str:
        """``root``, ``userns`` or ``single``. Starts the worker; raises SandboxError when no way works here."""
        return self._start()[0].mode

    @property
    def view(self) -> str:
        """The name of the ownership view files of steps are written in. Starts the worker."""
        return self._start()[0].view

    @property
    def snapshotter(self) -> str:
        """``overlay``, ``fuse`` or ``copy``. Starts the worker."""
        return self._start()[1].snapshotter

    @property
    def worker(self) -> int:
        """The worker's process id. Starts it."""
        return self._start()[1].pid

    def run(
        self,
        spec: RunSpec,
        stack: Sequence[LayerSource],
        *,
        on_output: OnOutput,
        cancel: threading.Event,
        pack_to: PackTarget,
    ) -> RunResult:
        """Run ``spec`` on the layers ``stack`` (bottom first) and pack what it changed, if it succeeded.

        Layers that are not unpacked yet are asked for their files. ``on_output`` is called in this thread. Setting
        ``cancel`` ends the command within a tick; the result then says so. Raises SandboxError when the step could not
        be set up, and what unpacking and packing raise.
        """
        with self._groups.group(spec.provision) as group:
            value = self._step(spec, stack, group, on_output, cancel, pack_to)
            if value["status"][0] == "exec":
                from builder.run import foreign

                emulated = self._emulated(spec, value["status"])
                if emulated is not None:
                    value = self._step(emulated, stack, group, on_output, cancel, pack_to)
                value["status"] = foreign.in_words(value["status"])
            if group is not None and not value["status"][3] and cgroups.out_of_memory(group):
                value["status"] = (*value["status"][:3], "out of memory: --memory is too little for it")
        for warning in value["warnings"]:
            self._reporter.emit(Warned(warning, "unpack"))
        return _result(value)

    def _emulated(self, spec: RunSpec, status: tuple[str, int, int, str]) -> RunSpec | None:
        """Return the step with what runs its command, a program for another processor; None if it is not one."""
        from builder.run import foreign

        header = foreign.refused(status)
        found = None if header is None else foreign.wanted(header, spec.args[0])
        if found is None:
            return None
        machine, emulator = found
        attempt, worker = self._start()
        # In a user namespace of ours the kernel can be told, and then it knows for all that the command starts.
        told = attempt.mode in ("userns", "single") and worker.ask("emulate", foreign.rule(machine, emulator)).result()
        return spec if told else foreign.emulated(spec, emulator)

    def _step(
        self,
        spec: RunSpec,
        stack: Sequence[LayerSource],
        group: Path | None,
        on_output: OnOutput,
        cancel: threading.Event,
        pack_to: PackTarget,
    ) -> dict[str, Any]:
        attempt, worker = self._start()
        request = {
            "layers": self._layers(stack, attempt.view),
            "plan": self._plan(spec, attempt, b"" if group is None else os.fsencode(group / "cgroup.procs")),
            "user": spec.user,
            "ignore_user": self._ignore_user,
            "epoch": spec.epoch,
            "target": (os.fsencode(pack_to.blob), os.fsencode(pack_to.toc)),
            "coding": (str(pack_to.coding.compression), pack_to.coding.level, pack_to.coding.single),
        }
        readers, writers = zip(os.pipe(), os.pipe(), strict=True)
        try:
            answer = worker.ask("run", request, writers)
            for fd in writers:
                os.close(fd)
            return _follow(worker, answer, readers, on_output, cancel)
        finally:
            for fd in readers:
                os.close(fd)

    def sweep(self) -> None:
        """Delete what steps of processes that died have left in the store."""
        paths = [os.fsencode(path) for path in self._stale()]
        if paths:
            self._start()[1].ask("delete", paths).result()

    def delete(self, trees: Sequence[Path]) -> None:
        """Delete trees of the store with files of any user. Raises SandboxError, OutputError."""
        self._start()[1].ask("delete", [os.fsencode(path) for path in trees]).result()

    def measure(self, trees: Sequence[Path]) -> list[int]:
        """Return the bytes that trees of the store take on the disk. Raises SandboxError, OutputError."""
        found: list[int] = self._start()[1].ask("measure", [os.fsencode(path) for path in trees]).result()
        return found

    def close(self) -> None:
        """End the worker; afterwards no process, mount or file of a step is left. It can be started again."""
        with self._mutex:
            started, self._started = self._started, None
        if started is not None:
            started[1].close()

    def _start(self) -> tuple[Attempt, Worker]:
        from builder.run import process

        with self._mutex:
            if self._started is not None:
                return self._started
            facts = probe.gather()
            refusals = []
            for attempt in probe.attempts(self._isolation, facts):
                outcome = process.start(attempt, self._root, self._make_scratch(), self._snapshotter)
                if isinstance(outcome, probe.Refusal):
                    refusals.append(outcome)
                    continue
                if attempt.warning:
                    self._reporter.emit(Warned(attempt.warning, f"isolation-{attempt.mode}"))
                if outcome.warning:
                    self._reporter.emit(Warned(outcome.warning, "snapshotter"))
                self._started = (attempt, outcome)
                if stale := [os.fsencode(path) for path in self._stale()]:
                    swept = outcome.ask("delete", stale)
                    if attempt.mode == "chroot":
                        swept.result()  # secrets are on the disk there; elsewhere what the dead left is no hurry
                return self._started
        raise probe.refused(refusals, self._root, Path("/proc/self/mountinfo").read_text(errors="replace"))

    def _layers(self, stack: Sequence[LayerSource], view: str) -> list[tuple[str, bytes, str, bool]]:
        """Return the layers as the worker wants them, fetching those it does not have."""
        home = self._root / "layers" / view
        found = []
        for number, layer in enumerate(stack):
            alone = number == 0 or layer.stands_alone
            # The lowest layer may hide nothing, so it is unpacked without its whiteouts and under another name.
            name = f"{layer.diff_id.hex}.0" if number == 0 else (layer.diff_id if alone else layer.chain_id).hex
            there = self._touch(home / ".locks" / name) and (home / name).is_dir()
            blob = b"" if there else os.fsencode(layer.path())
            found.append((name, blob, str(layer.diff_id), alone))
        return found

    def _plan(self, spec: RunSpec, attempt: Attempt, cgroup: bytes) -> dict[str, Any]:
        """Return what ``run.init`` needs to know, without the places only the worker knows."""
        texts = (*spec.args, *(part for pair in spec.env for part in pair), spec.cwd, *(m.target for m in spec.mounts))
        if any("\0" in text for text in texts):
            raise SandboxError("the RUN has a NUL in its command, environment, directory or mounts")
        if attempt.mode == "chroot" and spec.network == "none":
            raise SandboxError(
                "isolation=chroot cannot take the network from a RUN",
                hint="run where namespaces are allowed, or drop --network=none",
            )
        if attempt.mode == "oci" and (spec.insecure or cgroup):
            lacks = "--security=insecure" if spec.insecure else "--memory and --cpus"
            raise SandboxError(f"isolation=oci has no {lacks}", hint="use --isolation=root for that")
        machine = os.uname().machine
        filtered = seccomp.denylist(machine)
        if filtered is None:
            raise SandboxError(f"RUN is not supported on {machine}: its system calls are not known here")
        try:
            resolver = self._resolver.read_bytes()
        except OSError:
            resolver = b""
        operations = mounts.lay_out(spec, resolver=resolver, one_uid=attempt.mode == "single")
        stacks = {mounts.clean(each.target): each.stack for each in spec.mounts if isinstance(each, BindMount)}
        for op in operations:
            if op["op"] == "overlay" and not op["source"]:
                op["layers"] = self._layers(stacks[os.fsdecode(op["target"])], attempt.view)
            elif op.get("seed"):
                op["seed"] = (os.fsencode(op["seed"].path()), str(op["seed"].diff_id))
        return {
            "isolation": attempt.mode,
            **({"runtime": probe.runtime(), "denied": list(seccomp.DENIED)} if attempt.mode == "oci" else {}),
            "namespaces": _NAMESPACES | (_NEWNET if spec.network == "none" else 0),
            "root_flags": 0 if spec.insecure else _NODEV,
            "mounts": operations,
            "args": [os.fsencode(arg) for arg in spec.args],
            "env": [(os.fsencode(name), os.fsencode(value)) for name, value in spec.env],
            "cwd": os.fsencode(spec.cwd),
            "hostname": spec.hostname.encode(),
            "capabilities": _ALL_CAPABILITIES if spec.insecure else mounts.CAPABILITIES,
            "seccomp": None if spec.insecure else filtered,
            "recorder": seccomp.recorder(machine) if attempt.mode == "single" else None,
            "insecure": spec.insecure,
            "limits": [(ULIMITS.index(one.name), one.name, one.soft, one.hard) for one in spec.ulimits],
            "cgroup": cgroup,
            "strict_ids": attempt.mode != "single",
            "timeout": spec.timeout,
        }


def _follow(
    worker: Worker, answer: Answer, readers: Sequence[int], on_output: OnOutput, cancel: threading.Event
) -> dict[str, Any]:
    """Pass on the output until the answer is there; whatever goes wrong here ends the step."""
    names: dict[int, Literal["stdout", "stderr"]] = {readers[0]: "stdout", readers[1]: "stderr"}
    told = False
    try:
        poll = select.poll()
        for fd in readers:
            poll.register(fd, select.POLLIN)
        while True:
            if cancel.is_set() and not told:
                told = True
                worker.cancel(answer)
            if not names:
                if answer.wait(_TICK):
                    break
                continue
            for fd, _ in poll.poll(_TICK * 1000):
                data = os.read(fd, _PIPE)
                if data:
                    on_output(names[fd], data)
                else:
                    poll.unregister(fd)
                    del names[fd]
        told = True
        result: dict[str, Any] = answer.result()
        return result
    finally:
        if not told:
            worker.cancel(answer)


def _result(value: dict[str, Any]) -> RunResult:
    phase, code, signal, why = value["status"]
    status = ExitStatus(code, phase, why, signal)
    if phase == "lost":
        raise SandboxError(f"the RUN was lost: {why}")
    fields = value["packed"]
    if fields is None:
        return RunResult(status)
    from builder.image.digest import DiffID, Digest
    from builder.rootfs.pack import Packed

    fields["diff_id"] = DiffID(Digest.parse(fields["diff_id"]))
    fields["digest"] = Digest.parse(fields["digest"])
    return RunResult(status, Packed(**fields))
