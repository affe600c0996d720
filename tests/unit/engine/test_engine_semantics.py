"""Rules about copied files that the tables of test_engine_copy.py and test_engine_add.py leave open.

dockerfile.md 1.8 and 1.9, semantics 8, 10, 14, 15, 23, 38; the numbers in comments are semantics.md's.
"""

from __future__ import annotations

import os
import tarfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from builder.engine.build import build
from builder.engine.request import BuildRequest
from builder.errors import BuilderError, ContextError
from builder.registry.client import Registry
from tests.support.builds import Recording, Workshop
from tests.support.commands import run
from tests.support.fake_registry import serve
from tests.support.images import directory, file, layer, symlink, write_layout

ONE = layer(directory("srv", mtime=1), directory("tmp", 0o1777, mtime=1), symlink("var", "srv"), file("one", "1"))
TWO = layer(directory("srv", mtime=2), directory("tmp", 0o1777, mtime=2), directory("var"), file("two", "2"))


def bases(tmp: Path, **layers: bytes) -> dict[str, str]:
    """Write one layout for each layer; return them as contexts."""
    for name, data in layers.items():
        write_layout(tmp / name, [data])
    return {name: f"oci-layout://{tmp}/{name}" for name in layers}


# --- sources


def test_repeated_and_overlapping_copies_merge(shop: Workshop) -> None:
    shop.put({"a/x": "1", "a/d/y": "1", "b/x": "22", "b/d/z": "2", "b/e": "2"})
    built = shop.build("FROM scratch\nCOPY a /n\nCOPY b /n\nCOPY a/d /n/d\nCOPY a b /m/")
    merged = {"x": 2, "d/y": 1, "d/z": 1, "e": 1}
    for top in ("n", "m"):
        assert {path: built.tree[f"{top}/{path}"].size for path in merged} == merged
    assert built.tree.keys() == {f"{top}{rest}" for top in "nm" for rest in ("", "/d", *(f"/{one}" for one in merged))}


def test_names_are_taken_as_they_are_written(shop: Workshop) -> None:
    odd = ("%C3", "a+b", "f\u00f3\u00f3", "q?x", "tilde~", "#hash")
    shop.put(dict.fromkeys(odd, "x"))
    built = shop.build("FROM scratch\nENV src=a+b\nCOPY %C3 $src f\u00f3\u00f3 q?x tilde~ #hash /n/")
    assert built.tree.keys() == {"n", *(f"n/{one}" for one in odd)}


def test_links_on_the_way_to_a_source_are_followed_inside_the_context(shop: Workshop) -> None:
    shop.put({"real/sub/f": "x"})
    for name, target in (("rel", "real"), ("abs", "/real"), ("out", "../../real"), ("chain", "rel")):
        (shop.context / name).symlink_to(target)
    lines = "".join(
        f"COPY {name}/sub/f /{name}\nCOPY {name}/sub /d-{name}\n" for name in ("rel", "abs", "out", "chain")
    )
    tree = shop.build(f"FROM scratch\n{lines}").shown()
    assert set(tree.values()) == {"file", "dir"}
    assert len(tree) == 12


@pytest.mark.parametrize(
    ("source", "paths"),
    [
        # 15: `*` matches names that begin with a dot, and directories; none is searched for more matches.
        ("*", ".dot .h a.txt b c sub sub/c w[1"),
        ("*/*", ".h a.txt b c w[1"),
        ("*.txt", ""),
        ("*/?*.txt", "a.txt"),
        ("d/**", ".h a.txt b"),
        ("**/c", "c"),
        ("d/[a-b]*", "a.txt b"),
        ("d/[^.a]*", "b"),
        ("e/w\\\\[?", "w[1"),
        ("e/w[[]1", "w[1"),
        ("d/.*", ".h"),
        ("/d/../e/[!c]", "c"),
        ("no/*", ""),
    ],
)
def test_wildcards_match_by_gos_rules(shop: Workshop, source: str, paths: str) -> None:
    shop.put({"d/a.txt": "1", "d/b": "1", "d/.h": "1", "e/sub/c": "1", "e/c": "1", "e/w[1": "1", ".dot": "1"})
    expected = {f"n/{one}" for one in paths.split()}
    assert shop.build(f"FROM scratch\nCOPY {source} /n/").tree.keys() == (expected | {"n"} if expected else set())


