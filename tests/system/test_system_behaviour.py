"""What a step sees and leaves, in whole builds: behaviours that docs/compatibility.md lists and that need a sandbox.

Each builds on the busybox of the tests; what the step saw it writes to a file of the image.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.errors import BuilderError
from tests.support import images, trees
from tests.support.builds import Built, Workshop
from tests.support.cli import pybuild, write_context

Build = Callable[..., Built]


# --- commands


def test_json_that_is_none_is_a_command_for_the_shell(build: Build) -> None:
    with pytest.raises(BuilderError) as caught:
        build("RUN [\"echo\", 'a']")
    assert caught.value.exit_code == 127
    built = build("RUN [ -e /bin/sh ] && echo shell > /said\nENTRYPOINT []random string")
    assert built.text("said") == "shell\n"
    assert built.config.config.entrypoint == ("/bin/sh", "-c", "[]random string")


def test_run_does_not_ask_the_entrypoint(build: Build) -> None:
    built = build('ENTRYPOINT ["/nothing"]\nCMD ["/nothing"]\nRUN echo ran > /said')
    assert built.text("said") == "ran\n"


def test_a_failure_names_the_command_and_its_status(build: Build) -> None:
    with pytest.raises(BuilderError, match=r"invalidcmd") as caught:
        build("RUN invalidcmd --some --option")
    assert caught.value.exit_code == 127
    with pytest.raises(BuilderError) as caught:
        build("RUN sh -c 'kill -9 $$'; exit $?")
    assert caught.value.exit_code == 137


HEREDOCS = """
FROM base
RUN <<EOF
echo basic > /basic
EOF
SHELL ["/bin/busybox", "awk"]
RUN <<EOF
BEGIN {
  print "foo" > "/awk"
}
EOF
SHELL ["/bin/sh", "-c"]
RUN <<EOF
#!/bin/busybox ash
echo script "$#" > /shebang
EOF
RUN <<EOF cat > /piped
one
EOF
RUN cat <<A - <<B | tr a-z A-Z > /joined
a
A
b
B
RUN <<eins cat 3<<drei 4<<'vier' - /dev/fd/3 /dev/fd/4 > /numbered
1
eins
3
drei
4 $HOME
vier
RUN <<-EOF
\tcat <<-INNER > /tabs
\t\tstripped by the shell
\tINNER
EOF
RUN <<'EOF'
v=shell
echo "$v" > /variables
EOF
ARG v=build
RUN <<EOF
echo "$v" >> /variables
v=shell
echo "$v" >> /variables
EOF
"""


def test_documents_reach_their_commands(build: Build) -> None:
    built = build(HEREDOCS)
    assert {path: built.text(path) for path in built.tree if (built.tree[path].size and "/" not in path)} == {
        "basic": "basic\n",
        "awk": "foo\n",
        "shebang": "script 0\n",
        "piped": "one\n",
        "joined": "B\n",
        "numbered": "1\n3\n4 $HOME\n",
        "tabs": "stripped by the shell\n",
        "variables": "shell\nbuild\nshell\n",
    }


def test_an_empty_argument_is_there_and_an_unset_one_is_not(build: Build) -> None:
    built = build("ARG EMPTY=\nARG UNSET\nARG GIVEN\nRUN env > /env", build_args={"GIVEN": ""})
    said = built.text("env").splitlines()
    assert {"EMPTY=", "GIVEN="} <= set(said)
    assert not [line for line in said if line.startswith("UNSET")]


def test_the_hosts_name(build: Build) -> None:
    lines = 'RUN hostname > /name; grep -c "$(hostname)" /etc/hosts >> /name'
    assert build(lines).text("name") == "buildkitsandbox\n1\n"
    assert build(lines, build_args={"BUILDKIT_SANDBOX_HOSTNAME": "mine"}).text("name") == "mine\n1\n"


def test_proxies_are_seen_but_do_not_count(build: Build) -> None:
    lines = "ARG FOO=1\nRUN env | grep -i -e proxy -e FOO | sort > /seen; head -c 16 /dev/urandom | md5sum > /random"
    first = build(lines, build_args={"HTTP_PROXY": "http://one", "no_proxy": "a"})
    assert first.text("seen").split() == sorted(
        ["FOO=1", "HTTP_PROXY=http://one", "NO_PROXY=a", "http_proxy=http://one", "no_proxy=a"]
    )
    other = build(lines, build_args={"HTTP_PROXY": "http://two"})
    assert (other.seen.executed, other.digest) == ([], first.digest)
    assert "http://one" not in first.image.raw_config.decode()
    third = build(lines, build_args={"FOO": "2"})
    assert third.text("random") != first.text("random")
    # Declared, it is an argument like any other.
    for value in ("1", "2"):
        assert build(f"ARG HTTP_PROXY\n{lines}", build_args={"HTTP_PROXY": value}).seen.executed


def test_history_tells_the_arguments_of_a_step(build: Build) -> None:
    built = build("ARG foo=bar\nENV bar=123\nARG bar=456 foo=bar2\nRUN true > /f\nRUN true")
    assert [(one.created_by, one.empty_layer) for one in built.config.history[-2:]] == [
        ("RUN |2 foo=bar2 bar=456 /bin/sh -c true > /f # buildkit", False),
        ("RUN |2 foo=bar2 bar=456 /bin/sh -c true # buildkit", True),
    ]


# --- mounts


def test_a_mounted_context_obeys_its_ignore_file(build: Build) -> None:
    files = {".dockerignore": "secret\n.dockerignore", "secret": "1", "d/open": "1"}
    built = build("RUN --mount=target=/c find /c | sort > /seen", files)
    assert built.text("seen").split() == ["/c", "/c/d", "/c/d/open"]


def test_mounts_over_each_other_show_what_changed(build: Build) -> None:
    lines = """
