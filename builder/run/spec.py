"""What a RUN is asked to do and how it ended: plain values the engine makes and reads (dockerfile.md 1.7).

Nothing here touches the system. Target paths are absolute paths inside the image, source paths are the host's.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from builder.errors import BuilderError
from builder.rootfs.coding import USUAL, Coding
from builder.values import dataclass

if TYPE_CHECKING:
    from builder.image.digest import ChainID, DiffID
    from builder.rootfs.pack import Packed

Phase = Literal["setup", "exec", "exit", "lost"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSource:
    """One layer of a stack, unpacked only if it is needed.

    ``path`` returns the file of its compressed bytes and may fetch it; ``stands_alone`` is what its TOC says.
    """

    diff_id: DiffID
    chain_id: ChainID
    path: Callable[[], Path]
    stands_alone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BindMount:
    """A host directory or file (``source``), or an image's tree (``stack``, bottom first), below ``target``.

    ``subpath`` is resolved inside the source and cannot leave it. Writes to one that is not ``readonly`` are
    discarded after the step.
    """

    target: str
    source: Path | None = None
    stack: tuple[LayerSource, ...] = ()
    subpath: str = ""
    readonly: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheMount:
    """The host directory ``source``, kept between builds; an empty one is new and gets ``mode``, ``uid`` and ``gid``.

    A new one starts with what the layer ``seed`` holds, if there is one; then these three are for its top only.
    Owners are those of one ownership view: ``Sandbox.view`` belongs into what names the directory. Who may use it at
    the same time is decided, and locked, by ``cache.cachemounts``.
    """

    target: str
    source: Path
    seed: LayerSource | None = None
    subpath: str = ""
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    readonly: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TmpfsMount:
    """An empty file system in memory of at most ``size`` bytes (None: the kernel's default)."""

    target: str
    size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretMount:
    """A read-only file with ``data``, which never reaches a disk. Not shown by ``repr``."""

    target: str
    data: bytes
    mode: int = 0o400
    uid: int = 0
    gid: int = 0

    def __repr__(self) -> str:
        """Leave the data out: this may end in a traceback."""
        return f"SecretMount({self.target!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class SshMount:
    """The agent socket ``source`` at ``target``; it is this step's own, and gets the mode and owner."""

    target: str
    source: Path
    mode: int = 0o600
    uid: int = 0
    gid: int = 0


SHM_SIZE = 64 << 20
"""Bytes /dev/shm takes unless told otherwise."""

UNLIMITED = (1 << 64) - 1
"""A limit of a :class:`Ulimit` that is none."""

ULIMITS = (
    *("cpu", "fsize", "data", "stack", "core", "rss", "nproc", "nofile", "memlock", "as", "locks", "sigpending"),
    *("msgqueue", "nice", "rtprio", "rttime"),
)
"""What setrlimit(2) limits, in the order of the kernel's numbers."""


@dataclass(frozen=True, slots=True)
class Ulimit:
    """A limit of each process of a step; ``name`` is one of ULIMITS."""

    name: str
    soft: int
    hard: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Provision:
    """What the host gives every step, and no cache key knows.

    ``memory`` is in bytes, ``cpus`` in CPUs; both need a cgroup. ``dns`` and ``search`` replace the name servers and
    the search list of the host's resolv.conf where they are not empty.
    """

    memory: int | None = None
    cpus: float | None = None
    dns: tuple[str, ...] = ()
    search: tuple[str, ...] = ()


MountSpec = BindMount | CacheMount | TmpfsMount | SecretMount | SshMount


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """One command in one image.

    ``env`` is exactly what the process gets, plus HOME from the image's passwd if it is absent; ``user`` is the text
    of USER, empty for root; ``scripts`` are shown read-only and executable as ``/dev/pipes/NAME``. ``timeout`` is in
    seconds. ``epoch`` is the latest mtime any entry of the layer may have. ``hosts`` are (name, address) pairs.
    """

    args: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    cwd: str = "/"
    user: str = ""
    mounts: tuple[MountSpec, ...] = ()
    network: Literal["host", "none"] = "host"
    insecure: bool = False
    hostname: str = "buildkitsandbox"
    hosts: tuple[tuple[str, str], ...] = ()
    ulimits: tuple[Ulimit, ...] = ()
    shm_size: int = SHM_SIZE
    provision: Provision = Provision()
    timeout: float | None = None
    epoch: int | None = None
    scripts: tuple[tuple[str, bytes], ...] = ()

    def __repr__(self) -> str:
        """Show the command only: the environment may hold secrets."""
        return f"RunSpec({self.args!r})"


@dataclass(frozen=True, slots=True)
class PackTarget:
    """The files the layer's compressed bytes and its TOC are written to; both are created or replaced."""

    blob: Path
    toc: Path
    coding: Coding = USUAL


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """How a command ended: ``exit`` with its own code, ``exec`` when it could not be started (126, 127).

    ``setup`` and ``lost`` are the sandbox's failures and never carry a command's code. A signal gives 128 + number;
    ``why`` says in words what the code does not: "timeout 300s", "cancelled", the reason of an ``exec`` failure.
    """

    code: int
    phase: Phase = "exit"
    why: str = ""
    signal: int = 0

    @property
    def ok(self) -> bool:
        """Whether the command succeeded."""
        return self.phase == "exit" and self.code == 0

    def failure(self, command: str) -> CommandFailedError:
        """Return the error for ``command`` having ended like this."""
        if self.phase == "exec":
            shell = self.why == _NO_SHELL
            return CommandFailedError(self.why, status=self.code, hint=_WITHOUT_SHELL if shell else None)
        reason = f" ({self.why})" if self.why else ""
        how = f"killed by signal {self.signal}" if self.signal else f"exit status {self.code}"
        return CommandFailedError(f"{command}: {how}{reason}", status=self.code)


@dataclass(frozen=True, slots=True)
class RunResult:
    """How the command ended and the layer it left; None for no changes and for a command that failed."""

    status: ExitStatus
    packed: Packed | None = None


_NO_SHELL = 'exec "/bin/sh" in image: no such file or directory'
_WITHOUT_SHELL = 'the image has no shell: take a base with one, or name a program of the image: RUN ["PROGRAM", "WORD"]'


class CommandFailedError(BuilderError):
    """A RUN ended with a status other than 0, which becomes ours: ``exit_code`` of the instance is ``status``."""

    def __init__(self, message: str, *, status: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        # The class attribute is every other error's constant; here it is the command's own.
        vars(self)["exit_code"] = status
