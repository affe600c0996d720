"""Components of keys: whatever changes a key changes a component with a name for it, and no secret is among them."""

from __future__ import annotations

import random
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.cache.keys import Identity
from builder.cache.record import Place, Record, grouped
from builder.engine import comparing
from builder.engine.comparing import Change, changes, named, told
from builder.engine.comparing import shown as listed
from builder.engine.keys import directory_identity, flat_identity, run_identity
from builder.engine.times import TimePolicy
from builder.image.digest import ChainID, Digest
from builder.image.platform import Platform
from builder.plan.graph import MakeDirectory, Mount, NothingOrigin, RunCommand, StageOrigin

ONE, TWO = (ChainID(Digest.of(data)) for data in (b"1", b"2"))
KEEP = TimePolicy("keep", None, 0)
PLACE = Place("", "s", "RunCommand", 1)
CACHE = Mount(kind="cache", target="/c", id="c", origin=NothingOrigin())
BIND = Mount(kind="bind", target="/b", origin=StageOrigin(0))
RUN = RunCommand(
    args=("/bin/sh", "-c", "make all"),
    env=(("PATH", "/bin"), ("VERSION", "1")),
    cwd="/",
    user="",
    platform=Platform.parse("linux/amd64"),
    mounts=(CACHE, BIND),
)
CHANGED: dict[str, list[tuple[object, str]]] = {
    "args": [
        (("/bin/sh", "-c", "make most"), "command: was 'make all', is 'make most'"),
        (("/bin/sh", "-ec", "make all"), "command: was 'make all', is \"'/bin/sh' '-ec' 'make all'\"; shell removed"),
        (("/bin/bash", "-c", "make all"), "shell: was \"'/bin/sh' '-c'\", is \"'/bin/bash' '-c'\""),
        (("make", "all"), "command: was 'make all', is \"'make' 'all'\"; shell removed"),
    ],
    "env": [
        ((("PATH", "/bin"), ("VERSION", "2")), "variable VERSION: was '1', is '2'"),
        ((("PATH", "/bin"),), "variable VERSION removed"),
        ((*RUN.env, ("NEW", "")), "variable NEW added"),
        ((("PATH", "/bin"), ("NAME", "1")), "variable NAME added; variable VERSION removed"),
        (RUN.env[::-1], "order of the variables: was 'PATH VERSION', is 'VERSION PATH'"),
    ],
    "cwd": [("/w", "working directory: was '/', is '/w'")],
    "user": [("app", "user: was '', is 'app'")],
    "platform": [(Platform.parse("linux/arm64"), "platform: was 'linux/amd64', is 'linux/arm64'")],
    "mounts": [
        ((BIND,), "--mount=cache /c removed"),
        (
            (BIND, CACHE),
            "order of the mounts: was '--mount=cache /c --mount=bind /b', is '--mount=bind /b --mount=cache /c'",
        ),
        (
            (replace(CACHE, sharing="locked"), BIND),
            "--mount=cache /c: sharing was shared, is locked",
        ),
    ],
    "network": [("none", "--network: was 'default', is 'none'")],
    "security": [("insecure", "--security: was 'sandbox', is 'insecure'")],
    "hostname": [("h", "host name: was '', is 'h'")],
    "hosts": [((("h", "10.0.0.1"),), "--add-host: was '', is 'h'")],
    "ulimits": [((("nofile", 1, 2),), "--ulimit: was '', is 'nofile=1:2'")],
    "shm_size": [(1, "--shm-size: was '0', is '1'")],
    "script": [(("x", b"#!/bin/sh\n"), "here-document x added; command removed; shell removed")],
}


def identity(
    operation: RunCommand = RUN, parent: ChainID = ONE, shown: ChainID = ONE, times: TimePolicy = KEEP
) -> Identity:
    return run_identity(operation, parent, [shown], times)


def difference(before: Identity, after: Identity, was: str = "", now: str = "") -> str:
    """Return what is told of two steps, whose bases are called ``was`` and ``now``."""
    assert before.key != after.key
    return told(changes(Record(PLACE, was, listed(before)), listed(after), now))


@pytest.mark.parametrize(("name", "value", "said"), [(name, *one) for name, all_ in CHANGED.items() for one in all_])
def test_every_field_of_a_run_has_a_name(name: str, value: Any, said: str) -> None:
    operation = replace(RUN, **{name: value})
    shown = [ONE] if operation.mounts else []
    assert difference(identity(), run_identity(operation, ONE, shown, KEEP)) == said


def test_no_field_of_a_run_is_forgotten() -> None:
    assert {one.name for one in fields(RunCommand)} - set(CHANGED) == {"proxies"}


