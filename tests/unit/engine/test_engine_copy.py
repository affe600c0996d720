"""COPY on the file system it finds, rule by rule (dockerfile.md 1.8, semantics 1 to 16, 21, 22).

``BASE`` is what every build starts from; expected trees list only what is not in it.
"""

from __future__ import annotations

import io
import os
import socket
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.errors import BuilderError, ContextError
from tests.support.builds import Built, Files, Workshop
from tests.support.images import clean, directory, file, hardlink, inflate, layer, symlink, write_layout

PASSWD = "root:x:0:0::/root:/bin/sh\nuser:x:1000:1001::/home/user:/bin/sh\n"
GROUP = "root:x:0:\nstaff:x:50:user\n"

BASE = layer(
    directory("etc"),
    file("etc/passwd", PASSWD),
    file("etc/group", GROUP),
    directory("tmp", 0o1777),
    directory("dir", 0o750, uid=7, gid=8),
    file("dir/old", "old", 0o600, uid=7),
    directory("dir/sub", 0o700, uid=9),
    directory("groups", 0o2775, uid=5, gid=6),
    file("file", "file"),
    symlink("link", "dir"),
    symlink("abs", "/dir/sub"),
    symlink("up", "../../../dir"),
    symlink("dangling", "made/by/copy"),
    symlink("flink", "file"),
    symlink("loop1", "loop2"),
    symlink("loop2", "loop1"),
    file("hard1", "shared"),
    hardlink("hard2", "hard1"),
)


def chmod(mode: int, contents: str = "x") -> Callable[[Path], object]:
    def make(path: Path) -> None:
        path.write_text(contents)
        path.chmod(mode)

    return make


def folder(mode: int) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        path.mkdir()
        path.chmod(mode)

    return make


def link_to(target: str) -> Callable[[Path], object]:
    return lambda path: path.symlink_to(target)


def linked(name: str) -> Callable[[Path], object]:
    return lambda path: path.hardlink_to(path.parent / name)


CONTEXT: Files = {
    "a": "a",
    "b": chmod(0o755, "b"),
    "private": folder(0o700),
    "private/f": chmod(0o600, "f"),
    "private/in": folder(0o711),
    "private/in/g": "g",
    "private/ln": link_to("f"),
    "private/out": link_to("/etc/passwd"),
    "d1/": "",
    "d1/one": "1",
    "d1/.dot": ".",
    "d2/": "",
    "d2/two": "2",
    "d2/sub/": "",
    "d2/sub/three": "3",
    "to-a": link_to("a"),
    "to-to-a": link_to("to-a"),
    "to-d1": link_to("d1"),
    "to-outside": link_to("../../../../a"),
    "to-abs": link_to("/a"),
    "nowhere": link_to("gone"),
    "h1": "linked",
    "h2": linked("h1"),
    "sp ace": "s",
    "w[x]": "w",
    "\u00e9\u4e16": "u",
}


@pytest.fixture
def copied(shop: Workshop) -> Callable[[str], dict[str, str]]:
    """Build the lines on BASE and return what the tree has that BASE has not, or has otherwise."""
    shop.put(CONTEXT)
    layout = shop.context.parent / "base"
    write_layout(layout, [BASE])

    def make(lines: str, *fields: str) -> dict[str, str]:
        before = shop.build("FROM base", contexts={"base": f"oci-layout://{layout}"}).shown(*fields, "sha256", "link")
        built = shop.build(f"FROM base\n{lines}", contexts={"base": f"oci-layout://{layout}"})
        _is_wellformed(built)
        after, shown = built.shown(*fields, "sha256", "link"), built.shown(*fields)
        assert not before.keys() - after.keys(), "COPY never deletes names"
        return {path: text for path, text in shown.items() if before.get(path) != after[path]}

    return make


def _is_wellformed(built: Built) -> None:
    """Every entry's parents come before it in the last layer, and the root is not in it."""
    if len(built.layers) < 2:
        return
    seen: set[str] = set()
    with tarfile.open(fileobj=io.BytesIO(inflate(built.layers[-1]))) as archive:
        for member in archive:
            path = clean(member.name)
            assert path
            assert path not in seen
            parent = path.rpartition("/")[0]
            assert not parent or parent in seen
            seen.add(path)


