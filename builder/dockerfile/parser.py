"""A Dockerfile's text to typed instructions (dockerfile.md 1.1 to 1.10): the way in.

Lines are joined first (``lines``), then split into keyword, flags and arguments (``statement``), then given a type by
the function of the instruction. Which stage refers to which is ``stages``; nothing is expanded here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from builder.dockerfile import commands, files, metadata
from builder.dockerfile.directives import read_directives
from builder.dockerfile.heredoc import Opener, find_openers
from builder.dockerfile.instructions import (
    Arg,
    Directive,
    Dockerfile,
    From,
    Instruction,
    Stage,
    StageInstruction,
)
from builder.dockerfile.lines import LineReader, LogicalLine
from builder.dockerfile.source import DockerfileError, Source, Span
from builder.dockerfile.statement import Statement, read_json_list, split_statement
from builder.dockerfile.suggest import did_you_mean
from builder.dockerfile.text import SPACE
from builder.values import dataclass, replace

_PARSERS: Final[Mapping[str, Callable[[Statement], Instruction]]] = {
    "ADD": files.parse_add,
    "ARG": metadata.parse_arg,
    "CMD": commands.parse_cmd,
    "COPY": files.parse_copy,
    "ENTRYPOINT": commands.parse_entrypoint,
    "ENV": metadata.parse_env,
    "EXPOSE": metadata.parse_expose,
    "FROM": metadata.parse_from,
    "HEALTHCHECK": commands.parse_healthcheck,
    "LABEL": metadata.parse_label,
    "MAINTAINER": metadata.parse_maintainer,
    "ONBUILD": metadata.parse_onbuild,
    "RUN": commands.parse_run,
    "SHELL": commands.parse_shell,
    "STOPSIGNAL": metadata.parse_stopsignal,
    "USER": metadata.parse_user,
    "VOLUME": metadata.parse_volume,
    "WORKDIR": metadata.parse_workdir,
}
_HEREDOC_COMMANDS: Final = ("RUN", "COPY", "ADD")


@dataclass(frozen=True, slots=True)
class Parsed:
    """What could be parsed, and the error that ended it."""

    dockerfile: Dockerfile
    error: DockerfileError | None


def decode(data: bytes, name: str = "Dockerfile") -> Source:
    """Return the text of a Dockerfile: UTF-8, a byte order mark dropped, other bytes kept as surrogates."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DockerfileError(
            f"{name} is UTF-16, not UTF-8", source=Source(name, ""), span=Span(1, 1), hint="save the file as UTF-8"
        )
    return Source(name, data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape"))


def parse(data: bytes, name: str = "Dockerfile") -> Dockerfile:
    """Parse a Dockerfile; raise DockerfileError at the first mistake, or if there is nothing to build."""
    parsed = parse_partial(data, name)
    if parsed.error is not None:
        raise parsed.error
    return parsed.dockerfile


def parse_partial(data: bytes, name: str = "Dockerfile") -> Parsed:
    """Like ``parse``, but keep what came before the mistake, so that checks can still report on it."""
    empty = Dockerfile(source=Source(name, ""))
    try:
        source = decode(data, name)
        empty = Dockerfile(source=source)
        directives = read_directives(source)
    except DockerfileError as failure:
        return Parsed(empty, failure)
    collector = _Collector(source, directives)
    try:
        collector.read_all()
    except DockerfileError as failure:
        return Parsed(collector.dockerfile(), failure)
    return Parsed(collector.dockerfile(), None)


def parse_trigger(text: str, *, escape: str = "\\") -> StageInstruction:
    """Parse the stored text of an ONBUILD trigger; ONBUILD, FROM and MAINTAINER are refused."""
    source = Source("ONBUILD", text)
    reader = LineReader(source, escape)
    line = reader.next_line()
    if line is None:
        raise DockerfileError("ONBUILD trigger is empty", source=source, span=Span(1, 1))
    instruction = _read_instruction(reader, line)
    if isinstance(instruction, From) or instruction.written.keyword.upper() in ("ONBUILD", "MAINTAINER"):
        raise line.error(f"{instruction.written.keyword.upper()} isn't allowed as an ONBUILD trigger")
    extra = reader.next_line()
    if extra is not None:
        raise extra.error("an ONBUILD trigger is a single instruction")
    return instruction


class _Collector:
    """Sorts instructions into global arguments and stages."""

    def __init__(self, source: Source, directives: tuple[Directive, ...]) -> None:
        self.head = Dockerfile(source=source, directives=directives)
        self.arguments: list[Arg] = []
        self.stages: list[tuple[From, list[StageInstruction]]] = []

    def read_all(self) -> None:
        """Read to the end of the file."""
        source = self.head.source
        # Directives are comments to the reader, but describe no instruction.
        reader = LineReader(source, self.head.escape, position=len(self.head.directives))
        while (line := reader.next_line()) is not None:
            self.add(line, _read_instruction(reader, line))
        last = Span(max(len(source.lines), 1), max(len(source.lines), 1))
        if not self.stages and not self.arguments:
            raise DockerfileError("file with no instructions", source=source, span=last)
        if not self.stages:
            raise DockerfileError("dockerfile contains no stages to build", source=source, span=last)

    def add(self, line: LogicalLine, instruction: Instruction) -> None:
        """Put one instruction where it belongs."""
        if isinstance(instruction, From):
            self.stages.append((instruction, []))
        elif self.stages:
            self.stages[-1][1].append(instruction)
        elif isinstance(instruction, Arg):
            self.arguments.append(instruction)
        else:
            hint = "begin with FROM; only ARG may come before it"
            raise line.error("no build stage in current context", hint=hint)

    def dockerfile(self) -> Dockerfile:
        """Return what has been read so far."""
        stages = tuple(
            Stage(index=index, from_=head, instructions=tuple(body)) for index, (head, body) in enumerate(self.stages)
        )
        return replace(self.head, global_args=tuple(self.arguments), stages=stages)


def _read_instruction(reader: LineReader, line: LogicalLine) -> Instruction:
    statement = split_statement(line, 0, reader.escape)
    parser = _known(statement)
    openers = _openers(statement)
    if openers:
        bodies = tuple(
            (opener, reader.read_heredoc(opener.name, opener.chomp, line, opener.start, opener.end))
            for opener in openers
        )
        statement = replace(statement, heredocs=bodies, end_line=reader.position)
    return parser(statement)


def _known(statement: Statement) -> Callable[[Statement], Instruction]:
    parser = _PARSERS.get(statement.command)
    if parser is None:
        message = f"unknown instruction: {statement.keyword}{did_you_mean(statement.command, _PARSERS)}"
        end = statement.offset + len(statement.keyword)
        raise statement.error(message, statement.offset, end, hint=_odd_blank(statement.keyword))
    return parser


def _odd_blank(keyword: str) -> str | None:
    """Explain a keyword that an editor shows as two words."""
    odd = next((ch for ch in keyword if ch in SPACE), None)
    return None if odd is None else f"U+{ord(odd):04X} in {keyword!r} is no blank here: type a plain space"


def _openers(statement: Statement) -> list[Opener]:
    """Return the heredocs of a RUN, COPY or ADD, also under ONBUILD, unless its arguments are JSON."""
    inner = statement
    if inner.command == "ONBUILD" and inner.args:
        inner = split_statement(statement.line, statement.args_offset, statement.escape)
        _known(inner)
    if inner.command not in _HEREDOC_COMMANDS or "<<" not in inner.args:
        return []
    if read_json_list(inner, inner.args) is not None:
        return []
    return find_openers(statement.line.text)
