"""``RUN --mount`` (dockerfile.md 1.7): one CSV record of keys and values, and what it means once expanded.

Keys may come in any order; each is checked against the mount's type after the whole record is known.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping
from typing import Final, Literal, cast

from builder.dockerfile.expansion import evaluate
from builder.dockerfile.instructions import MountFlag
from builder.dockerfile.source import DockerfileError
from builder.dockerfile.suggest import did_you_mean
from builder.dockerfile.wordparser import parse_word
from builder.patterns import pattern
from builder.values import dataclass

MountKind = Literal["bind", "cache", "tmpfs", "secret", "ssh"]
Sharing = Literal["shared", "private", "locked"]

_KINDS: Final = ("bind", "cache", "tmpfs", "secret", "ssh")
_SHARING: Final = ("shared", "private", "locked")
_ALIASES: Final = {
    "dst": "target",
    "destination": "target",
    "src": "source",
    "ro": "readonly",
    "rw": "readwrite",
}
_KEYS: Final = (
    "type", "from", "source", "target", "readonly", "readwrite", "id", "sharing", "required", "mode", "uid", "gid",
    "size", "env", *_ALIASES,
)  # fmt: skip
_FLAGS: Final = ("readonly", "readwrite", "required")
_REFUSED: Final[Mapping[str, tuple[str, ...]]] = {
    "bind": ("sharing", "mode", "uid", "gid", "size", "required", "env"),
    "cache": ("size", "required", "env"),
    "tmpfs": ("sharing", "mode", "uid", "gid", "required", "env"),
    "secret": ("from", "sharing", "size"),
    "ssh": ("from", "source", "sharing", "size", "env"),
}
_DEFAULT_MODES: Final = {"cache": 0o755, "secret": 0o400, "ssh": 0o600}
_SIZE: Final = pattern(r"([0-9]{1,18}(?:\.[0-9]{1,18})?) ?([kmgtp]?)(?:i?b)?\Z", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A mount with every value final.

    ``target`` is as given, relative to the working directory, and empty for the working directory itself (bind, cache,
    tmpfs) or, for secret and ssh, for no file or the default place that the executor numbers. ``id`` is empty only for
    a cache without an id and a target, and for bind and tmpfs. ``size`` is bytes, None for no limit.
    """

    kind: MountKind
    target: str = ""
    source: str = ""
    read_only: bool = True
    id: str = ""
    sharing: Sharing = "shared"
    mode: int | None = None
    uid: int = 0
    gid: int = 0
    size: int | None = None
    required: bool = False
    env: str | None = None


def parse_mount(text: str, *, escape: str = "\\") -> MountFlag:
    """Parse the value of ``--mount``; raise DockerfileError without a place.

    Everything is checked here unless a value has a variable in it; then keys and ``from`` are.
    """
    fields: list[tuple[str, str | None]] = []
    for record in _split_csv(text):
        key, equals, value = record.partition("=")
        key = key.lower()
        if key not in _KEYS:
            raise DockerfileError(f"unexpected key '{key}' in '{record}'{did_you_mean(key, _KEYS)}")
        key = _ALIASES.get(key, key)
        if not equals and key not in _FLAGS:
            raise DockerfileError(f"invalid field '{record}' must be a key=value pair")
        if key == "from" and "$" in value[:-1]:
            message = "'from' doesn't support variable expansion, define alias stage instead"
            hint = "add `FROM ... AS name` with a global ARG and use from=name"
            raise DockerfileError(message, hint=hint)
        fields.append((key, value if equals else None))
    flag = MountFlag(
        tuple((key, None if value is None else parse_word(value, escape=escape)) for key, value in fields), text
    )
    if all(word is None or word.is_plain for _, word in flag.fields):
        resolve_mount(flag, {})
    return flag


def mount_from(flag: MountFlag) -> str | None:
    """Return the stage, context or image that the mount takes its files from; it is never expanded."""
    return next((word.text or None for key, word in reversed(flag.fields) if key == "from" and word), None)


