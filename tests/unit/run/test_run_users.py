"""Who USER and --chown mean: a table over one passwd and one group file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import ContextError, SandboxError
from builder.run.users import Identity, resolve_owner, resolve_user

PASSWD = b"""root:x:0:0:root:/root:/bin/sh
# a comment
app:x:1000:1001:App:/home/app:/bin/sh
broken:x:abc:1:::
short:x:7
1005:x:44:45::/home/digits:/bin/sh
bare:x:50:51
"""
GROUP = b"""root:x:0:
wheel:x:10:root,app
app:x:1001:
audio:x:29: app ,other
twice:x:29:app
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Identity(0, 0, (0, 10), "/root")),
        ("root", Identity(0, 0, (0, 10), "/root")),
        ("app", Identity(1000, 1001, (1001, 10, 29), "/home/app")),
        ("1000", Identity(1000, 1001, (1001, 10, 29), "/home/app")),
        ("app:", Identity(1000, 1001, (1001, 10, 29), "/home/app")),
        ("app:wheel", Identity(1000, 10, (10,), "/home/app")),
        ("app:77", Identity(1000, 77, (77,), "/home/app")),
        ("4000", Identity(4000, 0, (0,), "/")),
        ("4000:4001", Identity(4000, 4001, (4001,), "/")),
        ("1005", Identity(44, 45, (45,), "/home/digits")),
        ("bare", Identity(50, 51, (51,), "/")),
    ],
)
def test_user(text: str, expected: Identity) -> None:
    assert resolve_user(text, PASSWD, GROUP) == expected


def test_numbers_need_no_files() -> None:
    assert resolve_user("7:8", None, None) == Identity(7, 8, (8,), "/")
    assert resolve_user("", None, None) == Identity(0, 0, (0,), "/")


@pytest.mark.parametrize("text", ["nobody", "broken", "short", "app:nogroup", "-1", "2147483648", "1:99999999999"])
def test_unknown_user_is_refused(text: str) -> None:
    with pytest.raises(SandboxError):
        resolve_user(text, PASSWD, GROUP)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("app", (1000, 1001)),
        ("app:", (1000, 1001)),
        ("app:wheel", (1000, 10)),
        ("1001", (1001, 1001)),
        ("1000", (1000, 1000)),
        ("0", (0, 0)),
        ("5:wheel", (5, 10)),
        ("5:6", (5, 6)),
        (":wheel", (0, 10)),
    ],
)
def test_owner(text: str, expected: tuple[int, int]) -> None:
    assert resolve_owner(text, PASSWD, GROUP) == expected


@pytest.mark.parametrize("text", ["nobody", "app:nogroup", "", ":", "broken", "4294967295"])
def test_unknown_owner_is_refused(text: str) -> None:
    with pytest.raises(ContextError):
        resolve_owner(text, PASSWD, GROUP)


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_hostile_databases_never_break_root(passwd: bytes, group: bytes) -> None:
    identity = resolve_user("", passwd, group)
    assert identity.gid in identity.groups
