"""COPY and ADD (dockerfile.md 1.8, 1.9): text to instruction."""

from __future__ import annotations

from builder.dockerfile.heredoc import strip_tabs
from builder.dockerfile.instructions import Add, Copy, Heredoc
from builder.dockerfile.statement import FlagKind, Statement, read_json_list
from builder.dockerfile.text import SPACE, split_blanks
from builder.dockerfile.word import Word, plain
from builder.dockerfile.wordparser import parse_body
from builder.values import dataclass


@dataclass(frozen=True, slots=True)
class _Paths:
    sources: tuple[Word, ...]
    heredocs: tuple[Heredoc, ...]
    dest: Word


def parse_copy(statement: Statement) -> Copy:
    """Parse COPY."""
    statement.accept_flags(
        **{"from": FlagKind.TEXT},
        chown=FlagKind.TEXT,
        chmod=FlagKind.TEXT,
        link=FlagKind.BOOLEAN,
        parents=FlagKind.BOOLEAN,
        exclude=FlagKind.LIST,
    )
    origin = statement.text_flag("from")
    if origin is not None and "$" in origin[:-1]:
        flag = statement.used["from"][0]
        message = (
            "variable expansion is not supported for --from, "
            "define a new stage with FROM using ARG from global scope as a workaround"
        )
        raise statement.error(message, flag.start, flag.end)
    paths = _read_paths(statement)
    return Copy(
        sources=paths.sources,
        dest=paths.dest,
        heredocs=paths.heredocs,
        from_stage=origin,
        chown=statement.word_flag("chown"),
        chmod=statement.word_flag("chmod"),
        link=statement.boolean_flag("link") or False,
        parents=statement.boolean_flag("parents") or False,
        exclude=_excludes(statement),
        span=statement.span,
        raw=statement.raw,
        written=statement.written,
    )


def parse_add(statement: Statement) -> Add:
    """Parse ADD."""
    statement.accept_flags(
        chown=FlagKind.TEXT,
        chmod=FlagKind.TEXT,
        checksum=FlagKind.TEXT,
        link=FlagKind.BOOLEAN,
        unpack=FlagKind.BOOLEAN,
        keep_git_dir=FlagKind.BOOLEAN,
        exclude=FlagKind.LIST,
    )
    paths = _read_paths(statement)
    return Add(
        sources=paths.sources,
        dest=paths.dest,
        heredocs=paths.heredocs,
        chown=statement.word_flag("chown"),
        chmod=statement.word_flag("chmod"),
        checksum=statement.word_flag("checksum"),
        link=statement.boolean_flag("link") or False,
        unpack=statement.boolean_flag("unpack"),
        keep_git_dir=statement.boolean_flag("keep-git-dir"),
        exclude=_excludes(statement),
        span=statement.span,
        raw=statement.raw,
        written=statement.written,
    )


def _excludes(statement: Statement) -> tuple[str, ...]:
    return tuple(flag.value or "" for flag in statement.used.get("exclude", ()))


def _read_paths(statement: Statement) -> _Paths:
    listed = read_json_list(statement, statement.args)
    if listed is not None:
        if len(listed) < 2:
            raise _too_few(statement, len(listed))
        words = [statement.word(item) for item in listed]
        return _Paths(tuple(words[:-1]), (), words[-1])
    return _read_words(statement)


def _read_words(statement: Statement) -> _Paths:
    """Split at blanks; quotes do not group. Heredoc openers are whole words whatever is inside them."""
    sources: list[Word] = []
    heredocs: list[Heredoc] = []
    position = statement.args_offset
    stop = position + len(statement.args)
    text = statement.line.text
    last_is_heredoc = False
    for opener, body in statement.heredocs:
        if opener.end <= position:
            continue  # inside a flag
        sources += [statement.word(piece) for _, piece in split_blanks(text[position : opener.start])]
        content = strip_tabs(body) if opener.chomp else body
        word = parse_body(content) if opener.expand else plain(content)
        heredocs.append(Heredoc(opener.name, word, opener.expand, opener.chomp, opener.fd))
        position = opener.end
        last_is_heredoc = not text[position:stop].strip(SPACE)
    rest = [statement.word(piece) for _, piece in split_blanks(text[position:stop])]
    if len(sources) + len(heredocs) + len(rest) < 2:
        raise _too_few(statement, len(sources) + len(heredocs) + len(rest))
    if last_is_heredoc:
        raise statement.args_error(f"{statement.command} cannot accept a heredoc as a destination")
    return _Paths((*sources, *rest[:-1]), tuple(heredocs), rest[-1])


def _too_few(statement: Statement, count: int) -> Exception:
    message = f"{statement.command} requires at least two arguments"
    if count == 1:
        message += ", but only one was provided; the destination could not be determined"
    return statement.args_error(message)
