"""Tars, images and contexts of strangers, through the command line: one clear error, or a result that harms nobody."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support import fake_registry, images
from tests.support.cli import environment, pybuild, write_context
from tests.support.fake_registry import FakeRegistry
from tests.support.hostile import ATTACKS, HARMLESS, PLACES, bomb

REFUSED = (66, 67)
CANARY = b"still here"


class Scene:
    """A victim that nothing may touch, next to a store and a destination that may be written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.outside = folder / "outside"
        self.outside.mkdir()
        (self.outside / "canary").write_bytes(CANARY)
        (self.outside / "kept").mkdir()
        self.root = folder / "store"
        self.dest = folder / "dest"

    def check(self) -> None:
        """Fail if anything outside store and destination changed, or the destination holds a way to change it."""
        assert sorted(os.listdir(self.outside)) == ["canary", "kept"]
        assert (self.outside / "canary").read_bytes() == CANARY
        assert (self.outside / "canary").stat().st_nlink == 1
        assert os.listdir(self.outside / "kept") == []
        made = [name for name in ("made", "outside/made") if (self.folder / name).exists()]
        assert made == []
        assert set(os.listdir(self.folder)) <= {"outside", "store", "dest", "context", "base", "attack"}
        assert not list(self.root.glob("tmp/*"))


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def judge(scene: Scene, done: subprocess.CompletedProcess[str], *, refusal: bool | None = None) -> None:
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("pybuild: error: ")]
        assert len(lines) == 1, done.stderr
    if refusal is not None:
        assert bool(done.returncode) == refusal, done.stderr
    scene.check()


def docker_archive(target: Path, layers: list[bytes], listing: Mapping[str, Any] | None = None) -> Path:
    """Write an archive as docker save made them before layouts: layers as ID/layer.tar."""
    config = {
        "architecture": images.host_architecture(),
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": images.layer_digests(layers)},
    }
    raw = json.dumps(config).encode()
    names = [f"{number}/layer.tar" for number in range(len(layers))]
    image = {"Config": "config.json", "RepoTags": ["x:1"], "Layers": names, **(listing or {})}
    files = [images.file(name, one) for name, one in zip(names, layers, strict=True)]
    listed = images.file("manifest.json", json.dumps([image]).encode())
    target.write_bytes(images.layer(*files, images.file("config.json", raw), listed))
    return target


BASE_STEPS = """\
FROM base
WORKDIR /w/d
COPY canary d/into
COPY --from=base / /all/
"""
CHANNELS = ("oci-layout", "docker-archive", "add", "context")
REPRESENTATIVE = ("dotdot", "through-symlink", "hardlink-absolute", "whiteout-dot", "devices", "size-8-EiB")
# A docker archive's layers are read as those of layouts are; all of them with --full.
TRIED = {"docker-archive": ATTACKS if os.environ.get("PYBUILD_TEST_FULL") else REPRESENTATIVE}


@pytest.mark.parametrize(
    ("channel", "attack"), [(channel, attack) for channel in CHANNELS for attack in TRIED.get(channel, ATTACKS)]
)
def test_a_hostile_tar(scene: Scene, busybox_layout: Path, channel: str, attack: str) -> None:
    """As a layer of a base that COPY reads and RUN unpacks, as an archive to ADD, and as the context on stdin."""
    tar = ATTACKS[attack](scene.outside)
    stdin = None
    context: str | Path = scene.folder / "context"
    base = f"oci-layout://{busybox_layout}:latest"
    if channel == "add":
        write_context(scene.folder / "context", "FROM base\nADD a.tar /opt/\n", {"a.tar": tar})
    elif channel == "context":
        stdin, context = scene.folder / "attack", "-"
        dockerfile = images.layer(images.file("Dockerfile", "FROM base\nCOPY . /in/\n"))
        stdin.write_bytes(dockerfile[:1024] + tar)  # without the end marker
    else:
        run = "RUN echo more > /w/more\n" if os.geteuid() == 0 else ""
        write_context(scene.folder / "context", BASE_STEPS + run, {"canary": b"x"})
        base = write_base(scene.folder / "base", channel, busybox_layout, tar)
    scene.dest.mkdir()
    arguments = [f"--build-context=base={base}", "-o", f"type=local,dest={scene.dest}", context]
    done = pybuild(*arguments, root=scene.root, status=(0, *REFUSED), stdin=stdin)
    judge(scene, done, refusal=expected_refusal(channel, attack))
    if attack in PLACES:
        below = {"add": "opt", "context": "in"}.get(channel, "")
        # A root of its own for ADD's archive and a context too: links are followed inside the image, not the archive.
        inside = [scene.dest / where for where in (below, "")]
        assert any((one / str(scene.outside / "made").lstrip("/")).is_file() for one in inside) or any(
            (one / str(scene.outside / "x/made").lstrip("/")).is_file() for one in inside
        )


