"""The Dockerfiles of testdata/dockerfiles that have an expected result, and how that is written down.

A case is a folder with a Dockerfile, the build context in ``context/`` (missing: an empty one), what git cannot keep
made by ``prepare.sh`` in a copy of it, and expected.json. ``options.json`` may hold

    args        more arguments of pybuild; {work} is the folder of the copy
    bases       images next to ``base``: name -> the ``config`` member of its configuration
    root        true: needs root, for devices and owners in the context
    buildah     true (as if left out), or why buildah's answer is not the right one
    buildah_args  what buildah needs where its options are spelled otherwise
    docker      true (as if left out), or why Docker's answer is another one
    docker_args  what Docker needs where its options are spelled otherwise
    fails       true: the build has to fail; expected.json then has the exit status and a part of the message

expected.json has the configuration, the history, the names in every layer, and the tree where it differs from the
base's (or from nothing).
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import posixpath
import shutil
import sys
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import images, trees
from tests.support.commands import run
from tests.support.need import need_root

CHECKOUT = Path(__file__).resolve().parents[2]
FOLDER = CHECKOUT / "testdata" / "dockerfiles"
_SHOWN = 160
_EMPTY = {".": trees.Entry("dir", 0o755, 0, 0, 0, "", (), "", (), 0)}


@dataclass(frozen=True)
class Case:
    """One folder."""

    name: str
    options: Mapping[str, Any]

    @property
    def folder(self) -> Path:
        return FOLDER / self.name

    @property
    def dockerfile(self) -> Path:
        return self.folder / "Dockerfile"

    @property
    def expected(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "expected.json").read_text()))

    @property
    def runs(self) -> bool:
        """Whether a step of it needs a sandbox."""
        return any("RUN " in line for line in self.dockerfile.read_text().splitlines())

    def write(self, result: Mapping[str, Any]) -> None:
        text = json.dumps(result, indent=2, ensure_ascii=False)
        (self.folder / "expected.json").write_text(text + "\n")

    def copy(self, work: Path) -> Path:
        """Copy the case to ``work`` with modes that no umask decides, prepare its context, and return that."""
        context = work / "context"
        if (self.folder / "context").exists():
            shutil.copytree(self.folder / "context", context, symlinks=True)
        else:
            context.mkdir()
        _settle(context)
        shutil.copy(self.dockerfile, work / "Dockerfile")
        ignore = self.folder / "Dockerfile.dockerignore"
        if ignore.exists():
            shutil.copy(ignore, work / "Dockerfile.dockerignore")
        if (self.folder / "prepare.sh").exists():
            script = f'umask 022; . "{self.folder}/prepare.sh"'
            run(["sh", "-euc", script], cwd=context, env={**os.environ, "PYTHON": sys.executable})
        return context

    def arguments(self, name: str, work: Path) -> list[str]:
        return [text.replace("{work}", str(work)) for text in self.options.get(name, ())]


def _settle(context: Path) -> None:
    for path in (context, *context.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)


def find() -> list[Case]:
    """Return every case, by name: folders without expected.json but with options.json or not are new ones."""
    cases = []
    for folder in sorted(FOLDER.iterdir()):
        if folder.name == "quickstart" or not (folder / "Dockerfile").exists():
            continue
        options = folder / "options.json"
        cases.append(Case(folder.name, json.loads(options.read_text()) if options.exists() else {}))
    return cases


@dataclass(frozen=True)
class Bases:
    """Layouts of the images that cases build on, all with one and the same layer."""

    folder: Path
    layer: bytes
    tree: trees.Tree

    def layout(self, name: str, container: Mapping[str, Any]) -> Path:
        """Return the layout of the base ``name``, written if it is not there yet."""
        target = self.folder / name
        if not target.exists():
            images.write_layout(target, [self.layer], container=container)
        return target

    def of(self, case: Case) -> dict[str, Path]:
        """Return the layouts of every base that ``case`` names, ``base`` among them."""
        found = {"base": self.layout("base", {"Cmd": ["sh"]})}
        for name, container in case.options.get("bases", {}).items():
            found[name] = self.layout(f"{case.name}-{name}", container)
        return found


def make_bases(busybox_layout: Path, folder: Path) -> Bases:
    """Make the bases from the busybox of the tests."""
    (layer,) = images.read_image(busybox_layout).layers
    return Bases(folder, images.inflate(layer), trees.tree_of(busybox_layout))


def pybuild(*arguments: str | Path, root: Path, check: bool = True) -> Any:
    """Run this checkout's command line as a process of its own, with the store ``root``."""
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "PYBUILD_ROOT": str(root)}
    return run([sys.executable, "-m", "builder.cli.main", *arguments], env=environment, check=check)