Copied = Callable[..., dict[str, str]]


@pytest.mark.parametrize(
    ("lines", "paths"),
    [
        # 1: a directory's contents, never itself
        ("COPY d1 /n", "n n/.dot n/one"),
        ("COPY d1/ /n/", "n n/.dot n/one"),
        ("COPY d1 d2 /n/", "n n/.dot n/one n/sub n/sub/three n/two"),
        ("COPY d1 /dir", "dir/.dot dir/one"),
        ("COPY d1 /", ".dot one"),
        ("COPY d1/. /n", "n n/.dot n/one"),
        # 2: files
        ("COPY a /n", "n"),
        ("COPY a /n/", "n n/a"),
        ("COPY a /dir", "dir/a"),
        ("COPY a /", "a"),
        ("COPY a b /n/", "n n/a n/b"),
        ("COPY a b /dir", "dir/a dir/b"),
        ("COPY a b .", "a b"),
        ("COPY a /x/y/z", "x x/y x/y/z"),
        # 3: destinations are resolved inside the root
        ("COPY a /link", "dir/a"),
        ("COPY a /link/", "dir/a"),
        ("COPY a /link/n", "dir/n"),
        ("COPY a /abs/n", "dir/sub/n"),
        ("COPY a /up/n", "dir/n"),
        ("COPY a /dangling", "made made/by made/by/copy"),
        ("COPY a /dangling/", "made made/by made/by/copy made/by/copy/a"),
        ("COPY d1 /dangling", "made made/by made/by/copy made/by/copy/.dot made/by/copy/one"),
        ("COPY a /flink", "file"),
        ("COPY d1 /link", "dir/.dot dir/one"),
        ("COPY a /n/.", "n n/a"),
        ("COPY a /../../n", "n"),
        ("WORKDIR /w\nCOPY a .", "w w/a"),
        ("WORKDIR /w\nCOPY a n", "w w/n"),
        ("WORKDIR /w\nCOPY a ../n", "n w"),
        ('WORKDIR /w\nCOPY ["a", ""]', "w w/a"),
        # 6: only the top-level source link is followed
        ("COPY to-a /n", "n"),
        ("COPY to-to-a /n/", "n n/to-to-a"),
        ("COPY to-d1 /n", "n n/.dot n/one"),
        ("COPY private /n", "n n/f n/in n/in/g n/ln n/out"),
        # 15, 16: wildcards and clamping
        ("COPY d? /n/", "n n/.dot n/one n/sub n/sub/three n/two"),
        ("COPY d1/* /n/", "n n/.dot n/one"),
        ("COPY */one /n/", "n n/one"),
        ("COPY [ab] /n/", "n n/a n/b"),
        ("COPY [^a] /n/", "n n/b"),
        ("COPY w[[]x] /n", "n"),
        ("COPY nothing* /n/", ""),
        ("COPY nothing* a /n", "n"),
        ("COPY ../../a /n", "n"),
        ("COPY /a /n", "n"),
        ("COPY to-outside to-abs /n/", "n n/to-abs n/to-outside"),
        ('COPY ["sp ace", "/n ame"]', "n ame"),
        ("COPY \u00e9\u4e16 /\u00e9", "\u00e9"),
        # heredocs
        ("COPY <<EOF /n\nhi\nEOF", "n"),
        ("COPY <<EOF /n/\nhi\nEOF", "n n/EOF"),
        ("COPY <<A <<B /n/\n1\nA\n2\nB", "n n/A n/B"),
        ("COPY <<A a /dir\n1\nA", "dir/A dir/a"),
        ("COPY <<w[x] /dir\n1\nw[x]", "dir/w[x]"),
        # a directory and a file
        ("COPY d1 a /n", "n n/.dot n/a n/one"),
        ("COPY d1 a /n/", "n n/.dot n/a n/one"),
    ],
)
def test_where_files_land(copied: Copied, lines: str, paths: str) -> None:
    expected = {"n ame"} if paths == "n ame" else set(paths.split())
    assert copied(lines).keys() == expected


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("COPY missing /n", '"/missing": not found'),
        ("COPY missing a /n/", '"/missing": not found'),
        ("COPY nowhere /n", "not found"),
        ("COPY a b /n", "must be a directory and end with a /"),
        ("COPY [ab] /n", "must be a directory and end with a /"),
        ("COPY a a /file", "must be a directory and end with a /"),
        ("COPY <<A <<B /n\n1\nA\n2\nB", "must be a directory and end with a /"),
        ("COPY d1 /file", "cannot c"),
        ("COPY a /file/", "not a directory"),
        ("COPY a /file/x", "not a directory"),
        ("COPY a /loop1", "too many symbolic links"),
        ("COPY a /loop1/x", "too many symbolic links"),
        ("COPY d2 /dir\nCOPY a /dir/two/x", "not a directory"),
        ("COPY <<sub /dir\n1\nsub", "cannot replace to directory /dir/sub with file"),
        ("COPY --chown=nobody a /n", "no such user 'nobody'"),
        ("COPY --chown=user:nogroup a /n", "no such group 'nogroup'"),
        ("COPY --link --chown=user a /n", "no such user 'user'"),
        ("COPY --chown=4294967295 a /n", "not a user or group number"),
    ],
)
def test_copies_that_would_lose_something_are_refused(copied: Copied, lines: str, message: str) -> None:
    with pytest.raises(BuilderError, match=message) as caught:
        copied(lines)
    assert caught.value.exit_code == 66


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        # 4: the top directory keeps its own, subdirectories take the source's
        ("COPY private /n", {"n": "dir 755 0 0", "n/f": "file 600 0 0", "n/in": "dir 711 0 0"}),
        ("COPY private /dir", {"dir/f": "file 600 0 0", "dir/in": "dir 711 0 0"}),
        ("COPY d1 /tmp", {"tmp/one": "file 644 0 0"}),
        ("COPY d2 /dir", {"dir/sub": "dir 755 0 0", "dir/sub/three": "file 644 0 0"}),
        # 5: parents
        ("COPY a /x/y/z", {"x": "dir 755 0 0", "x/y": "dir 755 0 0"}),
        ("COPY --chown=7:8 --chmod=700 a /x/z", {"x": "dir 700 7 8", "x/z": "file 700 7 8"}),
        ("COPY --chmod=u+x a /x/z", {"x": "dir 755 0 0", "x/z": "file 744 0 0"}),
        ("COPY --chown=7:8 a /dir/z", {"dir/z": "file 644 7 8"}),
        ("COPY --chmod=700 private /n", {"n": "dir 700 0 0", "n/in/g": "file 700 0 0", "n/ln": "link 777 0 0"}),
        ("COPY --chown=7:8 private /n", {"n": "dir 755 7 8", "n/f": "file 600 7 8", "n/ln": "link 777 7 8"}),
        ("COPY --chmod=u=rwX,go=rX private /n", {"n": "dir 755 0 0", "n/f": "file 644 0 0", "n/in": "dir 755 0 0"}),
        # 9, 10: owners
        ("USER user\nCOPY a /n", {"n": "file 644 0 0"}),
        ("COPY --chown=user a /n", {"n": "file 644 1000 1001"}),
        ("COPY --chown=user: a /n", {"n": "file 644 1000 1001"}),
        ("COPY --chown=user:staff a /n", {"n": "file 644 1000 50"}),
        ("COPY --chown=user:7 a /n", {"n": "file 644 1000 7"}),
        ("COPY --chown=1001 a /n", {"n": "file 644 1001 1001"}),
        ("COPY --chown=1001:staff a /n", {"n": "file 644 1001 50"}),
        ("COPY --chown=:staff a /n", {"n": "file 644 0 50"}),
        # The stage's own passwd counts, not the base's.
        ("COPY <<EOF /etc/passwd\nnew:x:77:78::/:\nEOF\nCOPY --chown=new a /n", {"n": "file 644 77 78"}),
        # 11: modes
        ("COPY --chmod=7755 a /n", {"n": "file 7755 0 0"}),
        ("COPY --chmod=0 a /n", {"n": "file 0 0 0"}),
        ("COPY b /n", {"n": "file 755 0 0"}),
        ("COPY <<EOF /n\n\nEOF", {"n": "file 644 0 0"}),
        ("COPY --chmod=755 --chown=5 <<EOF /n\n\nEOF", {"n": "file 755 5 5"}),
        # what is made below a set-group-ID directory; the source's directories and files are as they are
        ("COPY private /groups/n", {"groups/n": "dir 2755 0 6", "groups/n/in": "dir 711 0 0"}),
        ("COPY a /groups/x/y/z", {"groups/x/y": "dir 2755 0 6", "groups/x/y/z": "file 644 0 0"}),
        ("COPY --chown=7:8 a /groups/x/z", {"groups/x": "dir 2755 7 8", "groups/x/z": "file 644 7 8"}),
        ("COPY --chmod=700 a /groups/x/z", {"groups/x": "dir 700 0 6", "groups/x/z": "file 700 0 0"}),
        ("WORKDIR /groups/x", {"groups/x": "dir 2755 0 6"}),
        ("USER user\nWORKDIR /groups/x", {"groups/x": "dir 2755 1000 1001"}),
        # WORKDIR
        ("USER user\nWORKDIR /x/y", {"x": "dir 755 1000 1001", "x/y": "dir 755 1000 1001"}),
        ("USER 5:staff\nWORKDIR /x", {"x": "dir 755 5 50"}),
        ("USER 5\nWORKDIR /x", {"x": "dir 755 5 5"}),
        ("USER 1000\nWORKDIR /x", {"x": "dir 755 1000 1000"}),
        ("WORKDIR /link/n", {"dir/n": "dir 755 0 0"}),
    ],
)  # fmt: skip
def test_modes_and_owners(copied: Copied, lines: str, expected: dict[str, str]) -> None:
    found = copied(lines, "mode", "uid", "gid")
    assert {path: found[path] for path in expected} == expected
    assert "tmp" not in found
    assert "dir" not in found


