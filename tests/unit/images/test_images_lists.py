"""Manifest lists in the store: many writers, and where the parts of a list come from."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from builder.engine.build import Environment
from builder.errors import ImageError
from builder.image import descriptor as media
from builder.image.descriptor import Descriptor
from builder.image.digest import Digest
from builder.image.reference import Reference
from builder.images import lists
from tests.support import images

_NAME = Reference.parse("registry.example/app:1")


def _layout(tmp_path: Path, architecture: str) -> str:
    target = tmp_path / architecture
    images.write_layout(target, [images.layer(images.file(architecture))], architecture=architecture)
    return f"oci:{target}"


def test_parallel_amendments_are_all_kept(env: Environment, tmp_path: Path) -> None:
    architectures = ["amd64", "arm64", "s390x", "ppc64le", "riscv64", "386"]
    places = [_layout(tmp_path, one) for one in architectures]
    lists.create(env, _NAME, places[:1], amend=False)
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(lists.create, env, _NAME, [place], amend=True) for place in places[1:]]:
            done.result()
    found = lists.existing(env, _NAME)
    assert [one.name for one in found.members] == sorted(places)
    assert found.media_type == media.OCI_INDEX
    assert lists.moved(found) == list(found.members)


def test_a_list_is_bounded(env: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "MEMBER_LIMIT", 1)
    with pytest.raises(ImageError, match="the limit is 1"):
        lists.create(env, _NAME, [_layout(tmp_path, one) for one in ("amd64", "arm64")], amend=False)
    assert lists.find(env, _NAME) is None


def test_blobs_come_from_their_members(env: Environment, tmp_path: Path) -> None:
    made = lists.create(env, _NAME, [_layout(tmp_path, "amd64")], amend=False)
    content = lists.content_of(env, made)
    (layer,) = images.read_image(tmp_path / "amd64").manifest["layers"]
    known = Descriptor(media_type=layer["mediaType"], digest=Digest(layer["digest"]), size=layer["size"])
    assert content.origin(known) is None
    with content.open(known) as stream:
        assert len(stream.read()) == layer["size"]
    with pytest.raises(ImageError, match="app:1 has no sha256:0"):
        content.open(Descriptor(media_type="x", digest=Digest("sha256:" + "0" * 64), size=1))
