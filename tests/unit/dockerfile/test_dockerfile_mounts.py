"""Rules of dockerfile.md 1.7: the record grammar and the key table of ``RUN --mount``."""

from __future__ import annotations

from typing import Any

import pytest

from builder.dockerfile.instructions import Run
from builder.dockerfile.mounts import Mount, mount_from, parse_mount, resolve_mount
from builder.dockerfile.parser import parse
from builder.dockerfile.source import DockerfileError, Span


def resolve(text: str, **env: str) -> Mount:
    return resolve_mount(parse_mount(text), env)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("target=/a", {"kind": "bind", "target": "/a"}),
        ("type=bind,source=s,target=t,from=x", {"kind": "bind", "source": "s", "target": "t"}),
        ("type=bind", {"kind": "bind"}),
        ("TYPE=BIND,DST=/a,Src=/b", {"kind": "bind", "target": "/a", "source": "/b"}),
        ("destination=/a,rw", {"kind": "bind", "target": "/a", "read_only": False}),
        ("target=/a,ro=false", {"kind": "bind", "target": "/a", "read_only": False}),
        ("target=/a,rw,readonly=1", {"kind": "bind", "target": "/a", "read_only": True}),
        (
            "type=cache,target=/a/../b/",
            {"kind": "cache", "target": "/a/../b/", "id": "/b", "mode": 0o755, "read_only": False},
        ),
        (
            "type=cache,id=x,target=/a,sharing=Locked,mode=0700,uid=1,gid=2,ro",
            {
                "kind": "cache",
                "id": "x",
                "target": "/a",
                "sharing": "locked",
                "mode": 0o700,
                "uid": 1,
                "gid": 2,
                "read_only": True,
            },
        ),
        ("type=tmpfs,target=/a,size=128m", {"kind": "tmpfs", "target": "/a", "size": 128 << 20, "read_only": False}),
        ("type=tmpfs,target=/a,size=1.5KiB", {"kind": "tmpfs", "target": "/a", "size": 1536, "read_only": False}),
        ("type=tmpfs,target=/a,size=9", {"kind": "tmpfs", "target": "/a", "size": 9, "read_only": False}),
        ("type=secret,id=a/b", {"kind": "secret", "id": "a/b", "target": "/run/secrets/b", "mode": 0o400}),
        ("type=secret,src=a", {"kind": "secret", "id": "a", "target": "/run/secrets/a", "mode": 0o400}),
        ("type=secret,target=/x/y", {"kind": "secret", "id": "y", "target": "/x/y", "mode": 0o400}),
        ("type=secret,id=a,env=E", {"kind": "secret", "id": "a", "env": "E", "mode": 0o400}),
        (
            "type=secret,id=a,env=E,target=/x",
            {"kind": "secret", "id": "a", "env": "E", "target": "/x", "mode": 0o400},
        ),
        (
            "required,id=a,type=secret",
            {"kind": "secret", "id": "a", "target": "/run/secrets/a", "mode": 0o400, "required": True},
        ),
        ("type=ssh", {"kind": "ssh", "id": "default", "mode": 0o600}),
        (
            "type=ssh,id=k,target=/s,required=true,mode=0666",
            {"kind": "ssh", "id": "k", "target": "/s", "required": True, "mode": 0o666},
        ),
        # RFC 4180
        ('"target=/a,b",rw', {"kind": "bind", "target": "/a,b", "read_only": False}),
        ('"target=/a""b"""', {"kind": "bind", "target": "/ab"}),  # then the word's own quotes go
        ("target=a=b", {"kind": "bind", "target": "a=b"}),
        ("from=$,target=/a", {"kind": "bind", "target": "/a"}),
    ],
)
def test_mounts(text: str, expected: dict[str, Any]) -> None:
    assert resolve(text) == Mount(**expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the value is empty"),
        ('a"b', "bare quote"),
        ('"a', "does not end"),
        ('"a"b', "text after a quoted field"),
        ("typ=bind", "unexpected key 'typ' in 'typ=bind' (did you mean type?)"),
        ("type=bind,", "unexpected key ''"),
        ("type=tmp", 'unsupported mount type "tmp" (did you mean tmpfs?)'),
        ("target", "invalid field 'target' must be a key=value pair"),
        ("from=$x", "'from' doesn't support variable expansion, define alias stage instead"),
        ("target=/", 'invalid mount target "/"'),
        ("type=cache,target=/a/..", 'invalid mount target "/"'),
        ("target=/a,ro=yes", "invalid value for readonly: yes"),
        ("target=/a,mode=0755", "unexpected key 'mode' for mount type 'bind'"),
        ("target=/a,required", "unexpected key 'required' for mount type 'bind'"),
        ("target=/a,sharing=locked", "unexpected key 'sharing' for mount type 'bind'"),
        ("type=cache,target=/a,sharing=lock", 'unsupported sharing value "lock"'),
        ("type=cache,target=/a,sharing=shred", "did you mean shared?"),
        ("type=cache,target=/a,size=1", "unexpected key 'size' for mount type 'cache'"),
        ("type=cache,target=/a,mode=9", "invalid value for mode: 9"),
        ("type=cache,target=/a,uid=-1", "invalid value for uid: -1"),
        ("type=cache,target=/a,gid=4294967296", "invalid value for gid"),
        ("type=tmpfs,target=/a,size=1x", "invalid value for size: 1x"),
        ("type=tmpfs,target=/a,uid=0", "unexpected key 'uid'"),
        ("type=secret", "one of id, source, target or env is required"),
        ("type=secret,id=a,src=b", "both source and id can't be set"),
        ("type=secret,id=a,from=x", "unexpected key 'from'"),
        ("type=ssh,source=x", "unexpected key 'source'"),
    ],
)
def test_bad_mounts(text: str, message: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        parse_mount(text)
    assert message in caught.value.message


def test_values_are_expanded_and_checked_when_resolved() -> None:
    flag = parse_mount("type=$T,target=${D:-/x}/y,id=$I,sharing=$S")
    assert resolve_mount(flag, {"T": "cache", "I": "k", "S": "private"}).sharing == "private"
    assert resolve_mount(flag, {"T": "cache", "I": "k"}).target == "/x/y"
    with pytest.raises(DockerfileError, match="unsupported mount type"):
        resolve_mount(flag, {"T": "x"})


def test_keys_are_checked_even_if_values_wait() -> None:
    with pytest.raises(DockerfileError, match="unexpected key 'nope'"):
        parse_mount("type=$T,nope=1")


def test_the_stage_of_a_mount() -> None:
    assert mount_from(parse_mount("from=a,target=$x,from=b")) == "b"
    assert mount_from(parse_mount("target=/a")) is None
    assert mount_from(parse_mount("from=,target=/a")) is None


def test_errors_point_at_the_flag() -> None:
    with pytest.raises(DockerfileError) as caught:
        parse(b"FROM a\nRUN --network=none \\\n --mount=type=tmp,target=/a x")
    assert caught.value.span == Span(3, 3, 2, 28)


def test_quotes_of_the_flag_come_off_before_the_record_is_read() -> None:
    run = parse(b"FROM a\nRUN --mount='type=bind,\"target=/a,b\"' x").stages[0].instructions[0]
    assert isinstance(run, Run)
    assert resolve_mount(run.mounts[0], {}).target == "/a,b"
