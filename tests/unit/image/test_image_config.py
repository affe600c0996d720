"""Configs: everything unknown survives, everything known reads back, histories fit their layers, images agree."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from builder.errors import ImageError
from builder.image import descriptor as media
from builder.image.config import ContainerConfig, Healthcheck, History, ImageConfig
from builder.image.descriptor import Descriptor
from builder.image.digest import DiffID, Digest
from builder.image.manifest import Manifest, parse_manifest
from builder.image.mutate import layer_media_type, make_manifest, repaired_history
from builder.image.platform import Platform
from builder.image.validate import InvalidImageError, validate

LINUX = Platform("linux", "amd64")
DIFF_ID = DiffID(Digest.of(b"layer"))
LAYER = Descriptor(media_type=media.OCI_LAYER_GZIP, digest=Digest.of(b"gz"), size=2)

FULL = {
    "architecture": "arm",
    "author": "somebody",
    "config": {
        "User": "1000:1000",
        "ExposedPorts": {"53/udp": {}, "80/tcp": {}},
        "Env": ["PATH=/bin", "A=b=c", "EMPTY="],
        "Entrypoint": ["/e"],
        "Cmd": ["a", "b"],
        "Volumes": {"/a": {}, "/b c": {}},
        "WorkingDir": "/w",
        "Labels": {"a": "1", "b": "\u00e9"},
        "StopSignal": "SIGINT",
        "ArgsEscaped": True,
        "Healthcheck": {"Test": ["CMD", "x"], "Interval": 1, "Timeout": 2, "StartPeriod": 3, "Retries": 4},
        "OnBuild": ["RUN x"],
        "Shell": ["/bin/bash", "-c"],
        "Memory": 7,
        "X-Unknown": {"deep": [1, None]},
    },
    "created": "2020-01-02T03:04:05.123456789Z",
    "history": [{"created": "2020-01-02T03:04:05Z", "created_by": "x", "comment": "c", "x-more": 1}],
    "os": "linux",
    "os.features": ["win32k"],
    "rootfs": {"diff_ids": [str(DIFF_ID)], "type": "layers"},
    "variant": "v7",
    "x-moby": {"k": "v"},
}


def parse(**changes: Any) -> ImageConfig:
    return ImageConfig.parse(json.dumps({"os": "linux", "architecture": "amd64", **changes}).encode())


def test_a_full_config_survives_a_round_trip() -> None:
    parsed = ImageConfig.parse(json.dumps(FULL).encode())
    assert json.loads(parsed.to_bytes()) == FULL
    assert ImageConfig.parse(parsed.to_bytes()) == parsed


def test_what_we_write_is_compact_sorted_and_stable() -> None:
    raw = ImageConfig.parse(json.dumps(FULL).encode()).to_bytes()
    assert b": " not in raw.replace(b"\\", b"")[:50]
    keys = list(json.loads(raw))
    assert keys == sorted(keys)
    shuffled = dict(reversed(list(FULL.items())))
    assert ImageConfig.parse(json.dumps(shuffled).encode()).to_bytes() == raw


def test_nulls_are_absent_fields() -> None:
    nothing = dict.fromkeys(("Env", "Cmd", "Entrypoint", "Volumes", "Labels", "ExposedPorts", "OnBuild"))
    parsed = parse(config={**nothing, "Healthcheck": None, "Shell": None, "User": None}, history=None, created=None)
    assert parsed.config == ContainerConfig()
    assert parse(config=None) == parse()


def test_empty_commands_stay_empty_lists_and_absent_ones_absent() -> None:
    assert json.loads(ImageConfig(platform=LINUX).to_bytes())["config"] == {}
    config = ContainerConfig(cmd=(), entrypoint=())
    assert config.to_json() == {"Cmd": [], "Entrypoint": []}


def test_traces_of_a_build_machine_are_dropped() -> None:
    parsed = parse(
        container="0123",
        container_config={"Hostname": "x"},
        docker_version="20",
        config={"Hostname": "h", "Image": "i"},
    )
    assert json.loads(parsed.to_bytes()).keys() == {"architecture", "config", "os", "rootfs"}
    assert parsed.config.extra == {}


def test_variables_without_equals_sign_are_empty() -> None:
    assert ContainerConfig(env=("A", "B=", "C=d=e", "A=2")).environment() == {"A": "2", "B": "", "C": "d=e"}


def test_a_healthcheck_writes_only_what_is_set() -> None:
    assert Healthcheck(test=("NONE",)).to_json() == {"Test": ["NONE"]}


def test_bytes_that_are_no_utf8_become_replacement_characters() -> None:
    config = ImageConfig(platform=LINUX, config=ContainerConfig(env=("A=\udcff\u00e9",)))
    assert json.loads(config.to_bytes())["config"]["Env"] == ["A=\ufffd\u00e9"]


# --- histories


def history(text: str) -> tuple[History, ...]:
    return tuple(History(created_by=str(n), empty_layer=one == "e") for n, one in enumerate(text))


@pytest.mark.parametrize(
    ("before", "layers", "after"),
    [
        ("", 0, ""),
        ("", 2, "LL"),
        ("L", 1, "L"),
        ("eLe", 1, "eLe"),
        ("eL", 3, "eLLL"),
        ("LLL", 1, "Lee"),
        ("eLeL", 0, "eeee"),
    ],
)
def test_histories_are_made_to_fit_their_layers(before: str, layers: int, after: str) -> None:
    repaired = repaired_history(history(before.replace("L", "l")), layers)
    assert "".join("e" if one.empty_layer else "L" for one in repaired) == after
    assert [one.created_by for one in repaired][: len(before)] == [str(n) for n in range(len(before))]


# --- formats


@pytest.mark.parametrize(
    ("given", "oci", "docker"),
    [
        (media.OCI_LAYER, media.OCI_LAYER, media.DOCKER_LAYER),
        (media.OCI_LAYER_GZIP, media.OCI_LAYER_GZIP, media.DOCKER_LAYER_GZIP),
        (media.DOCKER_LAYER_GZIP, media.OCI_LAYER_GZIP, media.DOCKER_LAYER_GZIP),
        (media.DOCKER_LAYER, media.OCI_LAYER, media.DOCKER_LAYER),
        (media.DOCKER_FOREIGN_LAYER_GZIP, media.OCI_FOREIGN_LAYER_GZIP, media.DOCKER_FOREIGN_LAYER_GZIP),
        (media.OCI_FOREIGN_LAYER_GZIP, media.OCI_FOREIGN_LAYER_GZIP, media.DOCKER_FOREIGN_LAYER_GZIP),
    ],
)
def test_layers_are_called_what_their_manifests_format_calls_them(given: str, oci: str, docker: str) -> None:
    assert layer_media_type(given, "oci") == oci
    assert layer_media_type(given, "docker") == docker


def test_what_dockers_format_cannot_say_is_refused() -> None:
    with pytest.raises(ImageError, match="zstd"):
        layer_media_type(media.OCI_LAYER_ZSTD, "docker")


def image(*changes: tuple[str, object], layers: tuple[Descriptor, ...] = (LAYER,)) -> tuple[bytes, bytes]:
    config = ImageConfig(
        platform=LINUX, diff_ids=(DIFF_ID,), history=(History(created="2020-01-01T00:00:00Z", created_by="x"),)
    )
    return make_manifest(replace(config, **dict(changes)), layers, "oci", {})  # type: ignore[arg-type] # by name


@pytest.mark.parametrize("image_format", ["oci", "docker"])
def test_formats_are_never_mixed(image_format: Any) -> None:
    config = ImageConfig(platform=LINUX, diff_ids=(DIFF_ID,) * 2)
    layers = (LAYER, replace(LAYER, media_type=media.DOCKER_LAYER_GZIP))
    raw_manifest, raw_config = make_manifest(config, layers, image_format, {"b": "1", "a": "2"})
    validate(raw_manifest, raw_config)
    text = raw_manifest.decode()
    assert ("vnd.docker" in text, "vnd.oci" in text) == ((image_format == "docker"), (image_format == "oci"))
    parsed = parse_manifest(raw_manifest)
    assert isinstance(parsed, Manifest)
    assert list(parsed.annotations) == ["a", "b"]


def test_a_sound_image_is_valid() -> None:
    validate(*image())
    validate(*image(("diff_ids", ()), ("history", ()), layers=()))


@pytest.mark.parametrize(
    ("pair", "problem"),
    [
        (image(layers=()), "0 layers but 1 diff_ids"),
        (image(("history", (History(empty_layer=True),))), "1 diff_ids but 0 history entries"),
        (image(("history", (History(), History()))), "1 diff_ids but 2 history entries"),
        (image(("platform", Platform("", ""))), "no os or architecture"),
        (image(("platform", Platform("linux", ""))), "no os or architecture"),
        (image(("created", "yesterday")), "not an RFC 3339 time"),
        (image(("created", "2020-01-01T00:00:00Z\n")), "not an RFC 3339 time"),
        (image(layers=(replace(LAYER, media_type="text/plain"),)), "'text/plain' does not belong"),
        ((image()[0], image(("author", "x"))[1]), "the config's digest is"),
        ((image()[0], image()[1] + b" "), "bytes long"),
    ],
)
def test_images_that_contradict_themselves_are_refused(pair: tuple[bytes, bytes], problem: str) -> None:
    with pytest.raises(InvalidImageError, match=problem) as caught:
        validate(*pair)
    assert any(problem in one for one in caught.value.problems)


def test_an_index_is_no_image() -> None:
    raw = b'{"schemaVersion":2,"manifests":[]}'
    with pytest.raises(InvalidImageError, match="index"):
        validate(raw, b"{}")


@pytest.mark.parametrize("number", [b"1e999", b"-1e999", b"NaN", b"Infinity", b"1" * 5000])
def test_numbers_that_cannot_be_written_again_are_not_read(number: bytes) -> None:
    with pytest.raises(ImageError, match="not valid JSON"):
        ImageConfig.parse(b'{"architecture":"amd64","os":"linux","x":%b}' % number)


def test_what_is_nested_too_deeply_is_an_error_also_when_writing() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ImageError, match="nested too deeply"):
        ImageConfig(platform=Platform("linux", "amd64"), extra={"x": deep}).to_bytes()