def test_workdir_of_an_existing_directory_makes_no_layer(copied: Copied, shop: Workshop) -> None:
    layout = shop.context.parent / "base"
    built = shop.build("FROM base\nWORKDIR /link/sub\nWORKDIR /", contexts={"base": f"oci-layout://{layout}"})
    assert len(built.layers) == 1
    assert [one.empty_layer for one in built.config.history] == [False, True, True]
    assert built.config.config.working_dir == "/"
    with pytest.raises(ContextError, match="not a directory"):
        shop.build("FROM base\nWORKDIR /file", contexts={"base": f"oci-layout://{layout}"})


def test_links_are_copied_as_links_and_replace_links(copied: Copied) -> None:
    found = copied("COPY private /n", "link")
    assert (found["n/ln"], found["n/out"]) == ("link f", "link /etc/passwd")
    # 7: never written through
    found = copied("COPY <<ln <<f /n/\n1\nln\n2\nf\nCOPY private /m\nCOPY private/ /m/", "link")
    assert found["m/ln"] == "link f"


def test_a_copied_link_replaces_an_existing_one(copied: Copied, shop: Workshop) -> None:
    shop.put({"links/flink": link_to("elsewhere"), "links/link": link_to("x")})
    assert copied("COPY links /", "link") == {"flink": "link elsewhere", "link": "link x"}


