"""Configs and annotations changed: what each option means, and that nothing else changes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from builder.cli.commands.mutate import _mutation, parser
from builder.errors import BuilderError, UsageError
from builder.image.annotations import Annotation
from builder.image.platform import Platform
from builder.images.mutating import Mutation, mutate, set_labels
from tests.support.artifacts import TYPES, Held, config_of, document, said

ARM = {"architecture": "arm64"}
STAMP = "2020-01-01T00:00:00Z"


def mutation(*words: str) -> Mutation:
    return _mutation(parser().parse_args(["SRC", "DST", *words]))


def changed(*words: str, container: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the config after a mutation; it must say nothing else than before, and layers must stay."""
    held = Held()
    before = held.artifact(held.image(container=container))
    done = mutate(before, mutation(*words))
    after = config_of(done)
    assert said(done.artifact)["layers"] == said(before)["layers"]
    assert after["unknown.to.us"] == {"kept": [1, 2.5, None]}
    assert held.opened == []
    return after


CASES: list[tuple[Sequence[str], dict[str, Any]]] = [
    (["--entrypoint", '["/app", "x y"]'], {"Entrypoint": ["/app", "x y"], "Cmd": None}),
    (["--entrypoint", "run it"], {"Entrypoint": ["/bin/sh", "-c", "run it"], "Cmd": None}),
    (["--cmd", '["serve"]', "--entrypoint", '["/app"]'], {"Entrypoint": ["/app"], "Cmd": ["serve"]}),
    (["--entrypoint", ""], {"Entrypoint": None, "Cmd": None}),
    (["--cmd", ""], {"Cmd": None}),
    (["--cmd", "[]"], {"Cmd": None}),
    (["--env", "A=2", "-e", "B=x=y"], {"Env": ["PATH=/bin", "A=2", "B=x=y"]}),
    (["--unset", "env=A"], {"Env": ["PATH=/bin"]}),
    (["--unset", "env"], {"Env": None}),
    (["--unset", "env=A", "--env", "A=3"], {"Env": ["PATH=/bin", "A=3"]}),
    (["--label", "x=2", "-l", "y"], {"Labels": {"x": "2", "y": ""}}),
    (["--unset", "label=x"], {"Labels": None}),
    (["--unset", "labels", "--label", "z=1"], {"Labels": {"z": "1"}}),
    (["--user", "1000:1000"], {"User": "1000:1000"}),
    (["--workdir", "/srv/app"], {"WorkingDir": "/srv/app"}),
    (["--change", "WORKDIR /srv", "--change", "WORKDIR app"], {"WorkingDir": "/srv/app"}),
    (["--expose", "80", "--expose", "53/udp"], {"ExposedPorts": {"53/udp": {}, "80/tcp": {}}}),
    (["--volume", "/data"], {"Volumes": {"/data": {}}}),
    (["--stop-signal", "SIGQUIT"], {"StopSignal": "SIGQUIT"}),
    (["--change", "ENV C=${A}2 D='q r'"], {"Env": ["PATH=/bin", "A=1", "C=12", "D=q r"]}),
    (["--change", "cmd echo hi"], {"Cmd": ["/bin/sh", "-c", "echo hi"], "ArgsEscaped": True}),
    (["--change", "ONBUILD RUN x"], {"OnBuild": ["RUN x"]}),
    (
        ["--change", "HEALTHCHECK --interval=5s CMD true"],
        {"Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 5_000_000_000}},
    ),
    (["--unset", "cmd"], {"Cmd": None}),
]


@pytest.mark.parametrize(("words", "expected"), CASES)
def test_what_containers_run(words: Sequence[str], expected: dict[str, Any]) -> None:
    before = {"Env": ["PATH=/bin", "A=1"], "Cmd": ["sh"], "Labels": {"x": "1"}}
    found = changed(*words)
    assert found["config"] == {key: value for key, value in {**before, **expected}.items() if value is not None}
    assert found["created"] == STAMP
    assert len(found["history"]) == 2


def test_ports_volumes_and_the_rest_are_taken_away() -> None:
    container = {
        "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
        "Volumes": {"/a": {}, "/b": {}},
        "User": "x",
        "WorkingDir": "/w",
        "StopSignal": "9",
        "Healthcheck": {"Test": ["NONE"]},
        "OnBuild": ["RUN x"],
        "Shell": ["/bin/bash", "-c"],
        "Entrypoint": ["/e"],
    }
    found = changed("--unset=expose=80", "--unset=volume=/a", container=container)["config"]
    assert found["ExposedPorts"] == {"53/udp": {}}
    assert found["Volumes"] == {"/b": {}}
    whole = ("expose", "volumes", "user", "workdir", "stop-signal", "healthcheck", "onbuild", "shell", "entrypoint")
    assert set(changed(*(f"--unset={one}" for one in whole), container=container)["config"]) == {"Env", "Cmd", "Labels"}
    assert changed("--cmd", "x", container=container)["config"]["Cmd"] == ["/bin/bash", "-c", "x"]


def test_what_is_said_about_it() -> None:
    found = changed("--author", "me", "--created", "86400", "--history", "mutated")
    assert (found["author"], found["created"]) == ("me", "1970-01-02T00:00:00Z")
    assert found["history"][2] == {"created": "1970-01-02T00:00:00Z", "created_by": "mutated", "empty_layer": True}
    assert changed("--created", "2024-01-31T12:00:00.5+02:00")["created"] == "2024-01-31T12:00:00.5+02:00"
    assert "created" not in changed("--unset", "created")
    assert "history" not in changed("--unset", "history") or changed("--unset", "history")["history"] == []
    clamped = changed("--source-date-epoch", "1000")
    assert {clamped["created"], *(one["created"] for one in clamped["history"])} == {"1970-01-01T00:16:40Z"}
    assert changed("--source-date-epoch", "2000000000", "--user", "x")["created"] == STAMP


def test_a_platform() -> None:
    held = Held()
    done = mutate(held.artifact(held.index([held.image()])), mutation("--set-platform", "linux/arm/v6"))
    (entry,) = said(done.artifact)["manifests"]
    assert entry["platform"] == {"os": "linux", "architecture": "arm", "variant": "v6"}
    config = document(done.artifact, document(done.artifact, entry)["config"])
    assert (config["architecture"], config["variant"]) == ("arm", "v6")
    alone = mutate(held.artifact(held.image()), mutation("--set-platform", "linux/arm64"))
    assert alone.artifact.root.platform == Platform("linux", "arm64")
    several = held.artifact(held.index([held.image(), held.image(platform=ARM)]))
    with pytest.raises(UsageError, match="cannot all be for one platform"):
        mutate(several, mutation("--set-platform", "linux/arm64"))


@pytest.mark.parametrize("image_format", ["oci", "docker"])
def test_what_changes_nothing_keeps_the_digest(image_format: str) -> None:
    held = Held()
    same = ["--env", "A=1", "--label", "x=1", "--unset", "user", "--unset", "annotation=none", "--cmd", '["sh"]']
    for descriptor in (held.image(image_format), held.index([held.image(image_format)], image_format)):
        before = held.artifact(descriptor)
        for words in ([], same):
            done = mutate(before, mutation(*words))
            assert done.artifact.raw == before.raw
            assert done.changes[0].before.digest == done.changes[0].after.digest


def test_every_image_of_an_index() -> None:
    held = Held()
    amd, arm = held.image(), held.image(platform=ARM)
    about = held.attestation(amd["digest"])
    done = mutate(held.artifact(held.index([amd, arm, about])), mutation("--label", "new=1"))
    *images, attestation = said(done.artifact)["manifests"]
    for entry in images:
        config = document(done.artifact, document(done.artifact, entry)["config"])
        assert config["config"]["Labels"] == {"x": "1", "new": "1"}
    assert attestation["digest"] == about["digest"]
    assert attestation["annotations"]["vnd.docker.reference.digest"] == images[0]["digest"]
    assert [one["platform"] for one in images] == [amd["platform"], arm["platform"]]


def test_annotations() -> None:
    held = Held()
    index = held.index([held.image(annotations={"a": "1", "b": "2"}), held.image(platform=ARM)], annotations={"i": "1"})
    done = mutate(
        held.artifact(index),
        mutation(
            *("--annotation", "c=3", "--annotation", "index:j=2", "--annotation", "manifest[linux/arm64]:d=4"),
            *("--unset", "annotation=b"),
        ),
    )  # fmt: skip
    root = said(done.artifact)
    assert root["annotations"] == {"i": "1", "j": "2"}
    found = [document(done.artifact, one) for one in root["manifests"]]
    assert [one["annotations"] for one in found] == [{"a": "1", "c": "3"}, {"c": "3", "d": "4"}]
    before = [document(held.artifact(index), one)["config"] for one in said(held.artifact(index))["manifests"]]
    assert [one["config"] for one in found] == before
    bare = mutate(done.artifact, mutation("--unset", "annotations"))
    assert "annotations" not in json.dumps(said(bare.artifact)["manifests"])
    assert not said(bare.artifact).get("annotations")
    assert all("annotations" not in document(bare.artifact, one) for one in said(bare.artifact)["manifests"])


@pytest.mark.parametrize(
    ("image_format", "words", "message"),
    [
        ("docker", ("--annotation", "a=b"), "Docker's image format has no annotations"),
        ("oci", ("--annotation", "index:a=b"), "this is one image"),
        ("oci", ("--annotation", "manifest-descriptor:a=b"), "mutate has no manifest-descriptor"),
    ],
)
def test_annotations_that_have_no_place(image_format: str, words: tuple[str, ...], message: str) -> None:
    held = Held()
    with pytest.raises(UsageError, match=message):
        mutate(held.artifact(held.image(image_format)), mutation(*words))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--entrypoint", '["a", 1]'), "not a JSON array of strings"),
        (("--cmd", "[a"), "not a JSON array of strings"),
        (("--env", "A"), "--env A: expected NAME=VALUE"),
        (("--label", "=1"), "expected NAME=VALUE"),
        (("--expose", "http"), "--expose"),
        (("--volume", ""), "the path is empty"),
        (("--stop-signal", "SIGNOPE"), "invalid signal"),
        (("--created", "yesterday"), "not a time"),
        (("--created", "2024-01-31"), "not a time"),
        (("--source-date-epoch", "-1"), "not a number of seconds"),
        (("--unset", "everything"), "no such thing"),
        (("--unset", "cmd=x"), "no such thing"),
        (("--unset", "env="), "no such thing"),
        (("--change", "RUN x"), "RUN is not about the config"),
        (("--change", "COPY a b"), "COPY is not about the config"),
        (("--change", "FROM x"), "expected one instruction, and not FROM"),
        (("--change", "NOPE x"), "unknown instruction"),
        (("--change", "USER"), "USER"),
        (("--set-platform", "nonsense"), "unknown architecture"),
    ],
)
def test_mistakes(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(BuilderError, match=message):
        mutation(*words)


def test_edits_from_a_program() -> None:
    held = Held()
    done = mutate(
        held.artifact(held.image("docker")),
        Mutation(edits=(set_labels({"k": "v"}),), annotations=(), forgotten=("x",)),
    )
    assert config_of(done)["config"]["Labels"] == {"k": "v", "x": "1"}
    assert done.artifact.root.media_type == TYPES["docker"]["manifest"]
    annotated = mutate(held.artifact(held.image()), Mutation(annotations=(Annotation("a", "b"),)))
    assert said(annotated.artifact)["annotations"] == {"a": "b"}
