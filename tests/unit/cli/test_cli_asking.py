"""``pybuild digest``, ``tags`` and ``catalog``: short questions to registries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.called import Call
from tests.support.registry import TestRegistry


def test_a_digest_costs_one_head(call: Call, remote: Any, registry: TestRegistry) -> None:
    name, made = remote("digest")
    mark = registry.mark()
    assert call("digest", name).lines == [made.index["digest"]]
    assert [one.method for one in registry.requests(mark) if one.path != "/v2/"] == ["HEAD"]


def test_the_digest_of_a_platform(call: Call, remote: Any, layout: tuple[Path, Any]) -> None:
    name, made = remote("digest2")
    done = call("digest", "--platform=linux/riscv64", "--json", name)
    assert done.json == {
        "reference": name,
        "digest": made.other["digest"],
        "media_type": made.other["mediaType"],
    }
    path, local = layout
    assert call("digest", f"oci:{path}:m", "--platform=linux/riscv64").lines == [local.other["digest"]]
    assert call("digest", f"oci:{path}:s").lines == [local.native["digest"]]
    call("digest", f"oci:{path}:s", "--platform=linux/riscv64", status=67)


def test_a_digest_of_nothing(call: Call, registry: TestRegistry) -> None:
    assert call("digest", f"{registry.host}/asking/nosuch:1", status=69).out == ""


def test_tags_and_repositories(call: Call, remote: Any, registry: TestRegistry) -> None:
    name, made = remote("tags", "asking/tags:1")
    repository = name.rpartition(":")[0]
    call("copy", name, *(f"{repository}:{tag}" for tag in ("b", "c")))
    assert sorted(call("tags", repository).lines) == ["1", "b", "c"]
    assert call("tags", repository, "--limit=2").lines == call("tags", repository).lines[:2]
    assert call("tags", repository, "--json").json == {"name": repository, "tags": call("tags", repository).lines}
    assert made

    assert "asking/tags" in call("catalog", registry.host).lines
    answer = call("catalog", registry.host, "--json", "--limit", "1").json
    assert answer["registry"] == registry.host
    assert len(answer["repositories"]) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tags", "a/b:1"], "pybuild tags docker.io/a/b"),
        (["tags", "UPPER"], "lower-case"),
        (["tags", "a", "--limit", "-1"], "whole number"),
        (["catalog", "no registry"], "HOST[:PORT]"),
        (["catalog", "https://registry.example"], "HOST[:PORT]"),
        (["catalog", "registry.example/with/path"], "HOST[:PORT]"),
    ],
)
def test_questions_that_are_none(call: Call, words: list[str], said: str) -> None:
    assert said in call(*words, status=64).err