def build(
    case: Case, bases: Bases, work: Path, root: Path, command_line: Callable[..., Any] = pybuild
) -> dict[str, Any]:
    """Build ``case`` with a command line like ours and return its result in the form of expected.json."""
    if case.runs or case.options.get("root"):
        need_root("needs root: a sandbox whose owners are real, or a context with other users' files")
    context = case.copy(work)
    named = [f"--build-context={name}=oci-layout://{path}:latest" for name, path in bases.of(case).items()]
    output = work / "image.tar"
    command: list[str | Path] = [
        "--file",
        work / "Dockerfile",
        "--output",
        f"type=oci,dest={output}",
        "--format=docker",
        *named,
    ]
    fails = bool(case.options.get("fails"))
    done = command_line(*command, *case.arguments("args", work), context, root=root, check=not fails)
    if fails:
        assert done.returncode != 0, "this build has to fail"
        return {"exit": done.returncode, "error": _error(done.stderr, work)}
    return describe(images.read_image(output), bases.tree)


def _error(said: str, work: Path) -> str:
    (first, *_) = [line for line in said.splitlines() if "error: " in line] or ["?"]
    return first.partition("error: ")[2].replace(str(work), "WORK")


# --- results as text


def describe(image: images.StoredImage, base: trees.Tree) -> dict[str, Any]:
    """Return an image as expected.json has it."""
    below = sum(_is_of_base(one) for one in image.config["history"])
    # Its size and digest are those of this machine's busybox.
    contents = {**_texts(image.layers), base["bin/busybox"].sha256: "(busybox)"}
    return {
        **({"author": image.config["author"]} if image.config.get("author") else {}),
        "config": container_of(image.config),
        "history": history_of(image.config),
        "layers": [_names(layer) for layer in image.layers[below:]],
        "tree": changes(base if below else _EMPTY, trees.tree_of_layers(image.layers), contents),
    }


def container_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ``config`` member of a configuration without what is empty, and without Docker's old leftovers."""
    old = ("Hostname", "Domainname", "Image", "AttachStdout", "ArgsEscaped", "Tty")
    kept = {key: value for key, value in config.get("config", {}).items() if value and key not in old}
    return dict(sorted(kept.items()))


def history_of(config: Mapping[str, Any]) -> list[str]:
    """Return the instructions of a history, those without a layer in parentheses; the base's are left out."""
    lines = []
    for one in config.get("history", ()):
        if not _is_of_base(one):
            text = one.get("created_by", "")
            lines.append(f"({text})" if one.get("empty_layer") else text)
    return lines


def _is_of_base(one: Mapping[str, Any]) -> bool:
    return str(one.get("created_by", "")).startswith("test layer")


def _names(layer: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(images.inflate(layer)), mode="r:") as archive:
        return [member.name + ("/" if member.isdir() else "") for member in archive]


def changes(base: trees.Tree, tree: trees.Tree, contents: Mapping[str, str]) -> dict[str, str]:
    """Say, for every path that differs between two trees, what is there now; ``contents`` is texts by digest."""
    found = {}
    for path in sorted(base.keys() | tree.keys()):
        if path not in tree:
            if posixpath.dirname(path) in tree or "/" not in path:
                found[path] = "gone"
        elif path not in base or base[path]._replace(mtime=0) != tree[path]._replace(mtime=0):
            found[path] = _line(path, tree[path], contents)
    return found


def _texts(layers: Sequence[bytes]) -> dict[str, str]:
    """Return the short texts among the files of ``layers``, quoted, by their digest."""
    found = {}
    for layer in layers:
        with tarfile.open(fileobj=io.BytesIO(images.inflate(layer)), mode="r:") as archive:
            for member in archive:
                if member.isreg() and member.size <= _SHOWN:
                    stream = archive.extractfile(member)
                    data = stream.read() if stream else b""
                    found[hashlib.sha256(data).hexdigest()] = json.dumps(data.decode("utf-8", "backslashreplace"))
    return found


def _line(path: str, entry: trees.Entry, contents: Mapping[str, str]) -> str:
    words = [entry.type, f"{entry.mode:04o}", f"{entry.uid}:{entry.gid}"]
    if entry.type == "link":
        words = ["link", f"{entry.uid}:{entry.gid}"]
    if entry.link:
        words.append(f"-> {entry.link}")
    if entry.group:
        others = [name for name in entry.group if name != path]
        words.append(f"= {' '.join(others)}")
    if entry.type == "file":
        words.append(contents.get(entry.sha256) or f"{entry.size} bytes {entry.sha256[:16]}")
    words += [f"{name}={value.decode('utf-8', 'backslashreplace')}" for name, value in entry.xattrs]
    return " ".join(words)
