"""``pybuild inspect``: Docker's shapes, exact bytes, artifacts, and templates."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from builder.cli.main import main
from tests.support import images

_OCI = "application/vnd.oci.image."


def _ran(capsysbinary: pytest.CaptureFixture[bytes], *words: str | Path) -> bytes:
    assert main(["inspect", *map(str, words)]) == 0, capsysbinary.readouterr().err
    return capsysbinary.readouterr().out


@pytest.fixture
def layout(tmp_path: Path, store_root: Path) -> Path:
    target = tmp_path / "layout"
    container = {"Cmd": ["sh"], "Labels": {"a.b": "1"}, "ExposedPorts": {"80/tcp": {}}, "Odd": {"kept": 1}}
    config = {"author": "me", "variant": "v3", "os.version": "7"}
    images.write_layout(target, [images.layer(images.file("a", "1"))], container=container, config=config)
    return target


def _index(target: Path, *platforms: str) -> dict[str, Any]:
    """Put the images of several platforms into a layout, behind an index; return the index."""
    descriptors = []
    for platform in platforms:
        architecture = platform.split("/")[1]
        digest = images.write_layout(target, [images.layer(images.file(architecture))], architecture=architecture)
        size = (target / "blobs" / "sha256" / digest.removeprefix("sha256:")).stat().st_size
        os_name, *rest = platform.split("/")
        described = {"os": os_name, "architecture": rest[0], **({"variant": rest[1]} if rest[1:] else {})}
        descriptors.append(
            {"mediaType": _OCI + "manifest.v1+json", "digest": digest, "size": size, "platform": described}
        )
    index = {"schemaVersion": 2, "mediaType": _OCI + "index.v1+json", "manifests": descriptors}
    _root(target, index)
    return index


def _root(target: Path, document: dict[str, Any]) -> str:
    """Make ``document`` the one entry of a layout; return its digest."""
    raw = json.dumps(document, indent=3).encode()
    digest = hashlib.sha256(raw).hexdigest()
    blobs = target / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    (blobs / digest).write_bytes(raw)
    entry = {"mediaType": document["mediaType"], "digest": f"sha256:{digest}", "size": len(raw)}
    (target / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (target / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    return f"sha256:{digest}"


def test_an_image_has_dockers_shape(layout: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    image = images.read_image(layout)
    (value,) = json.loads(_ran(capsysbinary, layout))
    assert value["Id"] == image.image_id
    assert value["Digest"] == image.digest
    assert (value["Os"], value["Architecture"], value["Variant"]) == ("linux", images.host_architecture(), "v3")
    assert (value["Author"], value["Created"], value["OsVersion"]) == ("me", "2020-01-01T00:00:00Z", "7")
    assert value["RootFS"] == {"Type": "layers", "Layers": image.config["rootfs"]["diff_ids"]}
    assert value["Config"]["Cmd"] == ["sh"]
    assert value["Config"]["Entrypoint"] is None
    assert value["Config"]["ExposedPorts"] == {"80/tcp": {}}
    assert value["Config"]["Odd"] == {"kept": 1}
    assert "Healthcheck" not in value["Config"]
    assert value["Size"] == len(image.raw_manifest) + len(image.raw_config) + len(image.layers[0])
    assert json.loads(_ran(capsysbinary, "--json", layout, layout)) == [value, value]


def test_bytes_are_exact(layout: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    image = images.read_image(layout)
    assert _ran(capsysbinary, "--raw", layout) == image.raw_manifest
    assert _ran(capsysbinary, "--manifest", layout) == image.raw_manifest
    assert _ran(capsysbinary, "--config", layout) == image.raw_config
    assert main(["inspect", "--raw", str(layout), str(layout)]) == 64


def test_indexes(tmp_path: Path, store_root: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    target = tmp_path / "several"
    index = _index(target, "linux/amd64", "linux/arm64/v8")
    amd64, arm64 = (one["digest"] for one in index["manifests"])
    raw = _ran(capsysbinary, "--raw", target)
    assert json.loads(raw) == index
    for platform, digest in (("linux/amd64", amd64), ("linux/arm64", arm64)):
        manifest = _ran(capsysbinary, "--manifest", "--platform", platform, target)
        assert "sha256:" + hashlib.sha256(manifest).hexdigest() == digest
        (value,) = json.loads(_ran(capsysbinary, "--platform", platform, target))
        assert value["Digest"] == digest
        assert value["Index"]["Digest"] == "sha256:" + hashlib.sha256(raw).hexdigest()
    listed = json.loads(_ran(capsysbinary, "--verbose", target))
    assert [one["Descriptor"]["platform"] for one in listed] == [
        {"architecture": "amd64", "os": "linux"},
        {"architecture": "arm64", "os": "linux", "variant": "v8"},
    ]
    assert listed[0]["Ref"] == f"{target}@{amd64}"
    assert listed[0]["OCIManifest"]["schemaVersion"] == 2
    assert main(["inspect", "--platform", "linux/s390x", str(target)]) == 67
    assert b"no manifest for platform linux/s390x" in capsysbinary.readouterr().err


def test_verbose_of_one_image(layout: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    value = json.loads(_ran(capsysbinary, "-v", layout))
    assert list(value) == ["Ref", "Descriptor", "Raw", "OCIManifest"]
    assert value["Descriptor"]["platform"] == {
        "architecture": images.host_architecture(),
        "os": "linux",
        "os.version": "7",
        "variant": "v3",
    }


def test_artifacts_are_shown_and_no_error(
    tmp_path: Path, store_root: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    subject = {"mediaType": _OCI + "manifest.v1+json", "digest": "sha256:" + "a" * 64, "size": 7}
    empty = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": "sha256:" + "b" * 64, "size": 2}
    layer = {"mediaType": "text/spdx", "digest": "sha256:" + "c" * 64, "size": 10, "annotations": {"n": "sbom.json"}}
    digest = _root(
        tmp_path / "artifact",
        {
            "schemaVersion": 2,
            "mediaType": _OCI + "manifest.v1+json",
            "artifactType": "application/spdx+json",
            "config": empty,
            "layers": [layer],
            "subject": subject,
            "annotations": {"made": "by hand"},
        },
    )
    (value,) = json.loads(_ran(capsysbinary, tmp_path / "artifact"))
    assert value["Digest"] == digest
    assert value["ArtifactType"] == "application/spdx+json"
    assert value["Subject"] == subject
    assert value["ConfigDescriptor"] == empty
    assert value["Layers"] == [layer]
    assert value["Annotations"] == {"made": "by hand"}
    assert _ran(
        capsysbinary, "--format", "{{.ArtifactType}} {{(index .Layers 0).mediaType}}", tmp_path / "artifact"
    ) == (b"application/spdx+json text/spdx\n")


_TEMPLATES = (
    ("{{.Config.Cmd}} {{.Config.Entrypoint}} {{.Config.Volumes}}", "[sh] [] map[]"),
    ("{{json .Config.Entrypoint}} {{json .RepoTags}}", "null []"),
    ('{{index .Config.Labels "a.b"}}|{{index .Config.Labels "x"}}|{{.Config.Labels.x}}', "1||<no value>"),
    ("{{if .Config.Healthcheck}}checked{{else}}not checked{{end}}", "not checked"),
    ("{{range $port, $_ := .Config.ExposedPorts}}{{$port}}{{end}}", "80/tcp"),
    ("{{.Config.Hostname}}{{.Parent}}{{.Config.Tty}} {{.Os}}/{{.Variant}}", "false linux/v3"),
    ("{{.RootFS.Type}} {{len .RootFS.Layers}}", "layers 1"),
)


@pytest.mark.parametrize(("template", "expected"), _TEMPLATES)
def test_templates(layout: Path, capsysbinary: pytest.CaptureFixture[bytes], template: str, expected: str) -> None:
    assert _ran(capsysbinary, "--format", template, layout).decode() == expected + "\n"


def test_templates_of_many_images_and_mistakes(layout: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert _ran(capsysbinary, "-f", "{{.Os}}", layout, layout) == b"linux\nlinux\n"
    assert json.loads(_ran(capsysbinary, "-f", "json", layout))["Os"] == "linux"
    assert main(["inspect", "-f", "{{.Confg}}", str(layout)]) == 64
    assert b"did you mean Config?" in capsysbinary.readouterr().err


def test_what_makes_no_sense_together(layout: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["inspect", "--referrers", str(layout)]) == 64
    assert b"in no registry" in capsysbinary.readouterr().err
    assert main(["inspect", "--artifact-type", "x", str(layout)]) == 64
    assert main(["inspect", "--raw", "--config", str(layout)]) == 64
    assert main(["inspect"]) == 64


def test_an_image_for_another_platform_is_not_shown_for_it(
    tmp_path: Path, store_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images.write_layout(tmp_path / "single", [images.layer(images.file("a", "1"))], architecture="amd64")
    assert main(["inspect", "--platform", "linux/s390x", str(tmp_path / "single")]) == 67
    assert "is an image for linux/amd64 only" in capsys.readouterr().err
    assert main(["inspect", "--platform", "linux/amd64", str(tmp_path / "single")]) == 0