def test_a_wildcard_that_is_no_pattern_is_refused(shop: Workshop) -> None:
    with pytest.raises(BuilderError, match="pattern"):
        shop.build("FROM scratch\nCOPY a[ /n/", {"a": "1"})


@pytest.mark.parametrize("instruction", ["COPY", "ADD"])
def test_exclusion_with_exceptions(shop: Workshop, instruction: str) -> None:
    shop.put({"s/keep.md": "1", "s/a.md": "1", "s/d/b.md": "1", "s/d/keep.md": "1", "s/f": "1"})
    flags = "--exclude=**/*.md --exclude=!**/keep.md"
    found = shop.build(f"FROM scratch\n{instruction} {flags} s /n").tree.keys()
    assert found == {"n", "n/keep.md", "n/d", "n/d/keep.md", "n/f"}
    # The last pattern that matches decides.
    flags = "--exclude=!**/keep.md --exclude=**/*.md"
    found = shop.build(f"FROM scratch\n{instruction} {flags} s /n").tree.keys()
    assert found == {"n", "n/d", "n/f"}


@pytest.mark.parametrize(
    ("words", "paths"),
    [
        ("--exclude=b x", "n n/x n/x/a n/x/b n/x/d n/x/d/b"),
        ("--exclude=x/b x", "n n/x n/x/a n/x/d n/x/d/b"),
        ("--exclude=**/b x", "n n/x n/x/a n/x/d"),
        ("--exclude=x y x", "n n/y n/y/b"),
        ("--exclude=x --exclude=!x/d/b x", "n n/x n/x/d n/x/d/b"),
        ("--exclude=d ./x/./d ./x/./b", "n n/b"),
        ("--exclude=x/b x/b x/a", "n n/x n/x/a"),
        ("--exclude=**/a **/[ab]", "n n/x n/x/b n/x/d n/x/d/b n/y n/y/b"),
    ],
)
def test_exclusion_with_parents_is_about_the_paths_that_are_kept(shop: Workshop, words: str, paths: str) -> None:
    shop.put(dict.fromkeys(("x/a", "x/b", "x/d/b", "y/b"), "1"))
    assert shop.build(f"FROM scratch\nCOPY --parents {words} /n/").tree.keys() == set(paths.split())


def test_a_reentered_directory_keeps_its_own_metadata(shop: Workshop) -> None:
    """23: excluded itself, but made for what an exception brings back."""
    shop.put({".dockerignore": "*\n!d/in/f\n", "d/in/f": "1", "d/g": "1"})
    (shop.context / "d").chmod(0o750)
    (shop.context / "d/in").chmod(0o711)
    found = shop.build("FROM scratch\nCOPY . /n").shown("mode")
    assert found == {"n": "dir 755", "n/d": "dir 750", "n/d/in": "dir 711", "n/d/in/f": "file 644"}


# --- owners and modes


@pytest.mark.parametrize(
    ("members", "uid"),
    [
        ([symlink("etc/passwd", "/usr/lib/passwd"), file("usr/lib/passwd", "me:x:5:6::/:\n")], 5),
        ([symlink("etc/passwd", "../../../usr/lib/passwd"), file("usr/lib/passwd", "me:x:5:6::/:\n")], 5),
        ([symlink("etc/passwd", "../../../../../../etc/host-passwd")], None),
        ([symlink("etc/passwd", "passwd")], None),
        ([directory("etc/passwd")], None),
        ([], None),
    ],
    ids=["absolute", "clamped", "dangling", "loop", "directory", "missing"],
)
def test_names_are_looked_up_inside_the_image(
    shop: Workshop, tmp_path: Path, members: list[tarfile.TarInfo], uid: int | None
) -> None:
    """10: through links, but never out of the image, and only in regular files."""
    contexts = bases(tmp_path, base=layer(directory("etc"), *members))
    text = "FROM base\nCOPY --chown=me a /n"
    if uid is None:
        with pytest.raises(BuilderError, match=r"user 'me'|symbolic links"):
            shop.build(text, {"a": "1"}, contexts=contexts)
    else:
        assert shop.build(text, {"a": "1"}, contexts=contexts).tree["n"].uid == uid