def write_base(target: Path, channel: str, busybox_layout: Path, tar: bytes) -> str:
    (busybox,) = (images.inflate(one) for one in images.read_image(busybox_layout).layers)
    if channel == "docker-archive":
        return f"docker-archive:{docker_archive(target, [busybox, tar])}"
    images.write_layout(target, [busybox, tar])
    return f"oci-layout://{target}:latest"


def expected_refusal(channel: str, attack: str) -> bool:
    """Say whether the build fails. A file to ADD that is no archive we can read is copied as the file it is."""
    if channel not in ("add", "context"):
        return attack not in HARMLESS
    if attack.startswith("whiteout"):  # no layer can hold files of such names
        return True
    if attack in HARMLESS:
        return False
    return channel == "context" or attack.startswith(("dotdot", "hardlink", "symlink-loops"))


# The peak that wait4() tells is carried over from the process that started the build.
_PEAK = """
import sys
from builder.cli.main import main
status = main(sys.argv[1:])
print(*(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM:")))
sys.exit(status)
"""


def test_memory_does_not_grow_with_a_bomb(scene: Scene, busybox_layout: Path) -> None:
    """A base layer and an archive that inflate a thousandfold; peak memory as the kernel counted it."""
    size = 256 << 20
    packed = bomb(size)
    assert len(packed) < size // 500
    context = write_context(scene.folder / "context", "FROM base\nADD a.tgz /opt/\n", {"a.tgz": packed})
    arguments = [f"--build-context=base=oci-layout://{busybox_layout}:latest", "-t", "x:1", context]
    command = [sys.executable, "-c", _PEAK, *map(str, arguments)]
    done = subprocess.run(
        command, env=environment(scene.root), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
    )
    assert int(done.stdout.split()[-1]) < 100 << 10, "KiB"


def test_a_local_output_replaces_links_and_never_follows_them(scene: Scene, busybox_layout: Path) -> None:
    files = {"made": b"x", "sub/made": b"x", "canary": b"overwritten"}
    dockerfile = "FROM scratch\nCOPY made canary /a/\nCOPY sub /a/sub\nCOPY made /etc/made\nCOPY made /c\n"
    context = write_context(scene.folder / "context", dockerfile, files)
    (scene.dest / "a").mkdir(parents=True)
    (scene.dest / "etc").symlink_to(scene.outside)
    (scene.dest / "a/sub").symlink_to("../../outside")
    (scene.dest / "a/canary").hardlink_to(scene.outside / "kept/../canary")
    (scene.dest / "c").symlink_to(scene.outside / "canary")
    done = pybuild("-o", f"type=local,dest={scene.dest}", context, root=scene.root)
    judge(scene, done, refusal=False)
    assert (scene.dest / "a/canary").read_bytes() == b"overwritten"
    assert (scene.dest / "etc/made").read_bytes() == b"x"
    assert not (scene.dest / "etc").is_symlink()
    assert not (scene.dest / "c").is_symlink()


# --- documents


def layout_of(scene: Scene, name: str) -> Path:
    """Write a good layout, and damage it as ``name`` says."""
    path = scene.folder / "base"
    digest = images.write_layout(path, [images.layer(images.file("f", b"x"))])
    index = json.loads((path / "index.json").read_text())
    manifest = json.loads(blob_of(path, digest).read_text())
    DAMAGES[name](scene, path, index, manifest)
    return path


def blob_of(path: Path, digest: str) -> Path:
    return path / "blobs/sha256" / digest[7:]


def put(path: Path, data: bytes) -> dict[str, Any]:
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    blob_of(path, digest).write_bytes(data)
    return {"digest": digest, "size": len(data)}


def save(path: Path, index: Mapping[str, Any], manifest: bytes | None = None, **fields: Any) -> None:
    """Write index.json, which names ``manifest`` if one is given."""
    if manifest is not None:
        index["manifests"][0].update({**put(path, manifest), **fields})
    (path / "index.json").write_text(json.dumps(index))


def _digest_is_a_path(scene: Scene, path: Path, index: Any, manifest: Any) -> None:
    index["manifests"][0]["digest"] = f"sha256:../../../{scene.outside}/canary"
    save(path, index)


def _layer_digest_is_a_path(scene: Scene, path: Path, index: Any, manifest: Any) -> None:
    manifest["layers"][0]["digest"] = f"../../../outside:{'a' * 64}"
    save(path, index, json.dumps(manifest).encode())


def _other_algorithm(scene: Scene, path: Path, index: Any, manifest: Any) -> None:
    manifest["layers"][0]["digest"] = "md5:" + "a" * 32
    save(path, index, json.dumps(manifest).encode())


