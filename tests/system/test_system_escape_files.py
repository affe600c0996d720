"""Getting out of a RUN by names: files of users that are none, mounts that lead elsewhere, directories behind links."""

from __future__ import annotations

import contextlib
import os
import pty
import stat
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.cli import environment, pybuild, write_context
from tests.support.images import directory, file, layer, member, symlink, tar_directory, write_layout
from tests.support.need import need_root
from tests.support.users import User

SECRET = "the-hosts-own-secret"
UP = "../" * 40


class Yard:
    """A store, a context and a place of the host with a file that no image may show or change."""

    def __init__(self, root: Path, rootfs: Path) -> None:
        self.root = root
        self.rootfs = rootfs
        self.host = root / "host"
        self.host.mkdir()
        (self.host / "secret").write_text(SECRET)
        (self.host / "passwd").write_text("mallory:x:4242:4242::/:/bin/sh\n")

    def base(self, *members: tarfile.TarInfo | tuple[tarfile.TarInfo, bytes]) -> str:
        """Write an image of busybox with ``members`` on top; return the argument that makes it the base."""
        layout = self.root / "base"
        write_layout(layout, [tar_directory(self.rootfs), layer(*members)])
        return f"--build-context=base=oci-layout://{layout}:latest"

    def build(self, dockerfile: str, *arguments: str, status: int | Sequence[int] = 0) -> str:
        """Build; return all that was said, without the host's secret in it and with the host as it was."""
        context = write_context(self.root / "context", dockerfile)
        done = pybuild("--progress=plain", *arguments, context, root=self.root / "store", status=status)
        said = done.stdout + done.stderr
        assert SECRET not in said
        assert sorted(os.listdir(self.host)) == ["passwd", "secret"]
        assert (self.host / "secret").read_text() == SECRET
        return said


@pytest.fixture
def yard(tmp_path: Path, busybox_rootfs: Path) -> Yard:
    need_root("needs root: RUN")
    return Yard(tmp_path, busybox_rootfs)


def hostile_database(kind: str, name: str, host: Path) -> list[tarfile.TarInfo | tuple[tarfile.TarInfo, bytes]]:
    """Return what makes ``/etc/NAME`` something else than the file it should be."""
    gone = file(f"etc/.wh.{name}")
    match kind:
        case "fifo":
            return [gone, member(f"etc/{name}", tarfile.FIFOTYPE)]
        case "zero":
            return [gone, member(f"etc/{name}", tarfile.CHRTYPE, devmajor=1, devminor=5)]
        case "directory":
            return [gone, directory(f"etc/{name}")]
        case "link-to-root":
            return [gone, symlink(f"etc/{name}", "/")]
        case "link-to-itself":
            return [gone, symlink(f"etc/{name}", name)]
        case "link-to-host":
            return [gone, symlink(f"etc/{name}", f"{UP}{host}/passwd")]
        case "link-to-proc":
            return [gone, symlink(f"etc/{name}", "/proc/self/root/etc/passwd")]
        case _:
            return [file(f"etc/{name}", b"\xff\0:" * 100_000 + b"\nmallory:x:99999999999999999999:1::/:\n")]


KINDS = ("fifo", "zero", "directory", "link-to-root", "link-to-itself", "link-to-host", "link-to-proc", "garbage")


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_files_of_users(yard: Yard, kind: str) -> None:
    """Numbers work whatever is there, names are unknown; nothing is waited for, and nothing of the host is read."""
    members = [one for name in ("passwd", "group") for one in hostile_database(kind, name, yard.host)]
    base = yard.base(*members)
    said = yard.build("FROM base\nUSER 7:8\nRUN grep -E '^(Uid|Gid)' /proc/self/status\n", base)
    assert "Uid:\t7\t7\t7\t7" in said
    assert "Gid:\t8\t8\t8\t8" in said
    for user, file_name in (("mallory", "passwd"), ("0:mallory", "group")):
        said = yard.build(f"FROM base\nUSER {user}\nRUN id\n", base, status=71)
        assert f"'mallory' in /etc/{file_name} of the image" in said
    yard.build("FROM base\nCOPY --chown=mallory Dockerfile /\n", base, status=(66, 67))


def test_a_file_of_users_that_a_step_made_large(yard: Yard) -> None:
    said = yard.build("FROM base\nRUN truncate -s 11534336 /etc/passwd\nUSER app\nRUN id\n", yard.base(), status=71)
    assert "no such user 'app'" in said


MOUNTS = {
    "absolute": "target=/link/in",
    "dots": "target=/dots/in",
    "chain": "target=/chain/in",
    "written-dots": f"target={UP}dots/in",
}


