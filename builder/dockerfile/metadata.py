"""Instructions that only change metadata or begin a stage: text to instruction (dockerfile.md 1.6)."""

from __future__ import annotations

from typing import Final

from builder.dockerfile.instructions import (
    Arg,
    ArgDeclaration,
    Env,
    Expose,
    From,
    Label,
    Maintainer,
    Onbuild,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from builder.dockerfile.source import DockerfileError
from builder.dockerfile.statement import FlagKind, Statement, read_json_list, split_statement
from builder.dockerfile.suggest import distance
from builder.dockerfile.text import BLANKS, SPACE, split_blanks, split_words
from builder.dockerfile.word import Word
from builder.patterns import pattern
from builder.values import replace

_STAGE_NAME: Final = pattern(r"[a-z][a-z0-9\-_.]*\Z")


def parse_from(statement: Statement) -> From:
    """Parse FROM."""
    pieces = split_blanks(statement.args)
    name, second = None, ""
    if len(pieces) == 3 and pieces[1][1].upper() == "AS":
        second = pieces[1][1]
        offset, given = pieces[2]
        name = given.lower()
        if not _STAGE_NAME.match(name):
            start = statement.args_offset + offset
            message = f'invalid name for build stage: "{given}", name can\'t start with a number or contain symbols'
            raise statement.error(message, start, start + len(given))
    elif len(pieces) != 1:
        raise _from_arguments(statement, [text for _, text in pieces])
    statement.accept_flags(platform=FlagKind.TEXT)
    return From(
        image=statement.word(pieces[0][1]),
        platform=statement.word_flag("platform"),
        name=name,
        span=statement.span,
        raw=statement.raw,
        written=replace(statement.written, second_keyword=second),
    )


def _from_arguments(statement: Statement, words: list[str]) -> DockerfileError:
    meant = len(words) == 3 and distance(words[1].upper(), "AS") == 1
    message = f"FROM requires either one or three arguments{' (did you mean AS?)' if meant else ''}"
    comment = any(word.startswith("#") for word in words)
    hint = "a comment needs a line of its own" if comment else "write FROM image, or FROM image AS name"
    return statement.args_error(message, hint=hint)


def parse_env(statement: Statement) -> Env:
    """Parse ENV in both its forms."""
    pairs, legacy = _read_pairs(statement)
    return Env(
        pairs=pairs,
        span=statement.span,
        raw=statement.raw,
        written=replace(statement.written, legacy=legacy),
    )


def parse_label(statement: Statement) -> Label:
    """Parse LABEL in both its forms."""
    pairs, legacy = _read_pairs(statement)
    return Label(
        pairs=pairs,
        span=statement.span,
        raw=statement.raw,
        written=replace(statement.written, legacy=legacy),
    )


def _read_pairs(statement: Statement) -> tuple[tuple[tuple[Word, Word], ...], bool]:
    """Read ``k=v ...``, or ``k rest of the line`` if the first word has no ``=``."""
    statement.accept_flags()
    words = split_words(statement.args, statement.escape)
    if not words:
        raise statement.error(f"{statement.command} requires at least one argument")
    if "=" not in words[0][1]:
        parts = BLANKS.split(statement.args, maxsplit=1)
        if len(parts) < 2:
            raise statement.args_error(f"{statement.command} must have two arguments")
        return ((statement.word(parts[0]), statement.word(parts[1])),), True
    pairs: list[tuple[Word, Word]] = []
    for offset, text in words:
        key, equals, value = text.partition("=")
        start = statement.args_offset + offset
        if not equals:
            message = f'Syntax error - can\'t find = in "{text}". Must be of the form: name=value'
            raise statement.error(message, start, start + len(text))
        if not key:
            raise statement.error(f"{statement.command} names can not be blank", start, start + len(text))
        pairs.append((statement.word(key), statement.word(value)))
    return tuple(pairs), False


def parse_arg(statement: Statement) -> Arg:
    """Parse ARG; several names are allowed."""
    statement.accept_flags()
    words = split_words(statement.args, statement.escape)
    if not words:
        raise statement.error("ARG requires at least one argument")
    declarations: list[ArgDeclaration] = []
    for offset, text in words:
        name, equals, default = text.partition("=")
        if not name:
            start = statement.args_offset + offset
            raise statement.error("ARG names can not be blank", start, start + len(text))
        declarations.append(ArgDeclaration(name, statement.word(default) if equals else None))
    return Arg(declarations=tuple(declarations), span=statement.span, raw=statement.raw, written=statement.written)


def _single(statement: Statement) -> str:
    statement.accept_flags()
    if not statement.args:
        raise statement.error(f"{statement.command} requires exactly one argument")
    return statement.args


def parse_maintainer(statement: Statement) -> Maintainer:
    """Parse MAINTAINER."""
    author = _single(statement)
    return Maintainer(author=author, span=statement.span, raw=statement.raw, written=statement.written)


def parse_user(statement: Statement) -> User:
    """Parse USER: the rest of the line is one value."""
    user = statement.word(_single(statement))
    return User(user=user, span=statement.span, raw=statement.raw, written=statement.written)


def parse_workdir(statement: Statement) -> Workdir:
    """Parse WORKDIR: the rest of the line is one value."""
    path = statement.word(_single(statement))
    return Workdir(path=path, span=statement.span, raw=statement.raw, written=statement.written)


def parse_stopsignal(statement: Statement) -> StopSignal:
    """Parse STOPSIGNAL; the name is checked after expansion."""
    signal = statement.word(_single(statement))
    return StopSignal(signal=signal, span=statement.span, raw=statement.raw, written=statement.written)


def parse_expose(statement: Statement) -> Expose:
    """Parse EXPOSE; the ports are checked after expansion."""
    statement.accept_flags()
    words = tuple(statement.word(piece) for _, piece in split_blanks(statement.args))
    if not words:
        raise statement.error("EXPOSE requires at least one argument")
    return Expose(ports=words, span=statement.span, raw=statement.raw, written=statement.written)


def parse_volume(statement: Statement) -> Volume:
    """Parse VOLUME: a JSON list or words."""
    statement.accept_flags()
    listed = read_json_list(statement, statement.args)
    texts = tuple(piece for _, piece in split_blanks(statement.args)) if listed is None else listed
    if not texts:
        raise statement.args_error("VOLUME requires at least one argument")
    if not all(text.strip(SPACE) for text in texts):
        raise statement.args_error("VOLUME specified can not be an empty string")
    paths = tuple(statement.word(text) for text in texts)
    return Volume(paths=paths, span=statement.span, raw=statement.raw, written=statement.written)


def parse_onbuild(statement: Statement) -> Onbuild:
    """Keep the trigger as text; only its instruction's name is checked now."""
    statement.accept_flags()
    if not statement.args:
        raise statement.error("ONBUILD requires at least one argument")
    trigger = split_statement(statement.line, statement.args_offset, statement.escape)
    if trigger.command == "ONBUILD":
        raise statement.args_error("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if trigger.command in ("MAINTAINER", "FROM"):
        raise statement.args_error(f"{trigger.command} isn't allowed as an ONBUILD trigger")
    bodies = "".join(f"\n{body}{opener.name}" for opener, body in statement.heredocs)
    return Onbuild(trigger=statement.args + bodies, span=statement.span, raw=statement.raw, written=statement.written)