def test_setuid_survives_another_owner(shop: Workshop) -> None:
    """14: chown(2) would clear it; here the owner comes first and the mode after it."""
    shop.put({"s/tool": "x"})
    (shop.context / "s/tool").chmod(0o6755)
    built = shop.build("FROM scratch\nCOPY --chown=7:8 s/tool /n\nCOPY --chown=7:8 s /m")
    assert built.shown("mode", "uid", "gid") | {"m": ""} == {
        "n": "file 6755 7 8",
        "m": "",
        "m/tool": "file 6755 7 8",
    }


@pytest.mark.parametrize(
    "text", ["u=rwX,go=rX", "+x", "a+X", "g=u", "o=", "u+s,g-w", "-w", "go=u-w", "u=rw,g-w+x", "+t"]
)
@pytest.mark.parametrize("start", [0o640, 0o755, 0o4711])
def test_symbolic_modes_are_chmods(shop: Workshop, tmp_path: Path, text: str, start: int) -> None:
    other = tmp_path / "other"
    shop.put({"s/f": "x", "s/d/": ""})
    shop.put({"f": "x", "d/": ""}, below=other)
    for root in (shop.context / "s", other):
        (root / "f").chmod(start)
        (root / "d").chmod(start)
        os.chmod(root, 0o755)
    done = run(["sh", "-c", 'umask 0; exec chmod -- "$0" "$@"', text, other / "f", other / "d"], check=False)
    if done.returncode:
        pytest.skip("this chmod does not know it")
    built = shop.build(f"FROM scratch\nCOPY --chmod={text} s /n")
    for name in ("f", "d"):
        assert oct(built.tree[f"n/{name}"].mode) == oct((other / name).stat().st_mode & 0o7777), name


# --- --link


def test_a_linked_copy_is_the_same_layer_on_every_base(shop: Workshop, tmp_path: Path) -> None:
    contexts = bases(tmp_path, one=ONE, two=TWO)
    shop.put({"f": "x", "d/in/g": "y"})
    lines = "COPY --link f /srv/made/f\nCOPY --link --chmod=640 --chown=3:4 d /srv/d\nCOPY --link f /new/\n"
    digests = []
    for base in ("one", "two", "scratch"):
        built = shop.build(f"FROM {base}\n{lines}", contexts=contexts, epoch=1000)
        digests.append([str(one.diff_id) for one in built.image.layers][-3:])
        shown = built.shown("mode", "uid", "gid")
        assert {path: shown[path] for path in ("srv/made/f", "srv/d", "srv/d/in/g", "srv", "new/f")} == {
            "srv/made/f": "file 644 0 0",
            "srv/d": "dir 640 3 4",
            "srv/d/in/g": "file 640 3 4",
            "srv": shown["srv"],
            "new/f": "file 644 0 0",
        }
    assert digests[0] == digests[1] == digests[2]


def test_a_linked_copy_hits_on_another_base(shop: Workshop, tmp_path: Path) -> None:
    contexts = bases(tmp_path, one=ONE, two=TWO)
    text = "FROM {}\nCOPY --link f /srv/made/f"
    first = shop.build(text.format("one"), {"f": "x"}, contexts=contexts)
    second = shop.build(text.format("two"), contexts=contexts)
    assert second.seen.executed == []
    assert first.layers[-1] == second.layers[-1]


def test_a_linked_copy_into_a_shared_directory_leaves_it_shared(shop: Workshop, tmp_path: Path) -> None:
    """A directory of the image whose mode or owner is out of the ordinary keeps it."""
    built = shop.build("FROM one\nCOPY --link f /tmp/f", {"f": "x"}, contexts=bases(tmp_path, one=ONE))
    assert built.tree["tmp"].mode == 0o1777


