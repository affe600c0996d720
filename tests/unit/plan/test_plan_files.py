"""COPY, ADD, WORKDIR and RUN: from instructions to operations (dockerfile.md 1.7 to 1.10, semantics 21, 29, 32)."""

from __future__ import annotations

import pytest

from builder.dockerfile.source import DockerfileError
from builder.image.config import ContainerConfig
from builder.plan.copies import destination, is_git, join_path, without_credentials
from builder.plan.graph import (
    ContextOrigin,
    CopyFiles,
    GitTree,
    InlineFile,
    LocalPath,
    NothingOrigin,
    RemoteFile,
    RunCommand,
    StageOrigin,
)
from tests.support.plans import plan

IMAGE = {"i": ContainerConfig()}


@pytest.mark.parametrize(
    ("cwd", "path", "joined"),
    [
        ("", "a", "/a"),
        ("/", "a", "/a"),
        ("/w", "a", "/w/a"),
        ("/w", "./a/../b", "/w/b"),
        ("/w", "..", "/"),
        ("/w", "../../..", "/"),
        ("/w", "/a//b/./c/", "/a/b/c"),
        ("/w", "", "/w"),
        ("/w", ".", "/w"),
        ("/w/x", "../y", "/w/y"),
        ("relative", "a", "/relative/a"),
    ],
)
def test_paths_are_joined_and_cleaned(cwd: str, path: str, joined: str) -> None:
    assert join_path(cwd, path) == joined


@pytest.mark.parametrize(
    ("cwd", "dest", "expected"),
    [
        ("/w", "f", "/w/f"),
        ("/w", "d/", "/w/d/"),
        ("/w", "d/.", "/w/d/"),
        ("/w", ".", "/w/"),
        ("/w", "./", "/w/"),
        ("/w", "", "/w/"),
        ("/w", "..", "/"),
        ("/w/x", "../", "/w/"),
        ("/w/x", "..", "/w"),
        ("/", ".", "/"),
        ("/", "/", "/"),
        ("/", "/app/.", "/app/"),
        ("/", "/app//", "/app/"),
        ("", "app", "/app"),
    ],
)
def test_destinations_remember_that_they_are_directories(cwd: str, dest: str, expected: str) -> None:
    assert destination(cwd, dest) == expected


@pytest.mark.parametrize(
    ("lines", "directories", "cwd"),
    [
        (["WORKDIR /a/b"], [("/a/b", "")], "/a/b"),
        (["WORKDIR /a", "WORKDIR b"], [("/a", ""), ("/a/b", "")], "/a/b"),
        (["WORKDIR a/"], [("/a", "")], "/a"),
        (["WORKDIR /a", "WORKDIR ../.."], [("/a", "")], "/"),
        (["WORKDIR /"], [], "/"),
        (["ENV D=/x y=z", "WORKDIR $D/$y"], [("/x/z", "")], "/x/z"),
        (["USER me:us", "WORKDIR /a"], [("/a", "me:us")], "/a"),
        (["WORKDIR /a", "USER me", "WORKDIR b"], [("/a", ""), ("/a/b", "me")], "/a/b"),
        (['WORKDIR "/a b"'], [("/a b", "")], "/a b"),
    ],
)
def test_workdir(lines: list[str], directories: list[tuple[str, str]], cwd: str) -> None:
    made = plan("\n".join(["FROM scratch", *lines]))
    if made.plan.target is not None:
        assert made.directories == directories
    assert made.config.working_dir == cwd


def test_workdir_joins_the_bases_directory() -> None:
    made = plan("FROM i\nWORKDIR b\nCOPY f .", {"i": ContainerConfig(working_dir="/a")})
    assert made.directories == [("/a/b", "")]
    assert made.copy.dest == "/a/b/"
    # Some images have a relative one.
    assert plan("FROM i\nWORKDIR b", {"i": ContainerConfig(working_dir="x")}).directories == [("/x/b", "")]