def resolve_mount(flag: MountFlag, env: Mapping[str, str | None]) -> Mount:
    """Expand and check a mount; raise DockerfileError without a place."""
    values: dict[str, str | None] = {
        key: None if word is None else evaluate(word, env).value for key, word in flag.fields
    }
    kind = _choice("type", "unsupported mount type", values.get("type") or "bind", _KINDS)
    for key in values:
        if key in _REFUSED[kind]:
            raise DockerfileError(f"unexpected key '{key}' for mount type '{kind}'")
    sharing = _choice("sharing", "unsupported sharing value", values.get("sharing") or "shared", _SHARING)
    size = _number(values, "size", _parse_size)
    mode = _number(values, "mode", lambda text: _parse_digits(text, 8))
    required = _boolean(values, "required")
    target, source = values.get("target") or "", values.get("source") or ""
    if kind in ("bind", "cache", "tmpfs") and target.startswith("/") and _clean(target) == "/":
        raise DockerfileError('invalid mount target "/"')
    if kind == "secret" and source and values.get("id"):
        raise DockerfileError("both source and id can't be set")
    env_name = values.get("env") or None
    identity = _identity(kind, values.get("id") or "", source, target, env_name)
    if kind == "secret":
        source = ""
        target = target or ("" if env_name else f"/run/secrets/{posixpath.basename(identity)}")
    return Mount(
        kind=cast(MountKind, kind),
        target=target,
        source=source,
        read_only=_read_only(kind, flag, values),
        id=identity,
        sharing=cast(Sharing, sharing),
        mode=_DEFAULT_MODES.get(kind) if mode is None else mode,
        uid=_number(values, "uid", lambda text: _parse_digits(text, 10)) or 0,
        gid=_number(values, "gid", lambda text: _parse_digits(text, 10)) or 0,
        size=size,
        required=required,
        env=env_name,
    )


def _identity(kind: str, given: str, source: str, target: str, env: str | None) -> str:
    match kind:
        case "secret":
            identity = given or source or posixpath.basename(target) or env or ""
            if not identity:
                raise DockerfileError("invalid secret mount: one of id, source, target or env is required")
            return identity
        case "ssh":
            return given or "default"
        case "cache":
            return given or (_clean(target) if target else "")
        case _:
            return ""


def _read_only(kind: str, flag: MountFlag, values: Mapping[str, str | None]) -> bool:
    """The last of readonly and readwrite decides."""
    key = next((key for key, _ in reversed(flag.fields) if key in ("readonly", "readwrite")), None)
    if key is None:
        return kind not in ("cache", "tmpfs")
    return _boolean(values, key) == (key == "readonly")


def _choice(key: str, complaint: str, value: str, choices: tuple[str, ...]) -> str:
    lowered = value.lower()
    if lowered not in choices:
        hint = f"{key} is one of {', '.join(choices)}"
        raise DockerfileError(f'{complaint} "{value}"{did_you_mean(value, choices)}', hint=hint)
    return lowered


def _boolean(values: Mapping[str, str | None], key: str) -> bool:
    if key not in values:
        return False
    value = values[key]
    if value is None or value in ("1", "t", "T", "TRUE", "true", "True"):
        return True
    if value in ("0", "f", "F", "FALSE", "false", "False"):
        return False
    raise DockerfileError(f"invalid value for {key}: {value}")


def _number(values: Mapping[str, str | None], key: str, parse: Callable[[str], int | None]) -> int | None:
    value = values.get(key)
    if value is None:
        return None
    number = parse(value)
    if number is None:
        raise DockerfileError(f"invalid value for {key}: {value}")
    return number


def _parse_digits(text: str, base: int) -> int | None:
    digits = "01234567" if base == 8 else "0123456789"
    if not text or len(text) > 20 or any(ch not in digits for ch in text):
        return None
    number = int(text, base)
    return number if number < 1 << 32 else None


def _parse_size(text: str) -> int | None:
    """Read bytes with an optional binary suffix: ``128m`` is 128 MiB."""
    match = _SIZE.match(text)
    if match is None:
        return None
    return int(float(match[1]) * 1024 ** ("_kmgtp".index(match[2].lower()) if match[2] else 0))


def _clean(path: str) -> str:
    cleaned = posixpath.normpath(path)
    return cleaned[1:] if cleaned.startswith("//") else cleaned


def _split_csv(text: str) -> list[str]:
    """Split one record with RFC 4180 quotes; a quote inside an unquoted field is an error."""
    if not text:
        raise DockerfileError("failed to parse csv mounts: the value is empty")
    fields: list[str] = []
    position = 0
    while True:
        if text.startswith('"', position):
            field, position = _quoted_field(text, position + 1)
        else:
            end = text.find(",", position)
            field, position = (text[position:], len(text)) if end < 0 else (text[position:end], end)
            if '"' in field:
                raise DockerfileError(f"failed to parse csv mounts: bare quote in {field!r}")
        fields.append(field)
        if position >= len(text):
            return fields
        position += 1


def _quoted_field(text: str, position: int) -> tuple[str, int]:
    parts: list[str] = []
    while True:
        end = text.find('"', position)
        if end < 0:
            raise DockerfileError("failed to parse csv mounts: a quoted field does not end")
        parts.append(text[position:end])
        if text.startswith('""', end):
            parts.append('"')
            position = end + 2
            continue
        if end + 1 < len(text) and text[end + 1] != ",":
            raise DockerfileError("failed to parse csv mounts: text after a quoted field")
        return "".join(parts), end + 1