def test_a_linked_copy_is_shared_only_where_the_directories_are_alike(shop: Workshop, tmp_path: Path) -> None:
    special = layer(directory("srv", 0o700, uid=4))
    contexts = bases(tmp_path, one=ONE, special=special, file=layer(file("srv", "no directory")))
    text = "FROM {}\nCOPY --link f /srv/f"
    shop.build(text.format("one"), {"f": "x"}, contexts=contexts)
    built = shop.build(text.format("special"), contexts=contexts)
    assert len(built.seen.executed) == 1
    assert built.shown("mode", "uid")["srv"] == "dir 700 4"
    # What is no directory gives way.
    built = shop.build(text.format("file"), contexts=contexts)
    assert (built.seen.executed, built.shown()) == ([], {"srv": "dir", "srv/f": "file"})
    # Owners and modes of the flags are for what is made, not for what is there.
    for base, shown in (("one", "dir 755 0"), ("special", "dir 700 4"), ("scratch", "dir 600 5")):
        built = shop.build(f"FROM {base}\nCOPY --link --chown=5 --chmod=600 f /srv/f", contexts=contexts)
        assert (built.shown("mode", "uid")["srv"], built.shown("mode", "uid")["srv/f"]) == (shown, "file 600 5")


def test_a_linked_copy_knows_only_itself(shop: Workshop) -> None:
    with pytest.raises(ContextError, match="cannot copy to non-directory"):
        shop.build("FROM scratch\nCOPY --link one two /", {"one/d": "file", "two/d/f": "1"})
    with pytest.raises(BuilderError, match="must be a directory"):
        shop.build("FROM scratch\nWORKDIR /d\nCOPY --link one/d two/d/f /d")


def test_a_linked_copy_follows_no_link_of_the_image(shop: Workshop, tmp_path: Path) -> None:
    built = shop.build("FROM one\nCOPY --link f /var/f", {"f": "x"}, contexts=bases(tmp_path, one=ONE))
    assert built.shown()["var"] == "dir"
    assert "srv/f" not in built.tree


@pytest.mark.parametrize("dest", [".", "./", '""', "/w/", "/w/."])
def test_a_linked_copy_knows_the_working_directory(shop: Workshop, dest: str) -> None:
    line = f'COPY --link ["f", {dest}]' if dest == '""' else f"COPY --link f {dest}"
    built = shop.build(f"FROM scratch\nWORKDIR /w\n{line}", {"f": "x"})
    assert built.shown() == {"w": "dir", "w/f": "file"}


def test_a_linked_add_unpacks(shop: Workshop, tmp_path: Path) -> None:
    shop.put({"a.tar": layer(file("d/f", "x"), symlink("l", "d"))})
    built = shop.build("FROM one\nADD --link a.tar /srv", contexts=bases(tmp_path, one=ONE))
    assert {"srv/d/f", "srv/l"} <= built.tree.keys()


# --- bases


def test_odd_configurations_of_bases_are_borne(shop: Workshop, tmp_path: Path) -> None:
    """38: nulls for lists and maps, variables without `=`, a relative directory, a user nobody knows."""
    nothing = dict.fromkeys(("Labels", "Volumes", "ExposedPorts", "Entrypoint", "Cmd", "OnBuild"))
    container = {**nothing, "Env": ["PATH=/p", "ODD", "=x"], "WorkingDir": "w", "User": "nobody-knows"}
    write_layout(tmp_path / "base", [ONE], container=container)
    text = "FROM base\nLABEL a=b\nVOLUME /v\nEXPOSE 80\nENV X=$ODD.\nENV ODD=now\nCOPY f x/"
    built = shop.build(text, {"f": "1"}, contexts={"base": f"oci-layout://{tmp_path}/base"})
    config = built.config.config
    assert (dict(config.labels), config.volumes, config.exposed_ports) == ({"a": "b"}, ("/v",), ("80/tcp",))
    assert "X=." in config.env
    assert [one for one in config.env if one.startswith("ODD")] == ["ODD=now"]
    assert "w/x/f" in built.tree
    write_layout(tmp_path / "null", [ONE], container={"Env": None}, config={"history": None})
    built = shop.build("FROM null\nENV A=1", contexts={"null": f"oci-layout://{tmp_path}/null"})
    assert built.config.config.env[-1] == "A=1"


def test_a_base_without_layers_is_a_base(shop: Workshop, tmp_path: Path) -> None:
    write_layout(tmp_path / "empty", [], container={"Labels": {"a": "b"}})
    built = shop.build("FROM empty\nCOPY f /\n", {"f": "1"}, contexts={"empty": f"oci-layout://{tmp_path}/empty"})
    assert len(built.config.diff_ids) == len(built.layers) == 1
    assert built.config.config.labels == {"a": "b"}