@pytest.mark.parametrize(
    ("line", "sources", "created_by"),
    [
        ("COPY a b /d/", (LocalPath("a"), LocalPath("b")), "COPY a b /d/ # buildkit"),
        ('COPY ["a b", "/d/"]', (LocalPath("a b"),), "COPY a b /d/ # buildkit"),
        ("COPY --chown=1:2 --chmod=755 a /d/", (LocalPath("a"),), "COPY --chown=1:2 --chmod=755 a /d/ # buildkit"),
        ("COPY --link a /d/", (LocalPath("a"),), "COPY --link a /d/ # buildkit"),
        ("COPY $V /d/", (LocalPath("value"),), "COPY value /d/ # buildkit"),
        ("COPY <<EOF /d/\nx $V\nEOF", (InlineFile("EOF", b"x value\n"),), "COPY <<EOF /d/ # buildkit"),
        ("COPY <<'EOF' /d/\nx $V\nEOF", (InlineFile("EOF", b"x $V\n"),), "COPY <<EOF /d/ # buildkit"),
        ("COPY <<EOF /d/\n\"a\" \\$V 'b'\nEOF", (InlineFile("EOF", b"\"a\" $V 'b'\n"),), "COPY <<EOF /d/ # buildkit"),
        (
            "COPY f <<A <<B /d/\n1\nA\n2\nB",
            (LocalPath("f"), InlineFile("A", b"1\n"), InlineFile("B", b"2\n")),
            "COPY f <<A <<B /d/ # buildkit",
        ),
        ("ADD f /d/", (LocalPath("f"),), "ADD f /d/ # buildkit"),
        (
            "ADD https://me:secret@x/f /d/",
            (RemoteFile("https://me:secret@x/f"),),
            "ADD https://xxxxx:xxxxx@x/f /d/ # buildkit",
        ),
        ("ADD https://x/r.git#b:d /d/", (GitTree("https://x/r.git#b:d"),), "ADD https://x/r.git#b:d /d/ # buildkit"),
        ("ADD git@x:r.git /d/", (GitTree("git@x:r.git"),), "ADD git@x:r.git /d/ # buildkit"),
    ],
)
def test_copied_sources(line: str, sources: tuple[object, ...], created_by: str) -> None:
    made = plan(f"FROM scratch\nENV V=value\n{line}")
    assert made.copy.sources == sources
    assert made.copy.dest == "/d/"
    assert made.copy.origin == ContextOrigin()
    assert made.history[-1] == created_by


def test_flags_are_expanded_where_the_language_says_so() -> None:
    text = "FROM scratch\nARG U=me M=u+x\nCOPY --chown=$U:${U}s --chmod=$M --exclude=$U --exclude=b a /x"
    copy = plan(text).copy
    assert (copy.chown, copy.chmod, copy.exclude) == ("me:mes", "u+x", ("$U", "b"))


@pytest.mark.parametrize("flags", ["--chmod=", "--chmod=$NO", "--chown=", "--chown=$NO", ""])
def test_an_empty_flag_is_no_flag(flags: str) -> None:
    copy = plan(f"FROM scratch\nCOPY {flags} a /x").copy
    assert not copy.chmod
    assert not copy.chown


@pytest.mark.parametrize(
    "mode", ["0", "7777", "0644", "755", "u=rwX,go=rX", "+x", "a+X", "g=u", "u+s,o+t", "-w", "o=", "u=rw,g-w+x"]
)
def test_modes_that_are_accepted(mode: str) -> None:
    assert plan(f"FROM scratch\nCOPY --chmod={mode} a /x").copy.chmod == mode


@pytest.mark.parametrize(
    ("url", "git"),
    [
        ("git://x/r", True),
        ("ssh://x/r", True),
        ("git@x:r", True),
        ("https://x/r.git", True),
        ("https://x/r.git#main", True),
        ("https://x/r.git?ref=main", True),
        ("https://x/r", False),
        ("https://x/r.git/f", False),
        ("HTTPS://x/r.git", True),
        ("https://x/r.GIT", False),
        ("https://x.git", False),
        ("https://x/r?a=b.git", False),
        ("https://x/r#b.git", False),
        ("http://[bad/r.git", True),
        ("http://[bad/r", False),
        ("r.git", False),
        ("dir/a@b:c", False),
    ],
)
def test_what_add_reads_with_git(url: str, git: bool) -> None:
    assert is_git(url) is git


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://u:p@h/x", "https://xxxxx:xxxxx@h/x"),
        ("https://u:p@with@h/x", "https://xxxxx:xxxxx@h/x"),
        ("ssh://git@h/x", "ssh://xxxxx:xxxxx@h/x"),
        ("https://h/x@y", "https://h/x@y"),
        ("git@h:x", "git@h:x"),
    ],
)
def test_credentials_in_urls_are_not_shown(url: str, shown: str) -> None:
    assert without_credentials(url) == shown