def test_a_copied_file_replaces_a_nested_link(copied: Copied, shop: Workshop) -> None:
    shop.put({"over/flink": "new"})
    assert copied("COPY over /") == {"flink": "file"}


def test_a_directory_does_not_replace_a_nested_link(copied: Copied, shop: Workshop) -> None:
    shop.put({"over/link/f": "new"})
    with pytest.raises(ContextError, match="cannot copy to non-directory: /link"):
        copied("COPY over /")


def test_a_replaced_file_leaves_its_other_names_alone(copied: Copied) -> None:
    assert copied("COPY a /hard1").keys() == {"hard1"}


def test_hard_links_within_one_copy_stay_links(copied: Copied) -> None:
    found = copied("COPY . /n", "group")
    assert found["n/h1"] == found["n/h2"] == "file ('n/h1', 'n/h2')"
    found = copied("COPY h1 /x/\nCOPY h2 /x/", "group")
    assert found["x/h1"] == found["x/h2"] == "file ()"


def test_one_file_copied_to_two_names_is_two_files(copied: Copied) -> None:
    found = copied("COPY a to-a /x/", "group")
    assert found["x/a"] == found["x/to-a"] == "file ()"
    found = copied("COPY a to-a /s/\nFROM base\nCOPY --from=0 /s/a /file\n", "group")
    assert found["file"] == "file ()"