def test_scratch_gives_an_image_without_layers(shop: Workshop) -> None:
    built = shop.build("FROM scratch\nENV foo=bar")
    assert (built.layers, built.config.diff_ids, built.config.config.working_dir) == ([], (), "/")
    assert built.config.config.env == ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "foo=bar")
    assert [one.empty_layer for one in built.config.history] == [True]
    assert (built.config.platform.os, bool(built.config.platform.architecture)) == ("linux", True)


def test_nothing_is_done_before_every_name_is_known(shop: Workshop) -> None:
    """17: no stage and no image of that name is an error before any step."""
    seen = Recording()
    with serve() as fake, closing(Registry()) as registry:
        connected = replace(shop, registry=lambda: registry)
        with pytest.raises(BuilderError, match="nope"):
            connected.try_build(seen, f"FROM scratch\nCOPY f /\nCOPY --from={fake.host}/nope /x /", {"f": "1"})
    assert seen.steps == {}


def test_a_directory_that_became_a_file(shop: Workshop) -> None:
    text = "FROM scratch\nCOPY . /n/"
    shop.put({"foo/sub/f": "1"})
    assert shop.build(text).tree.keys() == {"n", "n/foo", "n/foo/sub", "n/foo/sub/f"}
    run(["rm", "-r", shop.context / "foo"])
    assert shop.build(text, {"foo": "now a file"}).tree["n/foo"].type == "file"
    (shop.context / "foo").unlink()
    assert shop.build(text, {"foo/g": "2"}).tree.keys() == {"n", "n/foo", "n/foo/g"}


# --- the Dockerfile itself


@pytest.mark.parametrize("name", ["Dockerfile", "dockerfile"])
def test_the_dockerfile_is_found_in_the_context(shop: Workshop, name: str) -> None:
    assert shop.build(files={name: "FROM scratch\nLABEL a=b"}).config.config.labels == {"a": "b"}


def test_the_dockerfile_may_be_a_link(shop: Workshop) -> None:
    shop.put({"docker/real": "FROM scratch\nLABEL a=b"})
    (shop.context / "Dockerfile").symlink_to("docker/real")
    assert shop.build().config.config.labels == {"a": "b"}
    (shop.context / "Dockerfile").unlink()
    (shop.context / "Dockerfile").symlink_to(shop.context / "docker/real")
    assert shop.build().config.config.labels == {"a": "b"}


def test_a_link_of_the_project_to_a_file_outside_is_not_read_as_dockerfile(shop: Workshop) -> None:
    """What is no Dockerfile is shown as a mistake in one: a stranger's link would show any file of ours."""
    outside = shop.put({"token": "sEcReT", "Dockerfile": "FROM scratch\n"}, shop.context.parent / "outside")
    shop.put({"folder": lambda path: path.symlink_to(outside)})
    link = shop.context / "Dockerfile"

    def try_build(named: Path | None = None) -> None:
        with shop.environment(Recording()) as env:
            build(BuildRequest(context=str(shop.context), dockerfile=None if named is None else str(named)), env)

    for target in (outside / "token", Path("..", "outside", "Dockerfile"), Path("folder", "token")):
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        for named in (None, link):
            with pytest.raises(ContextError, match="is a link out of the project"):
                try_build(named)
    try_build(outside / "Dockerfile")
    elsewhere = shop.context.parent / "elsewhere"
    elsewhere.symlink_to(outside / "Dockerfile")
    try_build(elsewhere)  # the user's own link
    (shop.context.parent / ".git").mkdir()
    with pytest.raises(BuilderError, match="unknown instruction: sEcReT"):
        try_build()  # one repository is one project


@pytest.mark.parametrize("context", [".", ".."])
def test_the_current_directory_may_be_gone(shop: Workshop, monkeypatch: pytest.MonkeyPatch, context: str) -> None:
    shop.put({"Dockerfile": "FROM scratch\nCOPY . /", "here/Dockerfile": "FROM scratch"})
    monkeypatch.chdir(shop.context / "here")
    (shop.context / "here/Dockerfile").unlink()
    (shop.context / "here").rmdir()
    with shop.environment(Recording()) as env:
        with pytest.raises(ContextError, match="the current directory does not exist any more"):
            build(BuildRequest(context=context), env)
        build(BuildRequest(context=str(shop.context)), env)