def test_long_words_are_looked_through_once() -> None:
    """Looking for a scheme from every letter on took minutes for a word of this length."""
    for word in ("a" * 1_000_000, "http://h/" + "a" * 1_000_000, "://" * 300_000, "a://" * 300_000):
        assert without_credentials(word) == word


def test_step_names_show_no_credentials_either() -> None:
    made = plan("FROM scratch\nADD https://me:s3cret@x/f /d/")
    assert not [name for name in made.names if "s3cret" in name]


# --- RUN


def test_run_in_both_forms() -> None:
    made = plan('FROM i\nUSER me\nWORKDIR /w\nSHELL ["bash", "-c"]\nRUN echo $A\nRUN ["ls", "$A"]', IMAGE)
    shell, plain = made.operations(RunCommand)
    assert (shell.args, shell.cwd, shell.user) == (("bash", "-c", "echo $A"), "/w", "me")
    assert plain.args == ("ls", "$A")
    assert made.history[-2:] == ["RUN bash -c echo $A # buildkit", "RUN ls $A # buildkit"]


def test_run_with_heredocs() -> None:
    shell = plan("FROM i\nRUN <<EOF\necho $A\nEOF", IMAGE).run
    assert shell.args == ("/bin/sh", "-c", "echo $A\n")
    script = plan("FROM i\nRUN <<EOF\n#!/usr/bin/env x\nhi\nEOF", IMAGE).run
    assert script.args == ("/dev/pipes/EOF",)
    assert script.script == ("EOF", b"#!/usr/bin/env x\nhi\n")


def test_an_empty_command_is_refused() -> None:
    with pytest.raises(DockerfileError, match="RUN"):
        plan("FROM i\nRUN []", IMAGE)


def test_network_and_security() -> None:
    made = plan("FROM i\nRUN a\nRUN --network=none b\nRUN --security=sandbox c", IMAGE, network="host")
    assert [(one.network, one.security) for one in made.operations(RunCommand)] == [
        ("host", "sandbox"),
        ("none", "sandbox"),
        ("host", "sandbox"),
    ]
    for text, network in (("--security=insecure", "default"), ("--network=host", "none")):
        name = "security.insecure" if "security" in text else "network.host"
        with pytest.raises(DockerfileError, match=rf"entitlement {name} is not allowed") as caught:
            plan(f"FROM i\n\nRUN {text} c", IMAGE, network=network)
        assert caught.value.span is not None
        assert caught.value.span.start_line == 3
        allowed = plan(f"FROM i\nRUN {text} c", IMAGE, network=network, allow=frozenset({name})).run
        assert f"--security={allowed.security} --network={allowed.network}".find(text) >= 0
    assert plan("FROM i\nRUN --network=default c", IMAGE, network="none").run.network == "none"


def test_what_every_step_is_given() -> None:
    given = {"hosts": (("db", "10.0.0.1"),), "ulimits": (("core", 0, 0),), "shm_size": 5}
    run = plan("FROM i\nRUN a", IMAGE, **given).run
    assert {name: getattr(run, name) for name in given} == given


def test_the_sandboxes_hostname_is_a_build_argument() -> None:
    assert plan("FROM i\nRUN a", IMAGE, build_args={"BUILDKIT_SANDBOX_HOSTNAME": "h"}).run.hostname == "h"