def test_two_names_of_a_stages_file_are_two_files(shop: Workshop) -> None:
    built = shop.build(
        "FROM scratch AS s\nCOPY a l /\nCOPY h /h\nFROM scratch\nCOPY --from=s /a /l /x/\nCOPY --from=s /h /h",
        {"a": "a", "l": link_to("a"), "h/l": link_to("f"), "h/f": "1", "h/g": linked("f")},
    )
    assert built.tree["x/a"].group == ()
    assert built.tree["h/f"].group == ("h/f", "h/g")
    built = shop.build("FROM scratch AS s\nCOPY h /h\nFROM scratch\nCOPY --from=s /h/f /h/l /x/")
    assert built.tree["x/f"].group == ()
    assert built.tree["x/l"].type == "file"


def test_mtimes_of_files_are_kept_and_those_of_new_directories_are_the_epochs(shop: Workshop) -> None:
    shop.put({"d/f": "x", "d/sub/g": "y"})
    for name, when in (("d/sub/g", 500), ("d/sub", 400), ("d/f", 300), ("d", 200)):
        os.utime(shop.context / name, (when, when))
    times = {path: one.mtime for path, one in shop.build("FROM scratch\nCOPY d /x/y", epoch=1000).tree.items()}
    assert times == {"x": 1000, "x/y": 200, "x/y/f": 300, "x/y/sub": 400, "x/y/sub/g": 500}


def test_a_directory_that_gets_files_keeps_its_time(shop: Workshop) -> None:
    shop.put({"d/f": "x", "g": "y"})
    os.utime(shop.context / "d", (200, 200))
    built = shop.build("FROM scratch\nCOPY d /x\nCOPY g /x/g\nCOPY g /x/new/g")
    assert built.tree["x"].mtime == 200


def test_the_contexts_own_time_is_what_copying_it_whole_leaves(shop: Workshop) -> None:
    shop.put({"f": "x"})
    os.utime(shop.context, (700, 700))
    built = shop.build("FROM scratch\nCOPY . /app\nFROM scratch\nCOPY --from=0 /app /n", epoch=1000)
    assert built.tree["n"].mtime == 700


def test_sockets_become_empty_files_and_fifos_stay(shop: Workshop) -> None:
    shop.put({"fifo": lambda path: os.mkfifo(path, 0o640), "f": "x"})
    here = os.getcwd()
    with socket.socket(socket.AF_UNIX) as listening:
        os.chdir(shop.context)
        try:
            listening.bind("sock")
        finally:
            os.chdir(here)
        built = shop.build("FROM scratch\nCOPY . /")
    assert (built.tree["sock"].type, built.tree["sock"].size) == ("file", 0)
    assert built.tree["fifo"].type == "fifo"


def test_extended_attributes_are_copied(shop: Workshop) -> None:
    shop.put({"f": "x"})
    try:
        os.setxattr(shop.context / "f", "user.mine", b"\0\xff")
    except OSError:
        pytest.skip("no user xattrs on this file system")
    built = shop.build("FROM scratch\nCOPY f /f\nFROM scratch\nCOPY --from=0 /f /g")
    assert built.tree["g"].xattrs == (("user.mine", b"\0\xff"),)