def test_a_directory_is_no_ignore_file_of_a_dockerfile(shop: Workshop) -> None:
    shop.put({"Dockerfile": "FROM scratch\nCOPY a /", ".dockerignore": "b\n", "a": "", "b": ""})
    (shop.context / "Dockerfile.dockerignore").mkdir()
    assert shop.build().tree.keys() == {"a"}


def test_dockerfile_and_ignore_file_work_though_ignored(shop: Workshop) -> None:
    """24, 17 of the list: used by the builder, not to be copied."""
    shop.put(
        {"Dockerfile": "FROM scratch\nCOPY . /", ".dockerignore": "Dockerfile\n.dockerignore\nx\n", "x": "", "y": ""}
    )
    assert shop.build().tree.keys() == {"y"}
    shop.put({"Dockerfile": "FROM scratch\nCOPY Dockerfile ."})
    with pytest.raises(ContextError, match='"/Dockerfile": not found'):
        shop.build()


def test_the_ignore_file_of_a_dockerfile_replaces_the_contexts(shop: Workshop) -> None:
    shop.put({".dockerignore": "a\n", "a": "", "b": ""})
    (shop.context.parent / "Dockerfile.test.dockerignore").write_text("b\n")
    assert shop.build("FROM scratch\nCOPY . /").tree.keys() == {".dockerignore", "a"}
    (shop.context.parent / "Dockerfile.test.dockerignore").write_text("")
    assert shop.build("FROM scratch\nCOPY . /").tree.keys() == {".dockerignore", "a", "b"}


def test_a_pattern_that_is_none_ends_the_build(shop: Workshop) -> None:
    for line in ("!", "a[", "[]a]"):
        with pytest.raises(BuilderError, match="pattern"):
            shop.build("FROM scratch\nCOPY . /", {".dockerignore": f"x\n{line}\n"})


@pytest.mark.parametrize("text", ["SHELL", "CMD", "ENTRYPOINT", "HEALTHCHECK CMD"])
def test_commands_are_not_expanded(shop: Workshop, text: str) -> None:
    """30: the shell of the running container does that."""
    built = shop.build(f'FROM scratch\nENV V=value\n{text} ["/bin/$V", "${{V}}"]')
    config = built.config.config
    check = config.healthcheck.test if config.healthcheck else None
    found = {"SHELL": config.shell, "CMD": config.cmd, "ENTRYPOINT": config.entrypoint}.get(text, check)
    assert found is not None
    assert tuple(found)[-2:] == ("/bin/$V", "${V}")


def test_repeated_builds_do_not_fill_the_store(shop: Workshop) -> None:
    """Neither a warm build nor one without the cache leaves anything behind."""

    def size() -> tuple[int, int]:
        # Digests of files are remembered once these are old enough, which they may become in between.
        kept = [path for path in shop.store.rglob("*") if path.is_file() and "stat" not in path.parts]
        return len(kept), sum(path.stat().st_size for path in kept)

    text = "FROM scratch\nCOPY f /\nWORKDIR /w"
    shop.build(text, {"f": "x" * 5000}, epoch=5)
    first = size()
    for no_cache in (False, True, False):
        shop.build(text, epoch=5, no_cache=no_cache)
        assert size() == first


def test_a_user_nobody_knows_makes_roots_directories(shop: Workshop) -> None:
    """32, 38: USER is looked up by a RUN; until then a wrong one is only a warning."""
    text = "FROM scratch\nCOPY <<E /etc/passwd\nme:x:5:6::/:\nE\nUSER {}\nWORKDIR /a/b\nWORKDIR /a"
    for user, owner, warned in (("gone", "0 0", 1), ("gone:gone", "0 0", 1), ("me:gone", "5 6", 0), ("me", "5 6", 0)):
        built = shop.build(text.format(user))
        assert {built.shown("uid", "gid")[one] for one in ("a", "a/b")} == {f"dir {owner}"}
        assert len([one for one in built.seen.warnings if "does not know" in one]) == warned
    assert shop.build("FROM scratch\nUSER gone\nWORKDIR /w").tree["w"].uid == 0