def _contains_itself(scene: Scene, path: Path, index: Any, manifest: Any) -> None:
    # By digest nothing can contain itself; by a blob that is not what its name says it can.
    kind = "application/vnd.oci.image.index.v1+json"
    digest = "sha256:" + "0" * 64
    index["manifests"] = [{"mediaType": kind, "digest": digest, "size": 300}]
    raw = json.dumps(index)
    blob_of(path, digest).write_text(raw + " " * (300 - len(raw)))
    save(path, index)


def _deeply_nested(scene: Scene, path: Path, index: Any, manifest: Any) -> None:
    kind = "application/vnd.oci.image.index.v1+json"
    for _ in range(20):
        inner = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": index["manifests"]}).encode()
        index = {**index, "manifests": [{"mediaType": kind, **put(path, inner)}]}
    save(path, index)


def _manifest_of_100_mib(scene: Scene, path: Path, index: Any, manifest: Any) -> None:
    save(path, index, json.dumps(manifest).encode() + b" " * (100 << 20))


def _config_of_100_mib(scene: Scene, path: Path, index: Any, manifest: Any) -> None:
    manifest["config"].update(put(path, b'{"a": "' + b"a" * (100 << 20) + b'"}'))
    save(path, index, json.dumps(manifest).encode())


def _index_of_100_mib(scene: Scene, path: Path, index: Any, manifest: Any) -> None:
    (path / "index.json").write_bytes(json.dumps(index).encode() + b" " * (100 << 20))


def _json_bomb(scene: Scene, path: Path, index: Any, manifest: Any) -> None:
    save(path, index, b"[" * 100_000 + b"]" * 100_000)


def _number_bomb(scene: Scene, path: Path, index: Any, manifest: Any) -> None:
    save(
        path, index, json.dumps(manifest).encode().replace(b'"schemaVersion": 2', b'"schemaVersion": ' + b"9" * 100_000)
    )


def _ten_thousand_layers(scene: Scene, path: Path, index: Any, manifest: Any) -> None:
    manifest["layers"] *= 10_000
    save(path, index, json.dumps(manifest).encode())


def _size_lies(scene: Scene, path: Path, index: Any, manifest: Any) -> None:
    manifest["layers"][0]["size"] = 1 << 62
    save(path, index, json.dumps(manifest).encode())


def _negative_size(scene: Scene, path: Path, index: Any, manifest: Any) -> None:
    manifest["layers"][0]["size"] = -1
    save(path, index, json.dumps(manifest).encode())


def _wrong_blob(scene: Scene, path: Path, index: Any, manifest: Any) -> None:
    blob = blob_of(path, manifest["layers"][0]["digest"])
    blob.write_bytes(gzip.compress(images.layer(images.file("f", b"y")), 1, mtime=0))


def _wrong_diff_id(scene: Scene, path: Path, index: Any, manifest: Any) -> None:
    config = json.loads(blob_of(path, manifest["config"]["digest"]).read_text())
    config["rootfs"]["diff_ids"] = ["sha256:" + "1" * 64]
    manifest["config"].update(put(path, json.dumps(config).encode()))
    save(path, index, json.dumps(manifest).encode())


def _blob_is_a_link(scene: Scene, path: Path, index: Any, manifest: Any) -> None:
    blob = blob_of(path, manifest["layers"][0]["digest"])
    blob.rename(scene.folder / "attack")
    blob.symlink_to(scene.folder / "attack")


def _blob_is_a_pipe(scene: Scene, path: Path, index: Any, manifest: Any) -> None:
    blob = blob_of(path, manifest["layers"][0]["digest"])
    blob.unlink()
    os.mkfifo(blob)


def _frame_with_a_huge_window(scene: Scene, path: Path, index: Any, manifest: Any) -> None:
    frame = b"\x28\xb5\x2f\xfd\x00\xa8" + b"\x01\x00\x00"
    manifest["layers"][0].update(put(path, frame), mediaType="application/vnd.oci.image.layer.v1.tar+zstd")
    save(path, index, json.dumps(manifest).encode())


