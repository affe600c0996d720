"""Typed instructions back to text, in one canonical form that parses to the same instructions.

Words are printed as they were written. Comments, casing and line breaks are not kept: every instruction is one line,
and the bodies of its heredocs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import assert_never

from builder.dockerfile.instructions import (
    Add,
    Arg,
    Cmd,
    Copy,
    Dockerfile,
    Entrypoint,
    Env,
    ExecForm,
    Expose,
    From,
    HealthCheck,
    Heredoc,
    Instruction,
    Label,
    Maintainer,
    Onbuild,
    Run,
    Script,
    Shell,
    ShellForm,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from builder.dockerfile.text import SPACE
from builder.dockerfile.word import Word


def format_dockerfile(dockerfile: Dockerfile) -> str:
    """Return the canonical text of a Dockerfile; bytes that are no text stay surrogates."""
    lines = [f"# {item.name}={item.value}" for item in dockerfile.directives]
    lines += [format_instruction(item, dockerfile.escape) for item in dockerfile.global_args]
    for stage in dockerfile.stages:
        lines += [format_instruction(item, dockerfile.escape) for item in (stage.from_, *stage.instructions)]
    return "\n".join(lines) + "\n"


def format_instruction(item: Instruction, escape: str = "\\") -> str:
    """Return the canonical text of one instruction, without a line ending; more lines if it has heredocs."""
    if isinstance(item, From):
        name = f" AS {item.name}" if item.name else ""
        return _line("FROM", _flags(escape, platform=item.platform), item.image.text + name, escape)
    if isinstance(item, Run | Cmd | Entrypoint | HealthCheck | Shell | Onbuild):
        return _format_command(item, escape)
    return _format_other(item, escape)


def _line(keyword: str, flags: Iterable[str], args: str, escape: str) -> str:
    """Join the pieces so that arguments are not taken for flags, nor their end for a continuation."""
    guard = ["--"] if args.startswith("--") else []
    line = " ".join([keyword, *flags, *guard, args]).rstrip(" ")
    return line + "\v" if line.endswith(escape) else line


def _format_command(item: Run | Cmd | Entrypoint | HealthCheck | Shell | Onbuild, escape: str) -> str:
    match item:
        case Run():
            return _run(item, escape)
        case Cmd() | Entrypoint():
            return _line(type(item).__name__.upper(), (), _command(item.command), escape)
        case HealthCheck():
            return _healthcheck(item, escape)
        case Shell():
            return f"SHELL {_json(item.args)}"
        case Onbuild():
            opening, newline, bodies = item.trigger.partition("\n")
            return _line("ONBUILD", (), opening, escape) + newline + bodies
        case _:
            assert_never(item)


def _format_other(
    item: Label | Env | Arg | Maintainer | Expose | Copy | Add | Volume | User | Workdir | StopSignal, escape: str
) -> str:
    match item:
        case Label() | Env():
            keyword = type(item).__name__.upper()
            if item.written.legacy:
                [(key, value)] = item.pairs
                return _line(keyword, (), f"{key.text} {value.text}", escape)
            return _line(keyword, (), " ".join(f"{key.text}={value.text}" for key, value in item.pairs), escape)
        case Arg():
            names = (one.name if one.default is None else f"{one.name}={one.default.text}" for one in item.declarations)
            return _line("ARG", (), " ".join(names), escape)
        case Maintainer(author=text) | User(user=Word(text=text)) | Workdir(path=Word(text=text)):
            return _line(type(item).__name__.upper(), (), text, escape)
        case StopSignal():
            return _line("STOPSIGNAL", (), item.signal.text, escape)
        case Expose():
            return _line("EXPOSE", (), " ".join(word.text for word in item.ports), escape)
        case Volume():
            return f"VOLUME {_json([word.text for word in item.paths])}"
        case Copy() | Add():
            return _files(item, escape)
        case _:
            assert_never(item)


def _json(texts: Sequence[str]) -> str:
    return json.dumps(texts, ensure_ascii=False)


def _command(command: ExecForm | ShellForm) -> str:
    return _json(command.args) if isinstance(command, ExecForm) else command.text


def _run(item: Run, escape: str) -> str:
    if item.heredocs or isinstance(item.command, Script):
        return _with_bodies(item.raw, item.heredocs)
    flags = [_flag("mount", flag.raw, escape) for flag in item.mounts]
    flags += _flags(escape, network=item.network, security=item.security)
    return _line("RUN", flags, _command(item.command), escape)


def _healthcheck(item: HealthCheck, escape: str) -> str:
    if item.command is None:
        return "HEALTHCHECK NONE"
    durations = {
        "interval": item.interval,
        "timeout": item.timeout,
        "start_period": item.start_period,
        "start_interval": item.start_interval,
    }
    texts = {name: f"{value}ns" if value else "0s" for name, value in durations.items() if value is not None}
    retries = None if item.retries is None else str(item.retries)
    return _line("HEALTHCHECK", _flags(escape, **texts, retries=retries), f"CMD {_command(item.command)}", escape)


def _files(item: Copy | Add, escape: str) -> str:
    if item.heredocs:
        return _with_bodies(item.raw, item.heredocs)
    flags: list[str] = []
    if isinstance(item, Copy):
        flags += _flags(escape, **{"from": item.from_stage}, parents="true" if item.parents else None)
    else:
        flags += _flags(
            escape, checksum=item.checksum, unpack=_bool(item.unpack), keep_git_dir=_bool(item.keep_git_dir)
        )
    flags += _flags(escape, chown=item.chown, chmod=item.chmod, link="true" if item.link else None)
    flags += [_flag("exclude", pattern, escape) for pattern in item.exclude]
    paths = _json([word.text for word in (*item.sources, item.dest)])
    return _line(type(item).__name__.upper(), flags, paths, escape)


def _bool(value: bool | None) -> str | None:
    return None if value is None else str(value).lower()


def _with_bodies(opening: str, heredocs: Iterable[Heredoc]) -> str:
    """Append the bodies to the opening line as it was written; stripping the body of ``<<-`` again changes nothing."""
    return opening + "".join(f"\n{doc.body.text}{doc.name}" for doc in heredocs)


def _flags(escape: str, **values: str | Word | None) -> list[str]:
    texts = {name: value.text if isinstance(value, Word) else value for name, value in values.items()}
    return [_flag(name.replace("_", "-"), text, escape) for name, text in texts.items() if text is not None]


def _flag(name: str, value: str, escape: str) -> str:
    """Quote what the reading of flags would take away: quotes, blanks and escapes."""
    if not any(ch in value for ch in ("'", '"', escape, *SPACE)):
        return f"--{name}={value}"
    quoted = "".join(escape + ch if ch in ('"', escape) else ch for ch in value)
    return f'--{name}="{quoted}"'