FROM base AS b1
COPY text /src
FROM base AS b2
RUN mkdir /src && echo two > /src/text
FROM base
RUN --mount=type=bind,from=b1,source=/src,target=/in/one --mount=type=bind,from=b2,source=/src,target=/in/two \\
    cat /in/one /in/two/text > /seen
"""
    assert build(lines, {"text": "one\n"}).text("seen") == "one\ntwo\n"
    assert build(lines, {"text": "new\n"}).text("seen") == "new\ntwo\n"


def test_temporary_files_do_not_stay(build: Build) -> None:
    lines = "RUN --mount=type=tmpfs,target=/t,size=1m echo x > /t/x; df -k /t | tail -n1 | tr -s ' ' > /df\n"
    built = build(lines + "RUN --mount=type=tmpfs,target=/t ls /t > /second; ls -d /t >> /second\nRUN ! test -e /t")
    assert built.text("second") == "/t\n"
    assert " 1024 " in built.text("df")
    assert "t" not in built.tree


def test_a_writable_mount_is_cached_by_what_it_shows(build: Build) -> None:
    lines = """
FROM base AS stage
ARG SALT
RUN mkdir /b && echo same > /b/f && touch -d @1000 /b/f /b && echo $SALT > /dev/null
FROM scratch AS files
COPY --from=stage /b /b
FROM base
RUN --mount=from=files,source=/b,target=/b,rw echo more >> /b/f; cat /b/f > /seen; head -c 16 /dev/urandom > /random
"""
    first, second = (build(lines, build_args={"SALT": salt}) for salt in ("1", "2"))
    assert first.text("seen") == "same\nmore\n"
    assert [name for name in second.seen.executed if "random" in name] == []
    assert second.digest == first.digest


def test_variables_in_mounts(build: Build) -> None:
    lines = """