@pytest.mark.parametrize(
    ("mount", "expected"),
    [
        ("type=cache,target=/c", {"kind": "cache", "target": "/c", "id": "/c", "readonly": False, "mode": 0o755}),
        ("type=cache,target=c/../d", {"target": "/w/d", "id": "d"}),
        (
            "type=cache,dst=/c,id=x,sharing=locked,uid=1,gid=2,mode=0700",
            {"id": "x", "sharing": "locked", "mode": 0o700},
        ),
        ("type=tmpfs,target=/t,size=1m", {"kind": "tmpfs", "target": "/t", "size": 1 << 20}),
        ("type=secret,id=a", {"kind": "secret", "target": "/run/secrets/a", "id": "a", "required": False}),
        ("type=secret,id=a,target=s", {"target": "/w/s", "id": "a"}),
        ("type=secret,id=a,env=E", {"target": "", "env": "E"}),
        ("type=secret,id=a,env=E,target=/s,required", {"target": "/s", "env": "E", "required": True}),
        ("type=secret,id=$V,mode=0440", {"id": "value", "mode": 0o440}),
        ("type=ssh", {"kind": "ssh", "target": "/run/buildkit/ssh_agent.0", "id": "default"}),
    ],
)
def test_mounts_get_final_values(mount: str, expected: dict[str, object]) -> None:
    made = plan(f"FROM i\nWORKDIR /w\nENV V=value\nRUN --mount={mount} x", IMAGE)
    (found,) = made.run.mounts
    assert {name: getattr(found, name) for name in expected} == expected
    assert found.origin == NothingOrigin()


def test_cache_ids_have_the_namespace_that_was_asked_for() -> None:
    args = {"BUILDKIT_CACHE_MOUNT_NS": "ns"}
    (mount,) = plan("FROM i\nRUN --mount=type=cache,target=/c x", IMAGE, build_args=args).run.mounts
    assert mount.id == "ns//c"


def test_a_bound_context_is_a_tree_of_its_own() -> None:
    made = plan("FROM i\nRUN --mount=target=/src,source=sub x", IMAGE)
    (mount,) = made.run.mounts
    assert (mount.kind, mount.target, mount.source, mount.readonly) == ("bind", "/src", "/sub", True)
    assert mount.origin == StageOrigin(0)
    (copy,) = made.operations(CopyFiles)
    assert copy.origin == ContextOrigin()
    assert copy.dest == "/sub"


def test_a_bound_stage_is_an_input() -> None:
    made = plan(
        "FROM scratch AS a\nCOPY x /\nFROM i\nRUN --mount=from=a,target=/a --mount=from=a,target=/b,rw x", IMAGE
    )
    first, second = made.run.mounts
    assert (first.origin, second.origin) == (StageOrigin(0), StageOrigin(1))
    assert (first.readonly, second.readonly) == (True, False)
    (vertex,) = [one for one in made.plan.vertices.values() if isinstance(one.operation, RunCommand)]
    assert len(vertex.sources) == 2


def test_what_a_cache_starts_with_is_a_tree_of_its_own() -> None:
    mounts = "--mount=type=cache,target=/c,from=a,source=d --mount=type=cache,target=/e,from=named,source=f"
    text = f"FROM i AS a\nCOPY x /d/\nFROM i\nRUN {mounts} --mount=type=cache,target=/g,source=h x"
    made = plan(text, IMAGE, contexts={"named": "./dir"})
    stage, context, none = made.run.mounts
    assert (stage.origin, context.origin, none.origin) == (StageOrigin(0), StageOrigin(1), NothingOrigin())
    _, first, second = made.operations(CopyFiles)
    assert (first.sources, first.origin, first.dest) == ((LocalPath("/d"),), StageOrigin(0), "/")
    assert (second.sources, second.origin, second.dest) == ((LocalPath("/f"),), ContextOrigin("named"), "/")
    seeds = [one for one in made.plan.vertices.values() if one.operation in (first, second)]
    assert [one.parent for one in seeds] == [None, None]


def test_agents_are_counted_among_themselves() -> None:
    mounts = "--mount=type=tmpfs,target=/t --mount=type=ssh --mount=type=ssh,id=b --mount=type=ssh,target=/s"
    targets = [one.target for one in plan(f"FROM i\nRUN {mounts} x", IMAGE).run.mounts[1:]]
    assert targets == ["/run/buildkit/ssh_agent.0", "/run/buildkit/ssh_agent.1", "/s"]


@pytest.mark.parametrize(
    "mount", ["target=/", "type=tmpfs,target=/", "type=cache,target=/", "type=bind", "type=cache,target=../.."]
)
def test_nothing_is_mounted_over_the_root(mount: str) -> None:
    with pytest.raises(DockerfileError, match="target") as caught:
        plan(f"FROM i\nWORKDIR /\nRUN --mount={mount} x", IMAGE)
    assert caught.value.span is not None
