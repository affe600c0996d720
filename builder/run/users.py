"""Who a USER or ``--chown`` text means inside an image (semantics 10 and 31). Pure: takes passwd and group as bytes.

The rules are those of Docker: a number needs no entry, a name does; a number without a group takes the group of its
passwd entry for USER, its own number for ``--chown``. Reading the two files safely is the caller's business.
"""

from __future__ import annotations

from collections.abc import Iterator

from builder.errors import ContextError, SandboxError
from builder.values import dataclass

MAX_DATABASE = 10 << 20
"""Bytes of /etc/passwd or /etc/group we are willing to read."""

_MAX_ID = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class Identity:
    """What a process runs as. ``groups`` are the supplementary ones, without duplicates, ``gid`` first."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    home: str = "/"


@dataclass(frozen=True, slots=True)
class _User:
    name: str
    uid: int
    gid: int
    home: str


@dataclass(frozen=True, slots=True)
class _Group:
    name: str
    gid: int
    members: tuple[str, ...]


def resolve_user(text: str, passwd: bytes | None, group: bytes | None) -> Identity:
    """Return what ``USER text`` (``user[:group]``, names or numbers, empty for root) means.

    ``passwd`` and ``group`` are the contents of the image's files, None for a missing one.
    Raises SandboxError for a name without an entry and for a number out of range.
    """
    user_text, _, group_text = text.partition(":")
    entry = _find_user(user_text or "0", passwd)
    if entry is None:
        number = _number(user_text or "0")
        if number is None:
            raise SandboxError(
                f"no such user {user_text!r} in /etc/passwd of the image",
                hint="create it in an earlier RUN, or use a number",
            )
        entry = _User("", _checked(number, text), 0, "/")
    home = entry.home or "/"
    if group_text:
        gid = _group_id(group_text, group)
        if gid is None:
            raise SandboxError(
                f"no such group {group_text!r} in /etc/group of the image",
                hint="create it in an earlier RUN, or use a number",
            )
        return Identity(entry.uid, gid, (gid,), home)
    supplementary = (found.gid for found in _groups(group) if entry.name and entry.name in found.members)
    return Identity(entry.uid, entry.gid, tuple(dict.fromkeys((entry.gid, *supplementary))), home)


def resolve_owner(text: str, passwd: bytes | None, group: bytes | None) -> tuple[int, int]:
    """Return uid and gid of ``--chown=text``. Raises ContextError for a name the image does not know.

    A user by number without a group gives that number as the group too, a user by name the user's primary group.
    """
    user_text, _, group_text = text.partition(":")
    number = _number(user_text)
    if number is not None:
        uid = gid = _checked_owner(number, text)
    else:
        entry = next((found for found in _users(passwd) if found.name == user_text), None) if user_text else None
        if entry is None and (user_text or not group_text):
            raise ContextError(
                f"--chown={text}: no such user {user_text!r} in /etc/passwd of the image", hint="use a numeric uid"
            )
        uid, gid = (entry.uid, entry.gid) if entry is not None else (0, 0)
    if group_text:
        group_number = _number(group_text)
        if group_number is None:
            found = next((each.gid for each in _groups(group) if each.name == group_text), None)
            if found is None:
                raise ContextError(
                    f"--chown={text}: no such group {group_text!r} in /etc/group of the image", hint="use a numeric gid"
                )
            group_number = found
        gid = _checked_owner(group_number, text)
    return uid, gid


def _find_user(text: str, passwd: bytes | None) -> _User | None:
    """Return the first entry with this name or this number, whichever comes first in the file."""
    number = _number(text)
    for entry in _users(passwd):
        if entry.name == text or (number is not None and entry.uid == number):
            return entry
    return None


def _group_id(text: str, group: bytes | None) -> int | None:
    number = _number(text)
    for entry in _groups(group):
        if entry.name == text or (number is not None and entry.gid == number):
            return entry.gid
    return None if number is None else _checked(number, text)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def _checked(number: int, text: str) -> int:
    if number > _MAX_ID:
        raise SandboxError(f"USER {text}: {number} is not a user or group number", hint=f"the largest is {_MAX_ID}")
    return number


def _checked_owner(number: int, text: str) -> int:
    if number > _MAX_ID:
        raise ContextError(f"--chown={text}: {number} is not a user or group number", hint=f"the largest is {_MAX_ID}")
    return number


def _lines(data: bytes | None) -> Iterator[list[str]]:
    """Yield the fields of each usable line; comments and blank lines are not."""
    for line in (data or b"")[:MAX_DATABASE].decode("utf-8", "surrogateescape").split("\n"):
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            yield stripped.split(":")


def _users(passwd: bytes | None) -> Iterator[_User]:
    for fields in _lines(passwd):
        if len(fields) < 4:
            continue
        uid, gid = _number(fields[2]), _number(fields[3])
        if uid is not None and gid is not None and max(uid, gid) <= _MAX_ID:
            yield _User(fields[0], uid, gid, fields[5] if len(fields) > 5 else "/")


def _groups(group: bytes | None) -> Iterator[_Group]:
    for fields in _lines(group):
        gid = _number(fields[2]) if len(fields) > 2 else None
        if gid is not None and gid <= _MAX_ID:
            members = fields[3].split(",") if len(fields) > 3 else []
            yield _Group(fields[0], gid, tuple(name.strip() for name in members if name.strip()))