@pytest.mark.parametrize("name", sorted({one.name for one in fields(Mount)} - {"kind", "target", "origin"}))
def test_every_field_of_a_mount_is_told(name: str) -> None:
    value = {"readonly": False, "required": True, "sharing": "locked", "id": "n", "source": "/n", "env": "N"}.get(
        name, 7
    )
    changed = replace(RUN, mounts=(replace(CACHE, **{name: value}), BIND))
    said = difference(identity(), identity(changed))
    assert said.startswith(f"--mount=cache /c: {name} was ")


def test_what_lies_below_or_behind_a_mount() -> None:
    assert difference(identity(), identity(parent=TWO)) == "what it is made on changed"
    assert difference(identity(), identity(shown=TWO)).startswith("files of --mount=bind /b: was ")
    epoch = identity(times=TimePolicy("clamp", 5, 0))
    assert difference(identity(), epoch) == "times: was 'keep', is 'clamp 5'"
    (change,) = changes(Record(PLACE, "", listed(identity())), listed(identity(parent=TWO)), "")
    assert named(change, "[1/2] RUN x") == "its parent changed: [1/2] RUN x"


def test_a_base_is_named_where_it_matters() -> None:
    was, now = "app:1 linux/amd64 sha256:1", "app:1 linux/amd64 sha256:2"
    assert difference(identity(), identity(parent=TWO), was, now) == f"base image: was {was}, is {now}"
    changed = identity(replace(RUN, env=(("PATH", "/bin"), ("VERSION", "2"))))
    assert difference(identity(), changed, was, now).endswith(f"; base image: was {was}, is {now}")
    assert difference(identity(), identity(replace(RUN, network="none")), was, now).endswith(", is 'none'")
    assert difference(identity(), changed, was, was) == "variable VERSION: was '1', is '2'"


def test_a_single_uid_is_another_step() -> None:
    assert difference(identity(), flat_identity(identity())) == "users added"
    ignored = flat_identity(identity(), ignored=True)
    assert difference(flat_identity(identity()), ignored) == "users: was 'one uid', is 'one uid, USER ignored'"


def test_values_of_secrets_and_long_texts_are_digests() -> None:
    text = "x" * 10_000
    operation = replace(RUN, env=(("NPM_TOKEN", "hunter2"), ("A", text)))
    components = grouped(identity(operation).components())
    assert "hunter2" not in repr(components)
    assert len(repr(components)) < 5000
    other = identity(replace(operation, env=(("NPM_TOKEN", "hunter3"), ("A", f"{text}y"))))
    assert difference(identity(operation), other) == "variable NPM_TOKEN changed; variable A changed"


@pytest.mark.parametrize(
    ("operation", "said"),
    [
        (MakeDirectory("/b", ""), "directory: was '/a', is '/b'"),
        (MakeDirectory("/a", "app"), "user: was '', is 'app'"),
    ],
)
def test_workdir(operation: MakeDirectory, said: str) -> None:
    before = directory_identity(MakeDirectory("/a", ""), ONE, KEEP)
    assert difference(before, directory_identity(operation, ONE, KEEP)) == said


def test_many_changes_are_counted() -> None:
    many = replace(RUN, env=tuple((f"V{number}", "") for number in range(10)))
    assert (
        difference(identity(), identity(many)) == "variable V0 added; variable V1 added; variable V2 added; and 9 more"
    )


_texts = st.dictionaries(
    st.sampled_from(["command", "user", *(f"file {name}" for name in "abcdefg")]), st.sampled_from("12"), max_size=9
)


@given(_texts, _texts, st.randoms())
def test_going_through_two_records_finds_what_two_mappings_would(
    was: dict[str, str], now: dict[str, str], chance: random.Random
) -> None:
    names = [*now, *(name for name in was if name not in now)]
    expected = [Change(name, was.get(name), now.get(name)) for name in names if was.get(name) != now.get(name)]
    assert list(changes(Record(PLACE, "", was.items()), now.items(), "")) == expected
    shuffled = list(was.items())
    chance.shuffle(shuffled)
    assert set(changes(Record(PLACE, "", shuffled), now.items(), "")) == set(expected)


def test_very_many_changes_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "_FILES_KEPT", 5)
    was, now = ({f"file {number}": text for number in range(100)} for text in ("1", "2"))
    found = changes(Record(PLACE, "", was.items()), {**now, "user": "x"}.items(), "")
    assert len(found) == 101
    assert [one.component for one in found[:5]] == [f"file {number}" for number in range(5)]
    assert any(one.component == "user" for one in found)