@pytest.mark.parametrize("where", MOUNTS)
def test_targets_of_mounts(yard: Yard, where: str) -> None:
    links = (
        symlink("link", str(yard.host)),
        symlink("dots", UP + str(yard.host).lstrip("/")),
        symlink("chain", "link"),
    )
    secret = yard.root / "token"
    secret.write_text("token")
    kinds = ("bind,source=Dockerfile", "cache", "tmpfs", "secret,id=token")
    steps = [
        f"RUN --mount=type={kind},{MOUNTS[where]} cat {yard.host}/secret || find {yard.host} -name in\n"
        for kind in kinds
    ]
    said = yard.build("FROM base\n" + "".join(steps), yard.base(*links), f"--secret=id=token,src={secret}")
    # It is inside of the image, under the name it has outside, that something was mounted.
    assert said.count(f"| {yard.host}/in") == len(kinds)


@pytest.mark.parametrize("source", ["link", "dots", "dir/../../../host", "../host", "/host"])
def test_sources_of_bind_mounts(yard: Yard, source: str) -> None:
    context = write_context(yard.root / "context", "")
    (context / "link").symlink_to(yard.host)
    (context / "dots").symlink_to("../host")
    (context / "dir").mkdir()
    said = yard.build(f"FROM base\nRUN --mount=type=bind,source={source},target=/in ls /in\n", yard.base(), status=66)
    assert "not found" in said


@pytest.mark.parametrize("kind", ["link", "dots"])
def test_sources_of_cache_mounts(yard: Yard, kind: str) -> None:
    """An earlier step leaves a link in the cache, where a later one mounts it."""
    target = str(yard.host) if kind == "link" else UP + str(yard.host).lstrip("/")
    yard.build(
        f"FROM base\nRUN --mount=type=cache,id=c,target=/c ln -s {target} /c/out\n"
        "RUN --mount=type=cache,id=c,source=out,target=/in cat /in/secret; touch /in/made; rm -f /in/secret\n",
        yard.base(),
    )


@pytest.mark.parametrize("target", ["/link", "/dots"])
def test_working_directories(yard: Yard, target: str) -> None:
    links = (symlink("link", str(yard.host)), symlink("dots", UP + str(yard.host).lstrip("/")))
    dockerfile = f"FROM base\nWORKDIR {target}/made\nRUN touch here; cat ../secret || true\nCOPY Dockerfile {target}/\n"
    yard.build(dockerfile, yard.base(*links))


def test_links_made_by_a_step_under_its_mounts(yard: Yard) -> None:
    """What is tidied up after a step is what was made for it, whatever the step put in its place."""
    yard.build(
        "FROM base\nRUN --mount=type=tmpfs,target=/new/in true\n"
        f"RUN --mount=type=cache,target=/a/b/c mv /a /moved; ln -s {yard.host} /a; true\n"
        f"RUN rm -rf /etc/resolv.conf /etc/hosts /dev; rm -rf /proc/1; ln -s {yard.host} /new; true\n",
        yard.base(),
    )


def test_a_step_has_no_terminal(yard: Yard) -> None:
    """Nothing can be typed into the terminal that the builder was started in."""
    context = write_context(
        yard.root / "context", "FROM base\nRUN (cat </dev/tty) || echo none\nRUN tty; test ! -t 1\n"
    )
    command = ["--progress=plain", yard.base(), context]
    ready = (
        "import fcntl, os, sys; fcntl.ioctl(0, 0x540E, 0); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    )
    master, terminal = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", ready, "-m", "builder.cli.main", *command],
        stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True, env=environment(yard.root / "store"),
    )  # fmt: skip
    os.close(terminal)
    said = b""
    with contextlib.suppress(OSError), open(master, "rb", buffering=0) as stream:
        while part := stream.read(65536):
            said += part
    assert child.wait() == 0, said.decode()
    words = said.decode().split()
    assert "none" in words
    assert "terminal" not in [
        line.split()[-1] for line in said.decode().splitlines() if "RUN" not in line and line.split()
    ]


def test_what_steps_make_setuid_is_out_of_other_users_reach(yard: Yard, plain_user: User) -> None:
    """Layers lie unpacked in the store, with their owners and modes: only the store's own mode keeps people out."""
    yard.root.chmod(0o755)
    yard.build("FROM base\nRUN cp /bin/busybox /rootshell; chmod 4755 /rootshell\nRUN true\n", yard.base())
    found = [path for path in (yard.root / "store").rglob("rootshell") if path.stat().st_mode & stat.S_ISUID]
    assert found
    assert plain_user.run(found[0], "id", check=False).returncode != 0
    assert stat.S_IMODE((yard.root / "store").stat().st_mode) == 0o700
