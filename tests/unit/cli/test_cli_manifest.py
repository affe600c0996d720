"""``pybuild manifest`` without a registry: lists of what is in files and in the store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from builder.cli.main import main
from tests.support import images

_LIST = "registry.example/app:1"


@pytest.fixture
def layout(tmp_path: Path, store_root: Path) -> Path:
    target = tmp_path / "layout"
    images.write_layout(target, [images.layer(images.file("a"))], architecture="arm64", config={"variant": "v8"})
    return target


def _ran(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> tuple[str, str]:
    assert main(["manifest", *words]) == status, capsys.readouterr().err
    captured = capsys.readouterr()
    return captured.out, captured.err


def test_a_list_is_made_annotated_shown_and_removed(layout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = f"oci-layout://{layout}"
    assert _ran(capsys, "create", _LIST, place)[0] == f"Created manifest list {_LIST}\n"
    shown = json.loads(_ran(capsys, "inspect", _LIST)[0])
    assert shown["mediaType"] == "application/vnd.oci.image.index.v1+json"
    (entry,) = shown["manifests"]
    assert entry["digest"] == images.read_image(layout).digest
    assert entry["platform"] == {"architecture": "arm64", "os": "linux", "variant": "v8"}
    assert _ran(capsys, "annotate", _LIST, place, "--os-features", "x,y", "--os-features", "x", "--variant", "v9") == (
        "",
        "",
    )
    (entry,) = json.loads(_ran(capsys, "inspect", _LIST)[0])["manifests"]
    assert entry["platform"] == {"architecture": "arm64", "os": "linux", "os.features": ["x", "y"], "variant": "v9"}
    one = json.loads(_ran(capsys, "inspect", "-v", _LIST, place)[0])
    assert one["Descriptor"]["platform"]["variant"] == "v9"
    assert json.loads(_ran(capsys, "inspect", _LIST, place)[0]) == images.read_image(layout).manifest
    assert _ran(capsys, "rm", _LIST) == ("", "")
    assert f"No such manifest: {_LIST}" in _ran(capsys, "rm", _LIST, status=67)[1]


def test_answers_as_json(layout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = json.loads(_ran(capsys, "create", "--json", _LIST, f"oci-layout://{layout}")[0])
    assert made["name"] == _LIST
    assert [one["Ref"] for one in made["manifests"]] == [f"oci:{layout}"]
    assert json.loads(_ran(capsys, "rm", "--json", _LIST)[0]) == {"removed": [_LIST]}


def test_an_existing_list_is_not_touched_by_accident(layout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = f"oci-layout://{layout}"
    _ran(capsys, "create", _LIST, place)
    _ran(capsys, "annotate", _LIST, place, "--variant", "v9")
    assert "with no --amend flag" in _ran(capsys, "create", _LIST, place, status=67)[1]
    _ran(capsys, "create", "--amend", _LIST, place)
    # A member that is there stays as it was annotated.
    assert json.loads(_ran(capsys, "inspect", _LIST)[0])["manifests"][0]["platform"]["variant"] == "v9"


def test_mistakes(layout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = f"oci-layout://{layout}"
    assert "error parsing name for manifest list X:1" in _ran(capsys, "create", "X:1", place, status=64)[1]
    assert "gets a name and a tag" in _ran(capsys, "create", f"a@sha256:{'a' * 64}", place, status=64)[1]
    assert f"No such manifest: {_LIST}" in _ran(capsys, "push", _LIST, status=67)[1]
    assert f"No such manifest: {_LIST}" in _ran(capsys, "annotate", _LIST, place, "--os", "linux", status=67)[1]
    assert f"oci-layout://{layout}" in _ran(capsys, "create", _LIST, str(layout), status=64)[1]
    _ran(capsys, "create", _LIST, place)
    assert "does not exist in" in _ran(capsys, "annotate", _LIST, "other:1", "--os", "linux", status=67)[1]
    assert (
        "unsupported os/arch combination: linux/x86"
        in (_ran(capsys, "annotate", _LIST, place, "--os", "linux", "--arch", "x86", status=64)[1])
    )
    assert "No such manifest: docker.io/library/other:1" in _ran(capsys, "inspect", _LIST, "other:1", status=67)[1]
    assert _ran(capsys, "inspect", "a", "b", "c", status=64)[1]
    assert "needs an action" in _ran(capsys, status=64)[1]


def test_an_image_without_a_platform_is_not_pushed(
    tmp_path: Path, store_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "odd"
    images.write_layout(target, [], config={"os": "", "architecture": "", "history": []})
    _ran(capsys, "create", _LIST, f"oci-layout://{target}")
    error = _ran(capsys, "push", _LIST, status=67)[1]
    assert "must have an OS and Architecture" in error
    assert "pybuild manifest annotate" in error


def test_an_index_is_no_member(layout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads((layout / "index.json").read_text())
    raw = json.dumps({**document, "mediaType": "application/vnd.oci.image.index.v1+json"}).encode()
    digest = images.layer_digests([raw])[0]
    (layout / "blobs" / "sha256" / digest.removeprefix("sha256:")).write_bytes(raw)
    entry = {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": digest, "size": len(raw)}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    error = _ran(capsys, "create", _LIST, f"oci-layout://{layout}", status=67)[1]
    assert "is a manifest list" in error
    assert "name one of its images by digest" in error


def test_a_damaged_record_is_no_list(layout: Path, store_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _ran(capsys, "create", _LIST, f"oci-layout://{layout}")
    (record,) = (store_root / "manifests").iterdir()
    record.write_bytes(record.read_bytes().replace(b"registry.example", b"registry.exampl3"))
    assert "No such manifest" in _ran(capsys, "rm", _LIST, status=67)[1]
