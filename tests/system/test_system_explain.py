"""What ``explain`` and builds say of RUN: its command, variables, mounts and base, in whole builds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support import images
from tests.support.cli import pybuild, write_context
from tests.support.need import need_root

TEXT = """\
FROM base
ARG VERSION=1
ARG API_TOKEN=none
USER 5
RUN --mount=type=bind,source=lib,target=/lib-of-ours true $VERSION
RUN <<EOF
true
EOF
RUN ["true"]
"""


@pytest.fixture
def project(tmp_path: Path, busybox_rootfs: Path) -> Path:
    need_root("needs root: RUN")
    shutil.copytree(busybox_rootfs, tmp_path / "rootfs", symlinks=True)
    make_base(tmp_path)
    context = write_context(tmp_path / "context", TEXT, {"lib/a": "a", "unused": ""})
    build(context)
    return context


def make_base(folder: Path) -> None:
    shutil.rmtree(folder / "base", ignore_errors=True)
    (folder / "base").mkdir()
    images.write_layout(folder / "base", [images.tar_directory(folder / "rootfs")], container={"Cmd": ["sh"]})


def options(context: Path) -> list[str]:
    return ["--build-context", f"base=oci-layout://{context.parent / 'base'}:latest", str(context)]


def build(context: Path, *more: str) -> str:
    return pybuild("build", *more, *options(context), root=context.parent / "store").stderr


def explained(context: Path, *more: str) -> dict[str, Any]:
    done = pybuild("explain", "--json", *more, *options(context), root=context.parent / "store")
    return {one["name"].partition("] ")[2]: one for one in json.loads(done.stdout)["steps"]}


def changed(found: dict[str, Any]) -> dict[str, list[str]]:
    return {name: [change["component"] for change in one["changes"]] for name, one in found.items() if one["changes"]}


def test_an_argument_is_named_and_its_value_is_not_kept_if_it_looks_secret(project: Path) -> None:
    assert {one["cause"] for one in explained(project).values()} == {"hit"}
    found = explained(project, "--build-arg", "VERSION=2")
    assert set(map(tuple, changed(found).values())) == {("variable VERSION",)}
    assert found['RUN ["true"]']["reason"].startswith("variable VERSION: was '1', is '2'; also made of what is missing")
    found = explained(project, "--build-arg", "API_TOKEN=hunter2")
    assert set(map(tuple, changed(found).values())) == {("variable API_TOKEN",)}
    assert "hunter2" not in json.dumps(found)
    assert "MISS: variable VERSION: was '1', is '2'" in build(project, "--build-arg", "VERSION=2")


def test_a_file_behind_a_bind_mount_is_named(project: Path) -> None:
    (project / "lib/a").write_text("b")
    found = explained(project)
    assert list(changed(found).values()) == [["file lib/a"]]
    (bind,) = (name for name in found if name.startswith("bind /lib for"))
    assert found[bind]["cause"] == "changed"
    assert {one["cause"] for name, one in found.items() if name.startswith("RUN")} == {"parent"}


@pytest.mark.parametrize(
    ("before", "after", "component"),
    [
        ("true $VERSION", "true  $VERSION", "command"),
        ("EOF\ntrue", "EOF\ntrue;", "command"),
        ('RUN ["true"]', 'RUN ["true", "x"]', "command"),
        ("USER 5", "USER 6", "user"),
        ("USER 5", 'SHELL ["/bin/ash", "-c"]\nUSER 5', "shell"),
        ("target=/lib-of-ours", "target=/lib-of-yours", "--mount=bind /lib-of-yours"),
        ('RUN ["true"]', 'RUN --network=none ["true"]', "--network"),
        ('RUN ["true"]', 'RUN --mount=type=cache,target=/c ["true"]', "--mount=cache /c"),
    ],
)
def test_what_changed_in_the_dockerfile(project: Path, before: str, after: str, component: str) -> None:
    write_context(project, TEXT.replace(before, after))
    assert component in next(iter(changed(explained(project)).values()))


def test_another_base_is_named_with_its_digests(project: Path) -> None:
    (project.parent / "rootfs/new").write_text("new")
    make_base(project.parent)
    found = explained(project)
    (first,) = (one for one in found.values() if one["cause"] == "changed")
    (change,) = first["changes"]
    assert change["component"] == "base image"
    assert change["was"].partition("sha256:")[0] == change["now"].partition("sha256:")[0]
    assert change["was"] != change["now"]
    assert f"is {change['now']}" in build(project)


def test_what_is_copied_from_a_missing_stage_is_not_said_to_lie_on_something_new(project: Path) -> None:
    text = "FROM base AS build\nRUN echo 1 > /out\nFROM base\nCOPY --from=build /out /out\n"
    write_context(project, text)
    build(project)
    write_context(project, text.replace("echo 1", "echo 2"))
    found = explained(project)
    assert changed(found) == {"RUN echo 2 > /out": ["command"]}
    assert found["COPY --from=build /out /out"]["cause"] == "parent"
    (project.parent / "rootfs/new").write_text("new")
    make_base(project.parent)
    assert changed(explained(project))["COPY --from=build /out /out"] == ["base image"]


def test_metadata_tells_the_reason(project: Path, tmp_path: Path) -> None:
    (project / "lib/a").write_text("b")
    build(project, "--metadata-file", str(tmp_path / "metadata.json"))
    steps = json.loads((tmp_path / "metadata.json").read_text())["steps"]
    assert "file lib/a: contents changed" in [one.get("reason") for one in steps]
