"""``pybuild pull``, and the images that it leaves for builds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.support.called import Call
from tests.support.images import host_architecture
from tests.support.placing import to_registry
from tests.support.registry import TestRegistry

Remote = Callable[..., tuple[str, "object"]]


def stored(root: Path) -> set[str]:
    return {f"sha256:{path.name}" for path in root.glob("blobs/sha256/*/*")}


def test_an_image_of_this_machine_comes_whole_and_the_others_stay(call: Call, remote: Remote, store_root: Path) -> None:
    name, made = remote("a")

    done = call("pull", name)

    assert done.lines == [f"{name}@{made.index['digest']}"]
    assert f"{name} is new: {made.index['digest']}" in done.err
    here = stored(store_root)
    assert {made.index["digest"], made.native["digest"]} <= here
    assert made.other["digest"] not in here
    assert len(here) == 2 + 1 + 2  # index and manifest, config, layers


def test_what_is_here_already_costs_one_request(call: Call, remote: Remote, registry: TestRegistry) -> None:
    name, _ = remote("b")
    call("pull", name)
    mark = registry.mark()
    done = call("pull", name)
    assert "is up to date" in done.err
    assert [(one.method, one.status) for one in registry.requests(mark) if one.path != "/v2/"] == [("HEAD", 200)]


def test_a_name_that_moved_is_new_again(call: Call, remote: Remote) -> None:
    name, _ = remote("c")
    call("pull", "--quiet", name)
    _, moved = remote("d", name.partition("/")[2])
    done = call("pull", "--json", name)
    assert done.json[0]["new"]
    assert done.json[0]["digest"] == moved.index["digest"]
    assert done.json[0]["image"] == {"digest": moved.native["digest"], "platform": f"linux/{host_architecture()}"}
    assert done.json[0]["fetched"] > 0


def test_other_platforms_and_all(call: Call, remote: Remote, store_root: Path) -> None:
    name, made = remote("e")
    other = call("pull", "--platform=linux/riscv64", "--json", name).json[0]
    assert other["image"]["digest"] == made.other["digest"]
    assert made.native["digest"] not in stored(store_root)

    call("pull", "--all-platforms", name)
    assert set(made.held.blobs) == stored(store_root)

    said = call("pull", "--platform=linux/s390x", name, status=67).err
    assert "s390x" in said


def test_quiet_is_quiet(call: Call, remote: Remote) -> None:
    name, _ = remote("f")
    assert call("pull", "-q", name).err == ""


def test_a_digest_and_a_name_with_a_digest(call: Call, remote: Remote) -> None:
    name, made = remote("g")
    plain = name.rpartition(":")[0]
    for spelled in (f"{plain}@{made.index['digest']}", f"{name}@{made.index['digest']}"):
        done = call("pull", spelled)
        assert done.lines[0].endswith(f"@{made.index['digest']}")
    assert call("pull", f"{plain}@sha256:{'0' * 64}", status=69).out == ""


def test_a_single_image_for_another_platform_is_a_warning(call: Call, remote: Remote, registry: TestRegistry) -> None:
    _, made = remote("h")
    name = to_registry(registry, made.held, made.other, "command/only-other:1")
    assert "warning" not in call("pull", name).err
    assert "is for linux/riscv64, not for linux/s390x" in call("pull", "--platform=linux/s390x", name).err


def test_what_was_pulled_is_a_base_without_the_registry(call: Call, remote: Remote, tmp_path: Path) -> None:
    name, _ = remote("i")
    call("pull", name)
    (tmp_path / "Dockerfile").write_text(f"FROM {name}\nCOPY Dockerfile /\n")
    proxied = "--registry-map=" + name.partition("/")[0] + "=127.0.0.1:1"  # nobody listens there
    call("--pull=never", proxied, "-t", "on-top", tmp_path)
    call("save", proxied, "on-top", "-o", tmp_path / "saved.tar")


def test_a_name_nobody_has(call: Call, registry: TestRegistry) -> None:
    done = call("pull", f"{registry.host}/command/nosuch:1", status=69)
    assert done.out == ""
    assert "nosuch" in done.err


def test_several_platforms_are_refused(call: Call) -> None:
    assert "one --platform" in call("pull", "--platform=linux/amd64,linux/arm64", "a", status=64).err
    call("pull", "--platform=linux/amd64", "--all-platforms", "a", status=64)