ARG META=/meta
FROM base AS other
ENV DIR=/from/stage
FROM other
ARG META
ARG NAME=arg
RUN --mount=type=cache,id=$NAME,target=$META/c --mount=type=tmpfs,target=${DIR}/t ls -d $META/c $DIR/t | sort > /seen
"""
    assert build(lines.lstrip()).text("seen").split() == ["/from/stage/t", "/meta/c"]


def test_caches_stay_and_belong_to_whom_they_are_given(build: Build) -> None:
    options = "type=cache,target=/c,uid=1001,gid=1002,mode=0751"
    build(f"RUN --mount={options} stat -c '%a %u:%g' /c > /c/first")
    assert build(f"RUN --mount={options} cat /c/first > /seen").text("seen") == "751 1001:1002\n"
    # The target names a cache that has no id, in whatever stage.
    named = options.replace("target=/c", "id=/c,target=/d")
    assert build(f"WORKDIR /w\nRUN --mount={named} cat /d/first > /seen").text("seen") == "751 1001:1002\n"


def test_shared_caches_in_parallel_steps(build: Build) -> None:
    mounts = "--mount=type=cache,target=/c --mount=type=cache,target=/c/in,id=inner"
    wait = "for i in $(seq 100); do test -e {0} && break; sleep 0.05; done; test -e {0}"
    lines = f"""
FROM base AS one
RUN {mounts} touch /c/one && {wait.format("/c/in/two")} && touch /1
FROM base AS two
RUN {mounts} touch /c/in/two && {wait.format("/c/one")} && touch /2
FROM scratch
COPY --from=one /1 /
COPY --from=two /2 /
"""
    assert build(lines).tree.keys() == {"1", "2"}


def test_a_caches_directory_cannot_be_left(build: Build) -> None:
    build("RUN --mount=type=cache,target=/c ln -s /etc /c/link && ln -s ../../../../../../etc /c/up && mkdir /c/ok")
    for name in ("link", "up"):
        with pytest.raises(BuilderError):
            build(f"RUN --mount=type=cache,id=/c,source={name},target=/d cat /d/passwd")
    assert "done" in build("RUN --mount=type=cache,id=/c,source=ok,target=/d touch /d/f && touch /done").tree


def test_what_a_step_mounts_leaves_no_trace(build: Build) -> None:
    """Missing targets and their parents are gone afterwards, those that were there have the times they had."""
    mounts = "--mount=type=tmpfs,target=/there/at --mount=type=tmpfs,target=/made/for/it --mount=target=/there/new"
    there = "RUN mkdir -p /there/at && touch -d @1000 /there/at /there\n"
    built = build(f"{there}RUN {mounts} touch /there/at/x /made/for/it/y; echo > /said")
    assert built.tree["there"].mtime == built.tree["there/at"].mtime == 1000
    assert {path for path in built.tree if path.startswith(("made", "there"))} == {"there", "there/at"}
    with pytest.raises(BuilderError):
        build("RUN --mount=type=tmpfs,target=/made/for/it true\nRUN test -e /made")


def test_secrets_are_files_or_variables(build: Build) -> None:
    lines = "RUN --mount=type=secret,id=mine,target=/etc/cred,mode=0440,uid=3 stat -c '%a %u %s' /etc/cred > /seen\n"
    lines += "RUN --mount=type=secret,id=mine,env=KEY echo ${#KEY} >> /seen; test ! -e /run/secrets/mine\n"
    lines += 'RUN --mount=type=secret,id=mine,env=KEY,target=/etc/cred test "$KEY" = "$(cat /etc/cred)"\n'
    lines += 'RUN --mount=type=secret,id=absent,env=GONE echo "${GONE-unset}." >> /seen; test ! -e /run/secrets\n'
    built = build(lines, secrets={"mine": lambda: b"pw"})
    assert built.text("seen") == "440 3 2\n2\n.\n"
    assert not {"etc/cred", "run/secrets"} & built.tree.keys()
    for extra in ("", ",env=KEY"):
        with pytest.raises(BuilderError, match="secret mysecret: not found"):
            build(f"RUN --mount=type=secret,required,id=mysecret{extra} true")


# --- what a step leaves


def test_a_volume_is_not_made_and_keeps_what_is_written(build: Build) -> None:
    built = build("VOLUME /v/w\nRUN test ! -e /v && mkdir -p /v/w && echo x > /v/w/f\nCOPY f /v/w/g", {"f": "1"})
    assert {"v/w/f", "v/w/g"} <= built.tree.keys()


# --- the command line


def test_dockerfiles_and_contexts_on_standard_input(tmp_path: Path) -> None:
    """It is one of the two, and an archive's Dockerfile may have another name."""
    context = write_context(tmp_path / "c", "FROM nope\n", {"f": "1", "g": "1", ".dockerignore": "g\n"})
    (tmp_path / "text").write_text("FROM scratch\nCOPY . /c\n")
    (tmp_path / "tar").write_bytes(images.layer(images.file("deep/Other", "FROM scratch\nCOPY . /c\n")))

    def tree(*arguments: str | Path, stdin: str) -> set[str]:
        out = tmp_path / "out"
        shutil.rmtree(out, ignore_errors=True)
        pybuild("-o", f"type=local,dest={out}", *arguments, root=tmp_path / "store", stdin=tmp_path / stdin)
        return set(trees.tree_of(out)) - {"."}

    assert tree("-f", "-", context, stdin="text") == {"c", "c/Dockerfile", "c/.dockerignore", "c/f"}
    assert tree("-", stdin="text") == {"c"}
    assert tree("-f", "deep/Other", "-", stdin="tar") == {"c", "c/deep", "c/deep/Other"}
    pybuild("-f", "-", "-", root=tmp_path / "store", stdin=tmp_path / "text", status=64)
    pybuild("-f", "nothing", "-", root=tmp_path / "store", stdin=tmp_path / "tar", status=66)


