"""What a comparison of two images says, field by field, and what may be ignored."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builder.archive.files import open_files
from builder.archive.oci_layout import read_layout
from builder.errors import UsageError
from builder.image.artifact import Artifact
from builder.images import layer_differences
from builder.images.differences import Difference, differences
from builder.images.ignoring import KINDS, Ignored
from tests.support import images

_DEFAULT = {"Env": ["A=1"]}


def _artifact(target: Path, layers: Sequence[bytes], **options: Any) -> Artifact:
    images.write_layout(target, layers, **options)
    return read_layout(open_files(target), "")


def _found(
    tmp_path: Path,
    a: Sequence[bytes],
    b: Sequence[bytes],
    ignore: Sequence[str] = (),
    *,
    options: tuple[Mapping[str, Any], Mapping[str, Any]] = ({}, {}),
) -> list[Difference]:
    one = _artifact(tmp_path / "a", a, **options[0])
    other = _artifact(tmp_path / "b", b, **options[1])
    return list(differences(one, other, None, Ignored.parse(ignore)))


def _sentences(tmp_path: Path, a: Sequence[bytes], b: Sequence[bytes], ignore: Sequence[str] = ()) -> list[str]:
    return [one.sentence() for one in _found(tmp_path, a, b, ignore)]


_FILE = images.file("app/x.py", "one\ntwo\n", mtime=1)
_LAYER = "layer 1 (test layer 0): "

_ENTRIES: list[tuple[str, list[Any], list[Any], list[str]]] = [
    ("mtime", [_FILE], [images.file("app/x.py", "one\ntwo\n", mtime=2)],
     ["/app/x.py: mtime 1 (1970-01-01T00:00:01Z) vs 2 (1970-01-01T00:00:02Z)"]),
    ("mode", [_FILE], [images.file("app/x.py", "one\ntwo\n", 0o755, mtime=1)], ["/app/x.py: mode 0644 vs 0755"]),
    ("owner", [_FILE], [images.file("app/x.py", "one\ntwo\n", mtime=1, uid=5, gid=6)],
     ["/app/x.py: uid 0 vs 5", "/app/x.py: gid 0 vs 6"]),
    ("text", [_FILE], [images.file("app/x.py", "one\ntwp\n", mtime=1)], ["/app/x.py: line 2: 'two' vs 'twp'"]),
    ("longer", [_FILE], [images.file("app/x.py", "one\ntwo\nthree", mtime=1)],
     ["/app/x.py: line 3 (8 and 13 bytes): '' vs 'three'"]),
    ("bytes", [images.file("x", b"\0\1\2")], [images.file("x", b"\0\1\3")],
     ["/x: the contents differ from byte 2 on"]),
    ("target", [images.symlink("l", "a")], [images.symlink("l", "b")], ["/l: target 'a' vs 'b'"]),
    ("kind", [images.directory("d")], [images.file("d")], ["/d: a directory vs a file"]),
    ("more", [_FILE], [_FILE, images.file("y")], ["/y: only in B: a file"]),
    ("fewer", [images.directory("d"), _FILE], [_FILE], ["/d: only in A: a directory"]),
    ("deleted", [images.file(".wh.x")], [images.file("x")], ["/x: a deletion vs a file"]),
    ("opaque", [images.directory("d"), images.file("d/.wh..wh..opq")], [images.directory("d")],
     ["/d: only in A: an opaque directory"]),
    ("order", [images.file("x"), images.file("y")], [images.file("y"), images.file("x")],
     ["the same entries in another order"]),
    ("order and contents", [images.file("x", "1"), images.file("y")], [images.file("y"), images.file("x", "2")],
     ["/x: the contents differ"]),
    ("twice", [images.file("x", "1"), images.file("x", "2")], [images.file("x", "1"), images.file("x", "3")],
     ["/x: line 1: '2' vs '3'"]),
    ("device", [images.member("n", tarfile.CHRTYPE, devmajor=1, devminor=3)],
     [images.member("n", tarfile.CHRTYPE, devmajor=1, devminor=5)], ["/n: device 1,3 vs 1,5"]),
    ("xattr", [_FILE], [images.file("app/x.py", "one\ntwo\n", mtime=1, pax_headers={"SCHILY.xattr.user.a": "b"})],
     ["/app/x.py: xattr user.a: only in B: 62"]),
    ("user name", [images.file("x", uname="root")], [images.file("x", uname="me")],
     ["/x: tar header's user name 'root' vs 'me'"]),
    ("fraction of a second", [images.file("x", mtime=1, pax_headers={"mtime": "1.25"})],
     [images.file("x", mtime=1, pax_headers={"mtime": "1.75"})], ["/x: extended tar header '"]),
    ("hard link", [_FILE, images.hardlink("h", "app/x.py")], [_FILE, images.hardlink("h", "app/y")],
     ["/h: target 'app/x.py' vs 'app/y'"]),
]  # fmt: skip


@pytest.mark.parametrize(("a", "b", "expected"), [row[1:] for row in _ENTRIES], ids=[row[0] for row in _ENTRIES])
def test_entries(tmp_path: Path, a: list[Any], b: list[Any], expected: list[str]) -> None:
    found = _sentences(tmp_path, [images.layer(*a)], [images.layer(*b)])
    assert len(found) == len(expected)
    for sentence, wanted in zip(found, expected, strict=True):
        assert sentence.startswith(_LAYER + wanted)


@pytest.mark.parametrize(
    ("kind", "a", "b"),
    [
        ("times", images.file("x", mtime=1), images.file("x", mtime=2)),
        ("owners", images.file("x", uid=1), images.file("x", gid=2)),
        ("modes", images.file("x", mode=0o600), images.file("x", mode=0o644)),
        ("bytes", images.file("x", uname="a"), images.file("x", uname="b")),
        ("path=x", images.file("x", "1"), images.file("x", "2")),
        ("path=/app/*", images.file("app/x/y", "1"), images.file("app/z")),
        ("path=app", images.file("app/x/y", "1"), images.file("app/z")),
    ],
)
def test_what_is_ignored(tmp_path: Path, kind: str, a: Any, b: Any) -> None:
    one, other = images.layer(a), images.layer(b)
    assert _found(tmp_path, [one], [other]) != []
    assert _found(tmp_path, [one], [other], [kind, "bytes"]) == []


def test_every_kind_is_known_and_others_are_not() -> None:
    assert Ignored.parse([",".join(KINDS)]).kinds == frozenset(KINDS)
    with pytest.raises(UsageError, match="did you mean times"):
        Ignored.parse(["time"])


def test_configs(tmp_path: Path) -> None:
    layers = [images.layer(_FILE)]
    a = {"container": {"Env": ["A=1", "B=2"], "Labels": {"x": "1"}}, "config": {"created": "2020-01-01T00:00:00Z"}}
    b = {"container": {"Env": ["A=1", "B=3", "C=4"], "Labels": {"x": "2"}, "User": "me"},
         "config": {"created": "2021-01-01T00:00:00Z"}}  # fmt: skip
    found = _found(tmp_path, layers, layers, options=(a, b))
    assert [one.sentence() for one in found] == [
        'config: created "2020-01-01T00:00:00Z" vs "2021-01-01T00:00:00Z"',
        'config: config.Env[1] "B=2" vs "B=3"',
        'config: config.Env[2]: only in B: "C=4"',
        'config: config.Labels.x "1" vs "2"',
        'config: config.User: only in B: "me"',
    ]
    kept = _found(tmp_path, layers, layers, ["times,labels"], options=(a, b))
    assert [one.field for one in kept] == ["config.Env[1]", "config.Env[2]", "config.User"]
    assert found[0].to_json() == {
        "part": "config", "field": "created", "a": '"2020-01-01T00:00:00Z"', "b": '"2021-01-01T00:00:00Z"'
    }  # fmt: skip


def test_layers_of_other_numbers_and_compression(tmp_path: Path) -> None:
    one, two = images.layer(_FILE), images.layer(images.file("z"))
    found = _sentences(tmp_path, [one], [one, two], ["history"])
    assert len(found) == 1
    assert found[0].startswith("layer 2 (test layer 1): only in B: ")
    packed = _found(tmp_path / "2", [one], [one], options=({"compress": True}, {"compress": False}))
    (line,) = packed
    assert line.sentence().startswith("layer 1 (test layer 0): the same tar, compressed differently: gzip, ")
    assert _found(tmp_path / "3", [one], [one], ["compression"], options=({}, {"compress": False})) == []


def test_equal_images_and_the_same_values_in_other_words(tmp_path: Path) -> None:
    layers = [images.layer(_FILE)]
    assert _found(tmp_path, layers, layers) == []
    a, b = tmp_path / "a", tmp_path / "b"
    manifest = images.read_image(b)
    raw = json.dumps(dict(manifest.manifest), indent=1).encode()
    digest = images.layer_digests([raw])[0]
    (b / "blobs" / "sha256" / digest.removeprefix("sha256:")).write_bytes(raw)
    index = json.loads((b / "index.json").read_text())
    index["manifests"][0] |= {"digest": digest, "size": len(raw)}
    (b / "index.json").write_text(json.dumps(index))
    one, other = (read_layout(open_files(path), "") for path in (a, b))
    (found,) = differences(one, other, None, Ignored())
    assert found.sentence().startswith("manifest: the same values, written differently: digest sha256:")
    assert list(differences(one, other, None, Ignored.parse(["bytes"]))) == []


def test_differences_come_in_the_order_of_the_entries(tmp_path: Path) -> None:
    one = images.layer(images.file("gone"), images.file("b", mtime=1), images.file("z", mtime=1))
    other = images.layer(images.file("b", mtime=2), images.file("new"), images.file("z", mtime=2))
    found = _found(tmp_path, [one], [other])
    assert [line.entry for line in found] == ["gone", "b", "new", "z"]


def test_waiting_entries_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_differences, "WAITING_LIMIT", 3)
    names = [f"f{number}" for number in range(20)]
    one = images.layer(*(images.file(name) for name in names))
    other = images.layer(*(images.file(name) for name in reversed(names)))
    found = _found(tmp_path, [one], [other])
    assert found != []
    assert {line.entry for line in found} <= set(names)
    assert {line.field for line in found} == {"nothing of this name within 3 entries of the other layer"}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.binary(max_size=3), st.integers(0, 2)), max_size=6),
    st.lists(st.tuples(st.sampled_from("abcd"), st.binary(max_size=3), st.integers(0, 2)), max_size=6),
)
def test_a_difference_is_found_exactly_when_the_tars_differ(
    tmp_path_factory: pytest.TempPathFactory, a: list[tuple[str, bytes, int]], b: list[tuple[str, bytes, int]]
) -> None:
    one, other = (images.layer(*(images.file(n, c, mtime=t) for n, c, t in given)) for given in (a, b))
    found = _found(tmp_path_factory.mktemp("pair"), [one], [other])
    assert (found == []) == (one == other)


def test_what_is_no_image_is_compared_by_its_manifest(tmp_path: Path) -> None:
    artifacts = []
    for name in "ab":
        _artifact(tmp_path / name, [images.layer(_FILE)])
        document = json.loads(images.read_image(tmp_path / name).raw_manifest)
        document |= {"artifactType": "text/x", "annotations": {"name": name}}
        document["config"]["mediaType"] = "application/vnd.oci.empty.v1+json"
        raw = json.dumps(document).encode()
        digest = images.layer_digests([raw])[0]
        (tmp_path / name / "blobs" / "sha256" / digest.removeprefix("sha256:")).write_bytes(raw)
        index = json.loads((tmp_path / name / "index.json").read_text())
        index["manifests"] = [{"mediaType": document["mediaType"], "digest": digest, "size": len(raw)}]
        (tmp_path / name / "index.json").write_text(json.dumps(index))
        artifacts.append(read_layout(open_files(tmp_path / name), ""))
    (found,) = differences(artifacts[0], artifacts[1], None, Ignored())
    assert found.sentence() == 'manifest: annotations.name "a" vs "b"'


def test_an_ill_formed_tar_is_an_error(tmp_path: Path) -> None:
    from builder.rootfs.entry import LayerFormatError

    with pytest.raises(LayerFormatError):
        _found(tmp_path, [images.layer(_FILE)], [io.BytesIO(b"x" * 2000).read()])
