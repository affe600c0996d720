"""The instructions of a Dockerfile as a closed union of values (dockerfile.md 1.6).

Values that the language expands are ``Word``; everything else is final text. ``span`` is the place of the whole
instruction including heredoc bodies, ``raw`` its text on one line (continuations joined, without heredoc bodies) for
progress and history. Nothing here is evaluated, and defaults such as ``/bin/sh -c`` belong to ``plan``.
"""

from __future__ import annotations

from typing import TypeAlias

from builder.dockerfile.source import Source, Span
from builder.dockerfile.word import Word
from builder.values import dataclass, field


@dataclass(frozen=True, slots=True)
class Written:
    """How an instruction was written, for checks only: it never changes what the instruction means."""

    keyword: str = ""  # casing as typed
    comments: tuple[str, ...] = ()  # the comment lines directly above, without "#"
    blank_lines: tuple[int, ...] = ()  # line numbers of empty lines inside the continued instruction
    second_keyword: str = ""  # casing of AS in FROM
    legacy: bool = False  # ENV/LABEL without "="


@dataclass(frozen=True, slots=True)
class ExecForm:
    """A JSON list: the arguments as they are, no shell and no expansion."""

    args: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ShellForm:
    """One string for SHELL; heredoc bodies are already part of it."""

    text: str


@dataclass(frozen=True, slots=True)
class Script:
    """``RUN <<NAME`` whose body starts with ``#!``: a file to be executed directly."""

    name: str
    body: str


Command: TypeAlias = ExecForm | ShellForm
RunCommandForm: TypeAlias = ExecForm | ShellForm | Script


@dataclass(frozen=True, slots=True)
class Heredoc:
    """A here-document. ``body`` has its leading tabs removed where ``<<-`` asks for it.

    ``expand`` is false when any part of the delimiter was quoted; then ``body`` is plain. RUN never expands bodies.
    """

    name: str
    body: Word
    expand: bool
    chomp: bool = False
    fd: int = 0


@dataclass(frozen=True, slots=True)
class MountFlag:
    """One ``--mount`` record in written order; a key without ``=`` has no value. See ``mounts.resolve_mount``."""

    fields: tuple[tuple[str, Word | None], ...]
    raw: str


@dataclass(frozen=True, slots=True, kw_only=True)
class From:
    """``FROM [--platform=p] image [AS name]``; ``name`` is lower case."""

    image: Word
    platform: Word | None = None
    name: str | None = None
    span: Span
    raw: str
    written: Written = field(default_factory=Written)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """``RUN``; ``network`` is default, none or host and ``security`` sandbox or insecure, None when not given."""

    command: RunCommandForm
    mounts: tuple[MountFlag, ...] = ()
    network: str | None = None
    security: str | None = None
    heredocs: tuple[Heredoc, ...] = ()
    span: Span
    raw: str
    written: Written = field(default_factory=Written)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cmd:
    """``CMD``; an ``ExecForm`` without arguments means an empty list."""

    command: Command
    span: Span
    raw: str
    written: Written = field(default_factory=Written)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrypoint:
    """``ENTRYPOINT``; an ``ExecForm`` without arguments removes the entry point."""

    command: Command
    span: Span
    raw: str
    written: Written = field(default_factory=Written)


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """``LABEL``; keys and values are expanded with the environment before the instruction."""

    pairs: tuple[tuple[Word, Word], ...]
    span: Span
    raw: str
    written: Written = field(default_factory=Written)


@dataclass(frozen=True, slots=True, kw_only=True)
class Env:
    """``ENV``; keys and values are expanded with the environment before the instruction."""

    pairs: tuple[tuple[Word, Word], ...]
    span: Span
    raw: str
    written: Written = field(default_factory=Written)


