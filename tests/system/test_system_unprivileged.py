"""Builds where nothing is allowed: no namespaces, mounts or capabilities, no name, nowhere to write but a volume."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tests.support import confine, trees
from tests.support.cli import digest_of, expect, write_context
from tests.support.commands import run
from tests.support.need import need_root, need_tool, public_directory
from tests.support.registry import TestRegistry
from tests.support.users import User

DOCKERFILE = """\
FROM scratch AS files
COPY src/a.txt /etc/a
FROM {base}
WORKDIR /srv/app
COPY --chown=app:app src/ ./
COPY --from=files /etc/ /srv/etc
ADD --chmod=600 src/a.txt /root/
COPY <<EOF /etc/motd
hello
EOF
USER app
"""
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def context(directory: Path, base: str, extra: str = "") -> Path:
    made = write_context(directory, DOCKERFILE.format(base=base) + extra, {"src/a.txt": "a", "src/sub/b": "b"})
    run(["chmod", "-R", "go+rX", made])
    return made


def confined(user: User, options: Sequence[str], *arguments: str | Path) -> list[str | Path]:
    """Return the command that runs pybuild confined, with the interpreter everybody can run."""
    text = Path(confine.__file__).read_text()
    return [user.python, "-c", text, *options, "--", user.python, "-m", "builder.cli.main", *arguments]


def layer_digests(registry: TestRegistry, repository: str, tag: str) -> list[str]:
    status, _, body = registry.get(f"/v2/{repository}/manifests/{tag}", MANIFEST)
    assert status == 200
    return [one["digest"] for one in json.loads(body)["layers"]]


def test_the_filter_bites(plain_user: User) -> None:
    text = Path(confine.__file__).read_text()
    unshare = [need_tool("unshare"), "--user", "true"]
    killed = plain_user.run(plain_user.python, "-c", text, "--kill", "--", *unshare, check=False)
    assert killed.returncode == -signal.SIGSYS
    refused = plain_user.run(plain_user.python, "-c", text, "--refuse", "--", *unshare, check=False)
    assert "Operation not permitted" in refused.stderr


def test_builds_and_pushes_without_namespaces_mounts_or_base_layers(
    plain_user: User, registry: TestRegistry, busybox_image: str
) -> None:
    """The filter kills whoever only tries unshare or mount; the access log says what was fetched."""
    folder = context(plain_user.home / "blocked", busybox_image)
    store = plain_user.home / "blocked-store"
    base = layer_digests(registry, "busybox", "latest")
    plain_user.run(*confined(plain_user, ["--kill"], "--root", store, folder))
    for digest in base:  # the table of contents of an earlier build is left, and none of the bytes
        (store / "blobs/sha256" / digest[7:9] / digest[7:]).unlink()
    shutil.rmtree(store / "selectors")

    mark = registry.mark()
    target = f"{registry.host}/unprivileged/app:1"
    done = plain_user.run(*confined(plain_user, ["--kill"], "--root", store, "-t", target, "--push", folder))
    requests = registry.requests(since=mark)
    assert [one for one in requests if one.method == "GET" and any(digest in one.path for digest in base)] == []
    mounted = [one for one in requests if one.method == "POST" and "mount=" in one.path and base[0][7:] in one.path]
    assert [one.status for one in mounted] == [201], requests
    assert not any((store / "blobs/sha256" / digest[7:9] / digest[7:]).exists() for digest in base)

    # The same again to where everything is: not a byte goes up either.
    mark = registry.mark()
    again = plain_user.run(*confined(plain_user, ["--kill"], "--root", store, "-t", target, "--push", folder))
    requests = registry.requests(since=mark)
    # An upload is begun and cancelled at the start, to see whether that is allowed.
    assert [one.method for one in requests if "/blobs/" in one.path and one.method != "HEAD"] == ["POST", "DELETE"]
    assert again.stdout == done.stdout

    pulled = plain_user.home / "pulled"
    skopeo = [need_tool("skopeo"), "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false"]
    run([*skopeo, f"docker://{target}", f"oci:{pulled}:x"])
    tree = trees.tree_of(pulled)
    assert (tree["srv/app/sub/b"].uid, tree["srv/app/sub/b"].gid) == (1000, 1000)
    assert tree["srv/etc/a"].sha256 == tree["root/a.txt"].sha256


class Pod:
    """What a hardened pod gives: a uid nobody knows, gid 0, nothing writable but 1 MiB of /tmp and maybe a volume."""

    def __init__(self, user: User, folder: Path) -> None:
        self.user = user
        self.folder = folder
        self.uid = random.Random("pod").randrange(1_000_000_000, 2_000_000_000)

    def pybuild(
        self, *arguments: str | Path, env: Mapping[str, str], status: int, volume: bool = True
    ) -> subprocess.CompletedProcess[str]:
        options = ["--read-only", "--refuse", f"--user={self.uid}:0"]
        if volume:
            options.append(f"--volume={self.folder / 'volume'}")
        environment = {"PATH": os.defpath, "PYTHONPATH": str(self.user.source), **env}
        done = run(confined(self.user, options, *arguments), env=environment, cwd=Path("/"), check=False)
        expect(done, status)
        return done


@pytest.fixture
def pod(plain_user: User) -> Iterator[Pod]:
    need_root("needs root: a read-only root filesystem in a mount namespace")
    with public_directory("pod") as folder:
        (folder / "volume").mkdir()
        yield Pod(plain_user, folder)


@pytest.mark.parametrize("home", [{}, {"HOME": "/"}], ids=["no-home", "home-is-root"])
def test_builds_and_pushes_in_a_hardened_pod(
    pod: Pod, registry: TestRegistry, busybox_image: str, home: Mapping[str, str]
) -> None:
    folder = context(pod.folder / "context", busybox_image)
    tag = f"{len(home)}"
    env = {"PYBUILD_ROOT": str(pod.folder / "volume/store"), **home}
    done = pod.pybuild("-t", f"{registry.host}/pod/app:{tag}", "--push", folder, env=env, status=0)
    status, headers, _ = registry.get(f"/v2/pod/app/manifests/{tag}", MANIFEST)
    assert (status, headers["docker-content-digest"]) == (200, digest_of(done))


def test_a_run_in_a_hardened_pod_is_refused_with_the_way_out(pod: Pod, busybox_image: str) -> None:
    folder = context(pod.folder / "context", busybox_image, "RUN true\n")
    done = pod.pybuild(folder, env={"PYBUILD_ROOT": str(pod.folder / "volume/store")}, status=71)
    assert "cannot create a user namespace" in done.stderr
    assert "hint: in Docker add --security-opt seccomp=unconfined" in done.stderr


def test_without_anything_writable_the_store_says_so(pod: Pod, busybox_image: str) -> None:
    folder = context(pod.folder / "context", busybox_image)
    done = pod.pybuild(folder, env={"HOME": "/"}, status=73, volume=False)
    assert "--root DIR" in done.stderr
