"""Archives as docker save wrote them before Docker 1.10: a directory per layer and no manifest.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tests.support import images


def identity(number: int) -> str:
    """Return the id of the layer of this number."""
    return f"{number:064x}"


def layer_json(number: int, **more: Any) -> dict[str, Any]:
    """Return a layer's json; layer 1 is the lowest."""
    value: dict[str, Any] = {
        "id": identity(number),
        "created": f"2014-01-0{number}T00:00:00.5Z",
        "container_config": {"Cmd": ["/bin/sh", "-c", f"echo <{number}> && true"], "Hostname": "h"},
        "docker_version": "1.9.1",
        "config": {"Cmd": ["sh", f"{number}"], "Env": ["A=<&>"]},
        "architecture": "amd64",
        "os": "linux",
        "Size": 7,
    }
    if number > 1:
        value["parent"] = identity(number - 1)
    return {**value, **more}


def legacy_archive(layers: Sequence[bytes], repositories: Mapping[str, Mapping[str, str]] | None, **more: Any) -> bytes:
    """Return an archive of one chain of layers; ``more`` are fields of every json."""
    members = []
    for number, layer in enumerate(layers, 1):
        name = identity(number)
        members += [
            images.directory(name),
            images.file(f"{name}/VERSION", "1.0"),
            images.file(f"{name}/json", json.dumps(layer_json(number, **more))),
            images.file(f"{name}/layer.tar", layer),
        ]
    if repositories is not None:
        members.append(images.file("repositories", json.dumps(repositories)))
    return images.layer(*members)
