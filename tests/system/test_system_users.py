"""RUN of ordinary users: with subordinate ids everything is as for root, without them owners are only recorded."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import images, trees
from tests.support.cli import CHECKOUT, digest_of, expect, pybuild, write_context
from tests.support.commands import run
from tests.support.need import need_root, need_tool
from tests.support.users import User

QUICKSTART = CHECKOUT / "testdata/dockerfiles/quickstart"
OWNERS = """\
FROM base
RUN mkdir /d && echo x > /d/f && chown 33:44 /d/f && chown 65534 /d && chmod 4755 /d/f
USER app
RUN id -u > /tmp/who && id -G >> /tmp/who
"""
SAME = """\
FROM base
RUN mkdir -p /d/sub && echo x > /d/f && ln /d/f /d/g && ln -s f /d/s && rm /etc/group && chmod 1777 /d/sub
"""
Stage = Callable[[User, str], tuple[Path, str]]


@pytest.fixture
def stage(busybox_layout: Path) -> Stage:
    def made(user: User, dockerfile: str) -> tuple[Path, str]:
        """Give a user a context and the base; return the folder and the option that names the base."""
        folder = user.home / "project"
        shutil.rmtree(folder, ignore_errors=True)
        if dockerfile:
            write_context(folder / "context", dockerfile)
        else:
            shutil.copytree(QUICKSTART, folder / "context")
        shutil.copytree(busybox_layout, folder / "layout")
        run(["chown", "-R", f"{user.uid}:{user.gid}", folder])
        return folder, f"--build-context=base=oci-layout://{folder}/layout:latest"

    return made


def as_root(folder: Path, tmp_path: Path) -> str:
    named = f"--build-context=base=oci-layout://{folder}/layout:latest"
    return digest_of(pybuild("--source-date-epoch=0", named, folder / "context", root=tmp_path / "root-store"))


def warnings(text: str) -> list[str]:
    return [line for line in text.splitlines() if "continuing with one uid" in line]


def test_quickstart_with_subordinate_ids(subuid_user: User, stage: Stage, tmp_path: Path) -> None:
    need_root("needs root: other users")
    folder, named = stage(subuid_user, "")
    out = folder / "out.tar"
    build = [
        "--source-date-epoch=0",
        "--isolation=userns",
        named,
        "-t",
        "quickstart:1",
        "-o",
        f"type=docker,dest={out}",
    ]
    done = subuid_user.pybuild(*build, folder / "context")
    expect(done, 0)
    assert warnings(done.stderr) == []
    assert digest_of(done) == as_root(folder, tmp_path)
    tree = trees.tree_of(out)
    assert tree["srv/greetings/Ada"].type == "file"
    image = images.read_image(out, docker=True)
    assert image.config["config"]["Entrypoint"] == ["/usr/local/bin/greet"]
    assert run([need_tool("skopeo"), "inspect", f"docker-archive:{out}"]).returncode == 0


def test_quickstart_with_a_single_uid(plain_user: User, stage: Stage, tmp_path: Path) -> None:
    folder, named = stage(plain_user, "")
    out = folder / "out.tar"
    done = plain_user.pybuild("--source-date-epoch=0", named, "-o", f"type=docker,dest={out}", folder / "context")
    expect(done, 0)
    assert len(warnings(done.stderr)) == 1
    assert "usermod --add-subuids" in warnings(done.stderr)[0]
    assert digest_of(done) == as_root(folder, tmp_path)  # nothing in it has another owner than root
    again = plain_user.pybuild("--source-date-epoch=0", "--progress=plain", named, folder / "context")
    assert (digest_of(again), warnings(again.stderr)) == (digest_of(done), [])
    assert "DONE" not in again.stderr  # and no sandbox was started to find that out


def test_owners_with_subordinate_ids_are_exact(subuid_user: User, stage: Stage, tmp_path: Path) -> None:
    folder, named = stage(subuid_user, OWNERS)
    out = folder / "out.tar"
    done = subuid_user.pybuild("--source-date-epoch=0", named, "-o", f"type=oci,dest={out}", folder / "context")
    tree = trees.tree_of(out)
    owned = {path: (tree[path].uid, tree[path].gid, oct(tree[path].mode)) for path in ("d", "d/f", "tmp/who")}
    assert owned == {"d": (65534, 0, "0o755"), "d/f": (33, 44, "0o4755"), "tmp/who": (1000, 1000, "0o644")}
    assert digest_of(done) == as_root(folder, tmp_path)


def test_owners_with_a_single_uid_are_recorded_and_other_users_refused(
    plain_user: User, stage: Stage, tmp_path: Path
) -> None:
    folder, named = stage(plain_user, SAME)
    out = folder / "out.tar"
    done = plain_user.pybuild("--source-date-epoch=0", named, "-o", f"type=oci,dest={out}", folder / "context")
    below = len(images.read_image(folder / "layout").layers)
    layers = images.read_image(out).layers[below:]
    own = trees.tree_of_layers(layers)
    assert {(entry.uid, entry.gid) for entry in own.values()} == {(0, 0)}
    assert len(warnings(done.stderr)) == 1
    assert digest_of(done) == as_root(folder, tmp_path)

    write_context(folder / "context", OWNERS.partition("USER")[0])
    done = plain_user.pybuild("--source-date-epoch=0", named, folder / "context")
    assert digest_of(done) == as_root(folder, tmp_path)


def test_other_users_with_a_single_uid(plain_user: User, stage: Stage) -> None:
    folder, named = stage(plain_user, OWNERS)
    out = folder / "out.tar"
    refused = plain_user.pybuild(named, folder / "context", check=False)
    expect(refused, 71)
    assert "USER app: uid 1000 gid 1000 do not exist in this user namespace" in refused.stderr
    assert "usermod --add-subuids" in refused.stderr
    assert "--ignore-user" in refused.stderr
    plain_user.pybuild("--ignore-user", named, "-o", f"type=oci,dest={out}", folder / "context")
    tree = trees.tree_of(out)
    owned = {path: (tree[path].uid, tree[path].gid) for path in ("d", "d/f", "tmp/who")}
    assert owned == {"d": (65534, 0), "d/f": (33, 44), "tmp/who": (0, 0)}
    assert images.read_image(out).config["config"]["User"] == "app"
    expect(plain_user.pybuild(named, folder / "context", check=False), 71)  # what that made is not for everybody


def test_an_isolation_that_is_not_there_is_refused(plain_user: User, stage: Stage) -> None:
    folder, named = stage(plain_user, "FROM base\nRUN true\n")
    for isolation, hint in (("root", "isolation=root needs root"), ("userns", "no range for user")):
        done = plain_user.pybuild(named, f"--isolation={isolation}", folder / "context", check=False)
        expect(done, 71)
        assert hint in done.stderr


def test_nothing_is_left_behind(subuid_user: User, plain_user: User, stage: Stage) -> None:
    for user in (subuid_user, plain_user):
        folder, named = stage(user, SAME)
        user.pybuild("--root", folder / "store", "--no-cache", named, folder / "context")
        assert list((folder / "store/tmp").iterdir()) == []
        assert run(["pgrep", "-u", str(user.uid)], check=False).stdout == ""