def test_names_that_layers_cannot_hold_are_refused(shop: Workshop) -> None:
    shop.put({"d/.wh.x": "x"})
    with pytest.raises(BuilderError, match=r"\.wh\."):
        shop.build("FROM scratch\nCOPY d /d")
    with pytest.raises(BuilderError, match=r"\.wh\."):
        shop.build("FROM scratch\nWORKDIR /a/.wh.b/c")


def test_names_that_are_no_utf8_survive(shop: Workshop) -> None:
    shop.put({"d/f": "x"})
    os.rename(shop.context / "d/f", os.fsencode(shop.context / "d") + b"/\xff\xfe")
    built = shop.build("FROM scratch AS a\nCOPY d /d\nFROM scratch\nCOPY --from=a /d /e")
    assert built.tree.keys() == {"e", os.fsdecode(b"e/\xff\xfe")}


# --- other stages


def test_copying_from_a_stage_keeps_owners_unless_told(shop: Workshop) -> None:
    text = "FROM scratch AS s\nCOPY --chown=7:8 f /d/f\nFROM scratch\nCOPY --from=s {} /d /e\n"
    assert shop.build(text.format(""), {"f": "x"}).shown("uid", "gid") == {"e": "dir 0 0", "e/f": "file 7 8"}
    assert shop.build(text.format("--chown=5")).shown("uid", "gid") == {"e": "dir 5 5", "e/f": "file 5 5"}


def test_links_in_a_stage_are_followed_inside_it(shop: Workshop) -> None:
    shop.put(
        {"s/real/f": "x", "s/rel": link_to("real"), "s/abs": link_to("/s/real"), "s/out": link_to("../../../s/real")}
    )
    lines = "".join(f"COPY --from=s /s/{name}/f /{name}\n" for name in ("rel", "abs", "out"))
    built = shop.build(f"FROM scratch AS s\nCOPY s /s\nFROM scratch\n{lines}COPY --from=s /s/rel /d")
    assert built.shown() == {"rel": "file", "abs": "file", "out": "file", "d": "dir", "d/f": "file"}


def test_a_stages_whole_root_is_copied(shop: Workshop) -> None:
    built = shop.build("FROM scratch AS s\nCOPY . /\nFROM scratch\nCOPY --from=s / /", {"a": "1", "d/b": "2"})
    assert built.shown() == {"a": "file", "d": "dir", "d/b": "file"}


@pytest.mark.parametrize("source", ["/gone", "gone/x", "/a/x"])
def test_what_a_stage_does_not_have_is_an_error(shop: Workshop, source: str) -> None:
    with pytest.raises(ContextError, match="not found"):
        shop.build(f"FROM scratch AS s\nCOPY a /\nFROM scratch\nCOPY --from=s {source} /", {"a": "1"})


# --- flags


@pytest.mark.parametrize(
    ("flags", "paths"),
    [
        ("", "n n/.dot n/a.log n/a.txt n/sub n/sub/b.log n/sub/b.txt"),
        ("--exclude=*.log", "n n/.dot n/a.txt n/sub n/sub/b.log n/sub/b.txt"),
        ("--exclude=**/*.log", "n n/.dot n/a.txt n/sub n/sub/b.txt"),
        ("--exclude=sub", "n n/.dot n/a.log n/a.txt"),
        ("--exclude=sub --exclude=!sub/b.txt", "n n/.dot n/a.log n/a.txt n/sub n/sub/b.txt"),
        ("--exclude=*.log --exclude=.dot", "n n/a.txt n/sub n/sub/b.log n/sub/b.txt"),
        ("--exclude=*", "n"),
    ],
)
def test_excluded_files_stay_out(shop: Workshop, flags: str, paths: str) -> None:
    shop.put({f"src/{one}": "x" for one in ("a.txt", "a.log", ".dot", "sub/b.txt", "sub/b.log")})
    assert shop.build(f"FROM scratch\nCOPY {flags} src /n").tree.keys() == set(paths.split())
    # The same from a stage.
    text = f"FROM scratch AS s\nCOPY src /src\nFROM scratch\nCOPY --from=s {flags} /src /n"
    assert shop.build(text).tree.keys() == set(paths.split())