DAMAGES = {
    function.__name__.strip("_").replace("_", "-"): function
    for function in (
        _digest_is_a_path,
        _layer_digest_is_a_path,
        _other_algorithm,
        _contains_itself,
        _deeply_nested,
        _manifest_of_100_mib,
        _config_of_100_mib,
        _index_of_100_mib,
        _json_bomb,
        _number_bomb,
        _ten_thousand_layers,
        _size_lies,
        _negative_size,
        _wrong_blob,
        _wrong_diff_id,
        _blob_is_a_link,
        _blob_is_a_pipe,
        _frame_with_a_huge_window,
    )
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_hostile_layout(scene: Scene, damage: str) -> None:
    path = layout_of(scene, damage)
    context = write_context(scene.folder / "context", "FROM base\nCOPY canary /c\n", {"canary": b"x"})
    done = pybuild(f"--build-context=base=oci-layout://{path}", context, root=scene.root, status=67)
    judge(scene, done, refusal=True)
    assert len(done.stderr) < 2000


LISTINGS: Mapping[str, Mapping[str, Any]] = {
    "config-is-a-path": {"Config": "../outside/canary"},
    "config-is-absolute": {"Config": "/etc/passwd"},
    "layer-is-a-path": {"Layers": ["../../outside/canary"]},
    "layer-is-missing": {"Layers": ["nowhere/layer.tar"]},
    "layers-are-no-list": {"Layers": {"a": 1}},
    "tags-are-numbers": {"RepoTags": [1, 2]},
    "ten-thousand-layers": {"Layers": ["0/layer.tar"] * 10_000},
    "more-layers-than-config": {"Layers": ["0/layer.tar"] * 2},
}


@pytest.mark.parametrize("listing", LISTINGS)
def test_a_hostile_docker_archive(scene: Scene, listing: str) -> None:
    layers = [images.layer(images.file("f", b"x"))]
    path = docker_archive(scene.folder / "base", layers, LISTINGS[listing])
    context = write_context(scene.folder / "context", "FROM base\nCOPY canary /c\n", {"canary": b"x"})
    done = pybuild(f"--build-context=base=docker-archive:{path}", context, root=scene.root, status=67)
    judge(scene, done, refusal=True)


@pytest.mark.parametrize("target", ["{outside}/canary", "../../outside/canary", "config.json"])
@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE], ids=["symlink", "hardlink"])
def test_links_in_a_docker_archive(scene: Scene, kind: bytes, target: str) -> None:
    """A config that is a link leads to a file of the archive, or nowhere."""
    link = images.member("config.json", kind, linkname=target.format(outside=scene.outside))
    listed = json.dumps([{"Config": "config.json", "Layers": []}])
    (scene.folder / "base").write_bytes(images.layer(link, images.file("manifest.json", listed)))
    context = write_context(scene.folder / "context", "FROM base\nCOPY canary /c\n", {"canary": b"x"})
    base = f"--build-context=base=docker-archive:{scene.folder / 'base'}"
    judge(scene, pybuild(base, context, root=scene.root, status=67), refusal=True)


def _answers(fake: FakeRegistry, media_type: str, raw: bytes) -> str:
    fake.put_manifest("evil", "1", raw, media_type)
    return f"{fake.host}/evil:1"


@pytest.mark.parametrize("what", ["manifest-of-100-MiB", "json-bomb", "digest-is-a-path", "index-of-itself"])
def test_a_hostile_registry(scene: Scene, what: str) -> None:
    manifest, index = (f"application/vnd.oci.image.{one}.v1+json" for one in ("manifest", "index"))
    with fake_registry.serve() as fake:
        config = {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "size": 2,
            "digest": "sha256:../../etc/passwd",
        }
        own = {"mediaType": index, "digest": "sha256:" + "0" * 64, "size": 400}
        bodies = {
            "manifest-of-100-MiB": (manifest, b'{"schemaVersion":2' + b" " * (100 << 20) + b"}"),
            "json-bomb": (manifest, b"[" * 200_000),
            "digest-is-a-path": (manifest, json.dumps({"schemaVersion": 2, "config": config, "layers": []}).encode()),
            "index-of-itself": (index, json.dumps({"schemaVersion": 2, "manifests": [own]}).encode()),
        }
        reference = _answers(fake, bodies[what][0], bodies[what][1])
        fake.manifests["evil"][own["digest"]] = bodies[what]
        context = write_context(scene.folder / "context", f"FROM {reference}\nCOPY canary /c\n", {"canary": b"x"})
        judge(scene, pybuild(context, root=scene.root, status=67), refusal=True)


def test_a_context_whose_links_lead_out(scene: Scene) -> None:
    """COPY follows no link of the context out of it, however it is named."""
    dockerfile = "FROM scratch\nCOPY {} /x\n"
    context = write_context(scene.folder / "context", dockerfile.format("canary"))
    (context / "canary").symlink_to("../outside/canary")
    (context / "d").symlink_to(scene.outside)
    for source in ("canary", "d/canary", "d/", "../outside/canary", "d/../canary"):
        (context / "Dockerfile").write_text(dockerfile.format(source))
        done = pybuild("-o", f"type=oci,dest={scene.dest}", context, root=scene.root, status=(0, 66))
        scene.check()
        if done.returncode == 0:
            assert "still here" not in str([images.inflate(one) for one in images.read_image(scene.dest).layers])