def test_sources_of_mounts_are_found_or_named(build: Build, shop: Workshop) -> None:
    """Files and directories, of the context, of another one, of a stage, through links; never a mount of nothing."""
    shop.put({"d/f": "1", "n/a": "2", "n/b": "3", "n/.dockerignore": "b"})
    (shop.context / "l").symlink_to("d")
    named = {"it": str(shop.context / "n")}
    stage = "FROM base AS s\nRUN mkdir -p /a/b && echo hi > /a/b/f && ln -s a /l && ln -s /a/b /m\nFROM base\n"
    for mounts, command, seen in (
        ("--mount=source=d/f,target=/x/y", "cat /x/y", "1"),
        ("--mount=source=l,target=/x", "cat /x/f", "1"),
        ("--mount=from=it,target=/x", "ls -A /x", ".dockerignore\na\n"),
        ("--mount=from=it,source=a,target=/x", "cat /x", "2"),
        ("--mount=from=s,source=/l/b,target=/x --mount=from=s,source=m/f,target=/y", "cat /x/f /y", "hi\nhi\n"),
    ):
        built = build(f"{stage}RUN {mounts} {command} > /seen", contexts=named)
        assert built.text("seen") == seen
    for mount in ("source=nope", "from=it,source=b", "from=s,source=/nope", "from=s,source=/a/b/f/x"):
        with pytest.raises(BuilderError, match="not found") as caught:
            build(f"{stage}RUN --mount={mount},target=/x true", contexts=named)
        assert caught.value.exit_code == 66


def test_what_a_mounted_context_shows_decides(build: Build, shop: Workshop) -> None:
    line = "RUN --mount=source=d,target=/x cat /x/f > /seen; head -c 8 /dev/urandom > /random"
    build(line, {"d/f": "1", "other": "1"})
    os.utime(shop.context / "d/f", (5, 5))
    assert build(line, {"other": "2"}).seen.executed == []
    assert build(line, {"d/f": "3"}).text("seen") == "3"
    secret = "RUN --mount=type=secret,id=s,env=KEY head -c 8 /dev/urandom > /random"
    build(secret, secrets={"s": lambda: b"1"})
    assert build(secret, secrets={"s": lambda: b"2"}).seen.executed == []