def test_exclusion_applies_to_each_match_of_a_wildcard(shop: Workshop) -> None:
    shop.put({"a.txt": "x", "b.txt": "x", "d/a.txt": "x", "d/c": "x"})
    assert shop.build("FROM scratch\nCOPY --exclude=a.txt * /n/").tree.keys() == {"n", "n/b.txt", "n/c"}


@pytest.mark.parametrize(
    ("sources", "paths"),
    [
        ("x/a.txt y/b.txt", "n n/x n/x/a.txt n/y n/y/b.txt"),
        ("./x/a.txt", "n n/x n/x/a.txt"),
        ("x/./y/c.txt", "n n/y n/y/c.txt"),
        ("./x/./y/*.txt", "n n/y n/y/c.txt"),
        ("x/y", "n n/x n/x/y n/x/y/c.txt"),
        ("**/*.txt", "n n/x n/x/a.txt n/x/y n/x/y/c.txt n/y n/y/b.txt"),
        ("*/a.txt", "n n/x n/x/a.txt"),
        ("x/./nothing*", ""),
        ("/x/y/c.txt", "n n/x n/x/y n/x/y/c.txt"),
    ],
)
def test_parents_are_kept_below_the_pivot(shop: Workshop, sources: str, paths: str) -> None:
    shop.put({"x/": folder(0o750), "x/a.txt": "x", "x/y/c.txt": "x", "y/b.txt": "x"})
    built = shop.build(f"FROM scratch\nCOPY --parents {sources} /n/")
    assert built.tree.keys() == set(paths.split())
    if "n/x" in built.tree:
        assert built.tree["n/x"].mode == 0o750


def test_a_literal_path_with_parents_must_exist(shop: Workshop) -> None:
    with pytest.raises(ContextError, match="not found"):
        shop.build("FROM scratch\nCOPY --parents x/gone /n/", {"x/a": "1"})


def test_link_replaces_what_lies_below(copied: Copied) -> None:
    assert copied("COPY --link a /link/n") == {"link": "dir", "link/n": "file"}
    assert copied("COPY --link a /file/n") == {"file": "dir", "file/n": "file"}
    assert copied("COPY --link a /dir/n", "mode", "uid") == {"dir/n": "file 644 0"}
    assert copied("COPY --link --chown=5:6 --chmod=600 a /x/n", "mode", "uid") == {
        "x": "dir 600 5",
        "x/n": "file 600 5",
    }
    assert copied("COPY --link a b /dir/") == {"dir/a": "file", "dir/b": "file"}
    assert copied("COPY --link d1 /dir") == {"dir/.dot": "file", "dir/one": "file"}
    assert copied("WORKDIR /w\nCOPY --link a .") == {"w": "dir", "w/a": "file"}


def test_a_directory_that_replaces_what_replaced_one_does_not_bring_it_back(shop: Workshop) -> None:
    shop.put({"base/dir/old": "1", "a.tar": layer(file("dir", "file"), directory("dir"), file("dir/new", "2"))})
    assert shop.build("FROM scratch\nCOPY base /\nADD a.tar /").tree.keys() == {"dir", "dir/new"}


def test_dockerignore_counts_for_the_context_only(shop: Workshop) -> None:
    shop.put({".dockerignore": "*.log\n!keep.log\n", "a.log": "1", "keep.log": "1", "b": "1"})
    text = "FROM scratch AS s\nCOPY . /\nCOPY <<x.log /\n1\nx.log\nFROM scratch\nCOPY --from=s / /"
    assert shop.build(text).tree.keys() == {".dockerignore", "b", "keep.log", "x.log"}
    with pytest.raises(ContextError, match=r'"/a.log": not found'):
        shop.build("FROM scratch\nCOPY a.log /")
