"""Bases as old tools made them: layers without the entries of parents, and with entries below a symbolic link.

RUN and COPY must see and make the tree that umoci unpacks from all layers in their order, whatever order and company
the layers were unpacked in. (Not here: a whiteout below a symbolic link. umoci follows it, overlay engines do not, and
neither do we.)
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support import images, trees
from tests.support.commands import run
from tests.support.goldens import pybuild
from tests.support.images import directory, file, hardlink, layer, symlink
from tests.support.need import need_root, need_tool

BASES = {
    # The second layer says nothing of /tmp, whose 1777 and owner have to survive.
    "no-entry-of-tmp": [
        layer(directory("tmp", 0o1777, uid=3, gid=4), directory("opt", 0o750)),
        layer(file("tmp/inside", "x\n"), file("opt/deep/er", "y\n")),
    ],
    # /var/run is a link: what a later layer has below it lands in /run.
    "below-a-link": [
        layer(directory("run", 0o711), directory("var"), symlink("var/run", "/run")),
        layer(directory("var/run/dir", 0o700), file("var/run/x", "x\n"), file("var/run/dir/y", "y\n")),
        layer(hardlink("var/run/again", "var/run/x"), symlink("var/run/self", "../run/x")),
    ],
    "hard-link-to-a-lower-layer": [
        layer(directory("data"), file("data/one", "1\n", uid=7)),
        layer(hardlink("data/two", "data/one"), hardlink("three", "/data/one")),
    ],
    "opaque-and-again": [
        layer(directory("d"), file("d/old", "o\n"), directory("d/sub"), file("d/sub/old", "o\n")),
        layer(directory("d", 0o750), file("d/.wh..wh..opq"), file("d/new", "n\n")),
        layer(file("d/sub/newer", "n\n"), file(".wh.gone-before-it-was")),
    ],
    "types-replaced": [
        layer(
            directory("a"), file("a/x", "x\n"), file("b", "b\n"), symlink("c", "a"), directory("e"), file("e/f", "f\n")
        ),
        layer(
            file("a", "now a file\n"),
            directory("b"),
            file("b/y", "y\n"),
            directory("c"),
            file("c/z", "z\n"),
            symlink("e", "b"),
        ),
    ],
    "dotted-and-absolute-names": [
        layer(directory("./"), directory("./etc/"), file("./etc/one", "1\n"), file("/abs/two", "2\n")),
        layer(file("etc//three", "3\n"), file("./abs/./four", "4\n")),
    ],
}
RUN_HAS = {"dev", "proc", "sys", "etc", "etc/hosts", "etc/resolv.conf"}
DOCKERFILES = {
    "run": "FROM base\nRUN find / -xdev > /made-by-run\n",
    "copy": "FROM base\nCOPY file /made-by-copy\n",
    "run-writes-there": """FROM base
RUN for d in /tmp /var/run /opt /data /d /c /etc /abs; do [ ! -d $d ] || echo w > $d/written; done
RUN rm -f /tmp/inside /run/x /data/one /d/new /etc/one
""",
    "copy-into-there": """FROM base
COPY file /tmp/
COPY file /var/run/copied/
COPY file /opt/deep/
COPY tree /
""",
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for all: layers unpacked for one base are there when another has them too."""
    return tmp_path_factory.mktemp("odd") / "store"


@pytest.mark.parametrize("base", BASES)
def test_the_tree_is_the_one_umoci_unpacks(base: str, busybox_layout: Path, root: Path, tmp_path: Path) -> None:
    need_root("needs root: owners, and what umoci unpacks")
    (bottom,) = images.read_image(busybox_layout).layers
    images.write_layout(tmp_path / "base", [_only_programs(bottom), *BASES[base]], tag="b")
    before = unpacked(tmp_path / "base", "b", tmp_path)
    for name, dockerfile in DOCKERFILES.items():
        context = tmp_path / f"context-{name}"
        (context / "tree/run").mkdir(parents=True)
        for path in ("file", "tree/run/new", "tree/top"):
            (context / path).write_text("from the context\n")
        (context / "Dockerfile").write_text(dockerfile)
        layout = tmp_path / f"out-{name}"
        named = f"--build-context=base=oci-layout://{tmp_path}/base:b"
        pybuild(named, "--tag=x:1", f"--output=type=oci,dest={layout},tar=false", context, root=root)
        after = unpacked(layout, "1", tmp_path)
        # What our own reader of tests, and we ourselves, make of the layers is what umoci makes of them.
        assert trees.difference(trees.tree_of(layout), after) == []
        if name in ("run", "copy"):
            made = f"made-by-{name}"
            assert trees.difference(before, after) == [f"{made}: only in theirs (file 644)"]
            assert made in after
        if name == "run":
            seen = (tmp_path / "bundle-out-run/rootfs/made-by-run").read_text().split()
            assert {path.lstrip("/") or "." for path in seen} | RUN_HAS == {*before, "made-by-run"} | RUN_HAS
        else:
            # tree/run describes /run, as a copied directory's own directories do.
            kept = {path for path in before.keys() & after.keys() if before[path].type == "dir"} - {"run"}
            assert {path: before[path].mode for path in kept} == {path: after[path].mode for path in kept}
        if name == "run-writes-there":
            again = tmp_path / "again"
            again.mkdir()
            pybuild(named, f"--output=type=tar,dest={again}/rootfs.tar", context, root=root)
            assert trees.difference(trees.tree_of(again / "rootfs.tar"), after) == []


def _only_programs(bottom: bytes) -> bytes:
    """Return a layer with busybox alone, so that nothing stands in the way of the odd layers."""
    import io
    import tarfile

    with tarfile.open(fileobj=io.BytesIO(images.inflate(bottom))) as archive:
        stream = archive.extractfile("./bin/busybox")
        assert stream is not None
        program = stream.read()
    links = [symlink(f"bin/{name}", "busybox") for name in ("sh", "rm", "find")]
    return layer(directory("bin"), file("bin/busybox", program, 0o755), *links)


def unpacked(layout: Path, tag: str, tmp_path: Path) -> trees.Tree:
    bundle = tmp_path / f"bundle-{layout.name}"
    run([need_tool("umoci"), "unpack", "--image", f"{layout}:{tag}", bundle])
    assert json.loads((bundle / "config.json").read_text())["ociVersion"]
    return trees.tree_of(bundle / "rootfs")