@dataclass(frozen=True, slots=True)
class ArgDeclaration:
    """One name of an ``ARG``; ``default`` is None when there is no ``=``."""

    name: str
    default: Word | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Arg:
    """``ARG``; each default is expanded only when no build argument overrides it."""

    declarations: tuple[ArgDeclaration, ...]
    span: Span
    raw: str
    written: Written = field(default_factory=Written)


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintainer:
    """``MAINTAINER``, deprecated: the author, not expanded."""

    author: str
    span: Span
    raw: str
    written: Written = field(default_factory=Written)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expose:
    """``EXPOSE``; each word is split into words after expansion, then read by ``ports.parse_port``."""

    ports: tuple[Word, ...]
    span: Span
    raw: str
    written: Written = field(default_factory=Written)


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """``COPY``: ``sources`` and then ``heredocs`` go to ``dest``; one of the two is not empty.

    ``from_stage`` and ``exclude`` are never expanded.
    """

    sources: tuple[Word, ...]
    dest: Word
    heredocs: tuple[Heredoc, ...] = ()
    from_stage: str | None = None
    chown: Word | None = None
    chmod: Word | None = None
    link: bool = False
    parents: bool = False
    exclude: tuple[str, ...] = ()
    span: Span
    raw: str
    written: Written = field(default_factory=Written)


@dataclass(frozen=True, slots=True, kw_only=True)
class Add:
    """``ADD``; ``unpack`` and ``keep_git_dir`` are None when not given."""

    sources: tuple[Word, ...]
    dest: Word
    heredocs: tuple[Heredoc, ...] = ()
    chown: Word | None = None
    chmod: Word | None = None
    checksum: Word | None = None
    link: bool = False
    unpack: bool | None = None
    keep_git_dir: bool | None = None
    exclude: tuple[str, ...] = ()
    span: Span
    raw: str
    written: Written = field(default_factory=Written)


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """``VOLUME``; an empty value after expansion is an error."""

    paths: tuple[Word, ...]
    span: Span
    raw: str
    written: Written = field(default_factory=Written)


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """``USER user[:group]``."""

    user: Word
    span: Span
    raw: str
    written: Written = field(default_factory=Written)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workdir:
    """``WORKDIR``; relative paths join the previous one."""

    path: Word
    span: Span
    raw: str
    written: Written = field(default_factory=Written)


@dataclass(frozen=True, slots=True, kw_only=True)
class Onbuild:
    """``ONBUILD``; ``trigger`` is stored raw, with heredoc bodies appended. See ``parser.parse_trigger``."""

    trigger: str
    span: Span
    raw: str
    written: Written = field(default_factory=Written)


@dataclass(frozen=True, slots=True, kw_only=True)
class StopSignal:
    """``STOPSIGNAL``; checked by ``signals.signal_number`` after expansion."""

    signal: Word
    span: Span
    raw: str
    written: Written = field(default_factory=Written)


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """``HEALTHCHECK``; ``command`` is None for NONE. Durations are nanoseconds, None when not given."""

    command: Command | None
    interval: int | None = None
    timeout: int | None = None
    start_period: int | None = None
    start_interval: int | None = None
    retries: int | None = None
    span: Span
    raw: str
    written: Written = field(default_factory=Written)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell:
    """``SHELL``: always JSON, at least one element."""

    args: tuple[str, ...]
    span: Span
    raw: str
    written: Written = field(default_factory=Written)


StageInstruction: TypeAlias = (
    Run
    | Cmd
    | Entrypoint
    | Label
    | Env
    | Arg
    | Maintainer
    | Expose
    | Copy
    | Add
    | Volume
    | User
    | Workdir
    | Onbuild
    | StopSignal
    | HealthCheck
    | Shell
)
Instruction: TypeAlias = From | StageInstruction


@dataclass(frozen=True, slots=True)
class Directive:
    """A parser directive at the top of the file: ``syntax``, ``escape`` or ``check``."""

    name: str
    value: str
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One FROM and what follows it; ``index`` counts stages from 0 and ``name`` is lower case."""

    index: int
    from_: From
    instructions: tuple[StageInstruction, ...]

    @property
    def name(self) -> str | None:
        """The name given with AS, in lower case."""
        return self.from_.name

    @property
    def display(self) -> str:
        """The name, or ``stage-N`` for a stage without one."""
        return self.from_.name or f"stage-{self.index}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dockerfile:
    """A whole Dockerfile; ``global_args`` are the ARGs before the first FROM. ``stages`` may be empty only in a
    partial result of ``parser.parse_partial``."""

    source: Source
    directives: tuple[Directive, ...] = ()
    global_args: tuple[Arg, ...] = ()
    stages: tuple[Stage, ...] = ()

    def directive(self, name: str) -> str | None:
        """Return the value of a parser directive, or None."""
        return next((item.value for item in self.directives if item.name == name), None)

    @property
    def escape(self) -> str:
        """The escape character, a backslash unless the directive says backtick."""
        return self.directive("escape") or "\\"
