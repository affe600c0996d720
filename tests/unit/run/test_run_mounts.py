"""What is mounted, in which order, and the texts of the files we show."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import SandboxError
from builder.run import wire
from builder.run.mounts import clean, hosts_text, lay_out, resolver_text, without_loopback
from builder.run.spec import BindMount, CacheMount, Provision, RunSpec, SecretMount, TmpfsMount


def targets(spec: RunSpec, **options: bool) -> list[str]:
    operations = lay_out(spec, resolver=b"", one_uid=options.get("one_uid", False))
    return [operation["target"].decode() for operation in operations]


def test_order() -> None:
    spec = RunSpec(
        args=("x",),
        mounts=(
            TmpfsMount(target="/a/b/c"),
            SecretMount(target="a/b/../x", data=b""),
            CacheMount(target="/a", source=Path("/c")),
            BindMount(target="/a-b", source=Path("/c")),
        ),
        scripts=(("s", b""),),
    )
    assert targets(spec) == [
        "/proc", "/dev", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/sys/fs/cgroup", "/proc",
        "/etc/resolv.conf", "/etc/hosts", "/dev/pipes/s", "/a", "/a/b/c", "/a/x", "/a-b",
    ]  # fmt: skip


@given(st.lists(st.lists(st.sampled_from(["a", "b", "-", "a b"]), min_size=1, max_size=4), max_size=8))
def test_parents_come_before_what_is_in_them(paths: list[list[str]]) -> None:
    spec = RunSpec(args=("x",), mounts=tuple(TmpfsMount(target="/" + "/".join(path)) for path in paths))
    found = targets(spec)[-len(paths) :] if paths else []
    for number, path in enumerate(found):
        assert not any(path.startswith(later + "/") for later in found[number + 1 :])


@pytest.mark.parametrize("name", ["", ".", "..", "a/b"])
def test_script_names_are_names(name: str) -> None:
    with pytest.raises(SandboxError):
        targets(RunSpec(args=("x",), scripts=((name, b""),)))


def test_the_root_is_no_target() -> None:
    assert clean("a//b/./../c/") == "/a/c"
    with pytest.raises(SandboxError):
        clean("/..")


def test_terminals_need_gid_5() -> None:
    for one_uid in (False, True):
        (pts,) = (
            op for op in lay_out(RunSpec(args=("x",)), resolver=b"", one_uid=one_uid) if op["target"] == b"/dev/pts"
        )
        assert (b"gid=5" in pts["data"]) is not one_uid


def test_insecure_hides_nothing() -> None:
    operations = lay_out(RunSpec(args=("x",), insecure=True), resolver=b"", one_uid=False)
    assert all(operation["op"] != "cover" for operation in operations)
    assert all(not operation["flags"] & 1 for operation in operations if operation["target"].startswith(b"/sys"))


def test_hosts() -> None:
    assert hosts_text("h", (("db", "10.0.0.1"), ("v6", "fe80::1"))) == (
        b"127.0.0.1\tlocalhost h\n::1\tlocalhost ip6-localhost ip6-loopback\n10.0.0.1\tdb\nfe80::1\tv6\n"
    )


def test_a_private_network_has_no_loopback_resolver() -> None:
    text = b"search x\nnameserver 127.0.0.53\nnameserver\t10.0.0.1\nnameserver ::1\noptions ndots:1"
    assert without_loopback(text) == b"search x\nnameserver\t10.0.0.1\noptions ndots:1"


@pytest.mark.parametrize(
    ("provision", "expected"),
    [
        (Provision(), b"domain d\nsearch x\n nameserver 10.0.0.1\noptions ndots:1"),
        (
            Provision(dns=("1.1.1.1", "::2")),
            b"domain d\nsearch x\noptions ndots:1\nnameserver 1.1.1.1\nnameserver ::2\n",
        ),
        (Provision(search=("a", "b")), b" nameserver 10.0.0.1\noptions ndots:1\nsearch a b\n"),
        (Provision(dns=("1.1.1.1",), search=("a",)), b"options ndots:1\nsearch a\nnameserver 1.1.1.1\n"),
    ],
)
def test_name_servers_that_were_asked_for(provision: Provision, expected: bytes) -> None:
    assert resolver_text(b"domain d\nsearch x\n nameserver 10.0.0.1\noptions ndots:1", provision) == expected


def test_name_servers_that_were_asked_for_may_be_on_loopback() -> None:
    spec = RunSpec(args=("x",), network="none", provision=Provision(dns=("127.0.0.1",)))
    (file,) = (op for op in lay_out(spec, resolver=b"", one_uid=False) if op["target"] == b"/etc/resolv.conf")
    assert file["data"] == b"nameserver 127.0.0.1\n"


def test_shared_memory_has_a_size() -> None:
    for size in (64 << 20, 1 << 30):
        spec = RunSpec(args=("x",), shm_size=size)
        (shm,) = (op for op in lay_out(spec, resolver=b"", one_uid=False) if op["target"] == b"/dev/shm")
        assert shm["data"] == b"mode=1777,size=%d" % size


@given(st.binary(max_size=100), st.integers(0, 3))
def test_messages_arrive_whole(data: bytes, blocks: int) -> None:
    ours, theirs = wire.pair()
    with ours, theirs:
        value = ("run", 1, {"data": data + bytes(40_000) * blocks, "name": "\udcff"})
        wire.send(ours, value)
        assert wire.receive(theirs) == (value, [])
        ours.close()
        assert wire.receive(theirs) is None
