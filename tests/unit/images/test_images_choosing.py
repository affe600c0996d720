"""Platforms chosen from an index: one is the image itself, several are a smaller index, attestations go along."""

from __future__ import annotations

from typing import Any

import pytest

from builder.image.manifest import ManifestError
from builder.image.platform import Platform, PlatformNotFoundError
from builder.images.choosing import choose
from tests.support.artifacts import Held, document, said

NAMES = ("linux/amd64", "linux/arm64", "linux/riscv64")


def platforms(*texts: str) -> list[Platform]:
    return [Platform.parse(text) for text in texts]


def index(held: Held, **more: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Keep an index of three images, each with an attestation; return it and the entries of the images."""
    entries, found = [], []
    for name in NAMES:
        os_name, architecture = name.split("/")
        image = held.image(tars=(name.encode(),), platform={"os": os_name, "architecture": architecture})
        found.append(image)
        entries += [image, held.attestation(image["digest"])]
    return held.index(entries, **more), found


def test_nothing_is_chosen() -> None:
    held = Held()
    whole = held.artifact(index(held)[0])
    assert choose(whole, []) is whole


def test_one_is_the_image() -> None:
    held = Held()
    root, images = index(held)
    chosen = choose(held.artifact(root), platforms("linux/arm64"))
    assert chosen.digest == images[1]["digest"]
    assert chosen.platform() == Platform.parse("linux/arm64")


def test_several_are_an_index_with_what_is_said_about_them() -> None:
    held = Held()
    root, images = index(held, annotations={"kept": "yes"})
    chosen = choose(held.artifact(root), platforms("linux/riscv64", "linux/amd64"))
    value = said(chosen)
    assert [one["digest"] for one in value["manifests"]][::2] == [images[0]["digest"], images[2]["digest"]]
    assert len(value["manifests"]) == 4
    assert value["annotations"] == {"kept": "yes"}
    assert [document(chosen, one)["schemaVersion"] for one in value["manifests"]] == [2] * 4
    assert len(chosen.documents()) == 4  # what is said of the two is the same


def test_all_of_them_are_the_index_itself() -> None:
    held = Held()
    root, _ = index(held)
    assert choose(held.artifact(root), platforms(*NAMES)).digest == root["digest"]


@pytest.mark.parametrize("wanted", [("linux/s390x",), ("linux/amd64", "linux/s390x")])
def test_a_platform_that_is_not_there(wanted: tuple[str, ...]) -> None:
    held = Held()
    with pytest.raises(PlatformNotFoundError, match="s390x"):
        choose(held.artifact(index(held)[0]), platforms(*wanted))


def test_an_image_is_for_its_own_platform() -> None:
    held = Held()
    image = held.artifact(held.image())
    assert choose(image, platforms("linux/amd64")) is image
    with pytest.raises(PlatformNotFoundError, match="linux/amd64 only"):
        choose(image, platforms("linux/arm64"))
    with pytest.raises(PlatformNotFoundError, match="linux/amd64 only"):
        choose(image, platforms("linux/amd64", "linux/arm64"))


def test_an_artifact_that_is_no_image() -> None:
    held = Held()
    value = {
        "schemaVersion": 2,
        "config": held.put(b"{}", "application/vnd.cncf.helm.config.v1+json"),
        "layers": [held.put(b"chart", "application/vnd.cncf.helm.chart.content.v1.tar+gzip")],
    }
    chart = held.artifact(held.put_json(value, "application/vnd.oci.image.manifest.v1+json"))
    assert choose(chart, platforms("linux/amd64")) is chart


def test_indexes_within_indexes() -> None:
    held = Held()
    root = held.index([held.index([one]) for one in index(held)[1]])
    with pytest.raises((ManifestError, PlatformNotFoundError)):
        choose(held.artifact(root), platforms("linux/amd64", "linux/arm64"))
