"""``pybuild push``: from the store, archives and layouts, under the names they have or are given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.artifacts import OCI, TYPES, Held
from tests.support.called import Call
from tests.support.fake_registry import serve
from tests.support.placing import to_layout
from tests.support.registry import TestRegistry

Build = Callable[..., str]
Layout = tuple[Path, Any]


def test_an_image_goes_to_its_name_and_to_others(call: Call, built: Build, registry: TestRegistry) -> None:
    own, other = f"{registry.host}/command/push:1", f"{registry.host}/command/pushed/elsewhere"
    digest = built(own)
    assert call("push", own).lines == [f"{own}@{digest}"]

    done = call("push", own, f"{other}:a", f"{other}:b")
    assert done.lines == [f"{other}:a@{digest}", f"{other}:b@{digest}"]
    assert registry.tags("command/pushed/elsewhere") == {"a": digest, "b": digest}
    assert registry.missing("command/pushed/elsewhere") == set()


def test_an_image_without_a_name_needs_one(call: Call, built: Build, registry: TestRegistry) -> None:
    digest = built()
    assert "needs a name" in call("push", digest, status=64).err
    call("push", digest, f"{registry.host}/command/nameless:1")
    assert registry.tags("command/nameless") == {"1": digest}


def test_what_is_not_here_is_not_asked_for_elsewhere(call: Call, registry: TestRegistry) -> None:
    mark = registry.mark()
    said = call("push", f"{registry.host}/command/nosuch:1", status=67).err
    assert "is not in the store" in said
    assert registry.requests(mark) == []


def test_all_platforms_of_a_pulled_index_go_on(call: Call, remote: Any, registry: TestRegistry) -> None:
    name, made = remote("push")
    call("pull", name)
    target = "command/push-multi"
    done = call("push", "--json", name, f"{registry.host}/{target}:1")
    assert done.json == [
        {
            "reference": f"{registry.host}/{target}:1",
            "digest": made.index["digest"],
            "media_type": made.index["mediaType"],
        }
    ]
    assert registry.missing(target) == set()
    call("push", "--platform=linux/riscv64", name, f"{registry.host}/{target}:one")
    assert registry.tags(target) == {"1": made.index["digest"], "one": made.other["digest"]}


def test_archives_and_layouts_go_under_their_names(
    call: Call, built: Build, registry: TestRegistry, tmp_path: Path
) -> None:
    names = [f"{registry.host}/command/saved:{tag}" for tag in ("1", "2")]
    digest = built(*names)
    call("save", *names, "-o", tmp_path / "saved.tar")
    assert sorted(call("push", tmp_path / "saved.tar").lines) == [f"{name}@{digest}" for name in names]
    assert registry.tags("command/saved") == {"1": digest, "2": digest}


def test_a_layout_with_bare_tags_has_no_names(call: Call, layout: Layout, registry: TestRegistry) -> None:
    path, made = layout
    assert "without a name" in call("push", path, status=64).err
    call("push", f"oci-layout://{path}:m", f"{registry.host}/command/layout:m")
    assert registry.tags("command/layout") == {"m": made.index["digest"]}
    call("push", f"{path}:s", f"{registry.host}/command/layout:s", "--all-platforms")
    assert registry.tags("command/layout")["s"] == made.native["digest"]


def test_a_registrys_image_is_for_copy(call: Call) -> None:
    assert "pybuild copy docker://a/b:1 DST" in call("push", "docker://a/b:1", status=64).err


@pytest.mark.parametrize("foreign", [False, True])
def test_layers_that_are_not_for_redistribution(call: Call, tmp_path: Path, foreign: bool) -> None:
    held = Held()
    layer = held.put(b"licensed", OCI + "layer.nondistributable.v1.tar+gzip", urls=["https://127.0.0.1:1/layer"])
    machine = {"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": ["sha256:" + "0" * 64]}}
    config = held.put_json(machine, TYPES["oci"]["config"])
    value = {"schemaVersion": 2, "mediaType": TYPES["oci"]["manifest"], "config": config, "layers": [layer]}
    path = to_layout(tmp_path / "layout", held, {"f": held.put_json(value, TYPES["oci"]["manifest"])})
    with serve() as fake:
        call("push", *(["--push-foreign"] if foreign else []), f"{path}:f", f"{fake.host}/command/foreign:1")
        assert (layer["digest"] in fake.blobs["command/foreign"]) == foreign
