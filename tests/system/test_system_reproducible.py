"""The same bytes from every checkout, machine, user, day and interpreter; the same digest from a full cache."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support import images
from tests.support.cli import CHECKOUT, digest_of, environment, pybuild, write_context
from tests.support.commands import run
from tests.support.need import need, need_root, need_tool
from tests.support.pythons import interpreter
from tests.support.users import User

DOCKERFILE = """\
FROM base AS build
WORKDIR /src
COPY . .
RUN mkdir -p /out/deep && cat names/* > /out/deep/all && ln /out/deep/all /out/link && rm names/b
FROM base
ENV LANG=C
COPY --from=build --chmod=u=rwX,go=rX /out/ /opt/
COPY --chown=1:2 names /names
ADD archive.tar /from-archive/
WORKDIR /made/by/workdir
COPY <<EOF /greeting
hello
EOF
CMD ["cat", "/opt/link"]
"""
AWKWARD = ("Straße", "zz-ÿ", "a b", "A", "ä")
TIME = "1600000000 +0000"


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with awkward names, an executable, a symlink and an archive."""
    folder = tmp_path_factory.mktemp("origin")
    files: dict[str, str | bytes] = {f"names/{name}": f"{name}\n" for name in (*AWKWARD, "b")}
    files["archive.tar"] = images.layer(images.directory("d", mtime=5), images.file("d/f", b"x", 0o640, mtime=6))
    files["tool.sh"] = "#!/bin/sh\n"
    write_context(folder, DOCKERFILE, files)
    (folder / "tool.sh").chmod(0o755)
    (folder / "link").symlink_to("names/a b")
    git = [need_tool("git"), "-C", folder, "-c", "user.name=t", "-c", "user.email=t@t"]
    dates = {**os.environ, "GIT_AUTHOR_DATE": TIME, "GIT_COMMITTER_DATE": TIME}
    run([*git, "init", "--quiet"])
    run([*git, "add", "--all"])
    run([*git, "commit", "--quiet", "--message=all"], env=dates)
    return folder


def clone(origin: Path, target: Path, umask: str, seed: int) -> Path:
    """Clone with a umask, and give every file and directory another mtime."""
    run(["sh", "-c", f"umask {umask} && exec git clone --quiet --no-hardlinks '{origin}' '{target}'"])
    chance = random.Random(seed)
    for directory, _, names in os.walk(target):
        if ".git" in Path(directory).parts:
            continue
        for name in (*sorted(names), "."):
            time = chance.randrange(1, 4_000_000_000)
            os.utime(os.path.join(directory, name), (time, time), follow_symlinks=False)
    return target


def build(context: Path, layout: Path, out: Path, root: Path, **how: object) -> bytes:
    named = f"--build-context=base=oci-layout://{layout}:latest"
    arguments = ["--reproducible", named, "-t", "app:1", "-o", f"type=oci,dest={out}", "--jobs", "4"]
    pybuild(*arguments, context, root=root, **how)  # type: ignore[arg-type]  # options of pybuild handed through
    return out.read_bytes()


def test_two_clones_give_the_same_bytes(origin: Path, busybox_layout: Path, tmp_path: Path) -> None:
    """Other mtimes, umask, store, time zone, language, hash seed and working directory."""
    need_root("needs root: RUN")
    first = clone(origin, tmp_path / "one", "0000", 1)
    second = clone(origin, tmp_path / "somewhere/else", "077", 2)
    one: Mapping[str, str | None] = {"TZ": "Pacific/Kiritimati", "LANG": "C", "LC_ALL": "C", "PYTHONHASHSEED": "1"}
    two = {"TZ": "America/Caracas", "LANG": "tr_TR.UTF-8", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "2"}
    ours = build(first, busybox_layout, tmp_path / "1.tar", tmp_path / "s1", env=one)
    theirs = build(Path("."), busybox_layout, tmp_path / "2.tar", tmp_path / "store/two", env=two, cwd=second)
    assert hashlib.sha256(ours).digest() == hashlib.sha256(theirs).digest()
    image = images.read_image(tmp_path / "1.tar")
    assert image.config["created"] == "2020-09-13T12:26:40Z"


def test_root_and_an_ordinary_user_give_the_same_bytes(
    origin: Path, busybox_layout: Path, tmp_path: Path, plain_user: User, subuid_user: User
) -> None:
    ours = build(clone(origin, tmp_path / "one", "022", 3), busybox_layout, tmp_path / "1.tar", tmp_path / "s1")
    for user, seed in ((subuid_user, 4), (plain_user, 5)):
        folder = user.home / "reproducible"
        shutil.copytree(busybox_layout, folder / "layout")
        context = clone(origin, folder / "context", "027", seed)
        run(["chown", "-R", f"{user.uid}:{user.gid}", folder])
        out = folder / "out.tar"
        named = f"--build-context=base=oci-layout://{folder}/layout:latest"
        user.pybuild("--reproducible", named, "-t", "app:1", "-o", f"type=oci,dest={out}", context)
        assert hashlib.sha256(out.read_bytes()).digest() == hashlib.sha256(ours).digest(), user.name


@pytest.mark.parametrize("version", [one for one in ("3.11", "3.12", "3.13") if not sys.version.startswith(one)])
def test_every_interpreter_gives_the_same_bytes(
    origin: Path, busybox_layout: Path, tmp_path: Path, version: str
) -> None:
    need_root("needs root: RUN")
    other = interpreter(version)
    ours = build(clone(origin, tmp_path / "one", "022", 6), busybox_layout, tmp_path / "1.tar", tmp_path / "s1")
    theirs = build(
        clone(origin, tmp_path / "two", "002", 7), busybox_layout, tmp_path / "2.tar", tmp_path / "s2", python=other
    )
    assert hashlib.sha256(ours).digest() == hashlib.sha256(theirs).digest()


@pytest.mark.parametrize("processors", ["0", "0,1"])
def test_any_number_of_processors_gives_the_same_bytes(
    origin: Path, busybox_layout: Path, tmp_path: Path, processors: str
) -> None:
    need_root("needs root: RUN")
    need(len(os.sched_getaffinity(0)) >= 2, "needs two processors")
    usable = sorted(os.sched_getaffinity(0))
    chosen = ",".join(str(usable[int(one)]) for one in processors.split(","))
    fewer = tmp_path / "python"
    fewer.write_text(f'#!/bin/sh\nexec {need_tool("taskset")} --cpu-list {chosen} {sys.executable} "$@"\n')
    fewer.chmod(0o755)
    context = clone(origin, tmp_path / "one", "022", 8)
    ours = build(context, busybox_layout, tmp_path / "1.tar", tmp_path / "s1")
    theirs = build(context, busybox_layout, tmp_path / "2.tar", tmp_path / "s2", python=fewer)
    assert hashlib.sha256(ours).digest() == hashlib.sha256(theirs).digest()


@pytest.mark.parametrize("options", [[], ["--source-date-epoch", "1700000000"], ["--reproducible"]], ids=str)
def test_a_full_cache_gives_the_same_digest(
    origin: Path, busybox_layout: Path, store_root: Path, options: list[str]
) -> None:
    need_root("needs root: RUN")
    arguments = [*options, f"--build-context=base=oci-layout://{busybox_layout}:latest", "--progress=plain"]
    first = pybuild(*arguments, origin, root=store_root)
    again = pybuild(*arguments, origin, root=store_root)
    assert digest_of(again) == digest_of(first)
    assert "CACHED" in again.stderr
    assert "DONE" not in again.stderr


_SPARED = (
    *("lark", "httpx", "rich", "tomli", "dataclasses", "inspect", "datetime", "shutil", "subprocess", "tempfile"),
    *("builder.dockerfile.parser", "builder.engine.copying", "builder.engine.runs", "builder.rootfs.pack"),
    *("builder.rootfs.view", "builder.registry.client", "builder.cli.config"),
)
"""What a build that executes nothing never needs, and what would cost it most to load."""


def test_a_full_cache_loads_no_parser_and_no_network_client(
    origin: Path, busybox_layout: Path, store_root: Path
) -> None:
    need_root("needs root: RUN")
    arguments = [f"--build-context=base=oci-layout://{busybox_layout}:latest", "--progress=plain", str(origin)]
    pybuild(*arguments, root=store_root)
    text = "import sys\nfrom builder.cli.main import main\ncode = main(sys.argv[1:])\nprint(sorted(sys.modules))\n"
    done = run([sys.executable, "-c", text, *arguments], env=environment(store_root), cwd=CHECKOUT)
    loaded = done.stdout.splitlines()[-1]
    assert [name for name in _SPARED if f"'{name}'" in loaded] == []
