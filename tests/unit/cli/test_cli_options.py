"""Options: what is accepted, what is refused before any work, and what refusals suggest."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import pytest

from builder.cli.commands import images
from builder.cli.options import build_parser, parse, split_command
from builder.cli.parsing import is_flag
from builder.cli.requests import make_request
from builder.engine.request import BuildRequest
from builder.errors import BuilderError, UsageError
from builder.image.annotations import Annotation
from tests.support.cli import pybuild


def request(*words: str, **environment: str) -> BuildRequest:
    command, rest = split_command([*words, "."])
    assert command == "build"
    return make_request(parse(command, rest), environment)


@pytest.mark.parametrize(
    ("words", "command", "rest"),
    [
        (["."], "build", ["."]),
        (["build", "."], "build", ["."]),
        (["--root", "r", "push", "a"], "push", ["--root", "r", "a"]),
        (
            ["--root=r", "--debug", "--progress", "json", "save", "a"],
            "save",
            ["--root=r", "--debug", "--progress", "json", "a"],
        ),
        (["push", "--root", "r", "a"], "push", ["--root", "r", "a"]),
        (["-t", "x", "push"], "build", ["-t", "x", "push"]),  # the context is called push
        ([], "build", []),
    ],
)
def test_commands(words: list[str], command: str, rest: list[str]) -> None:
    assert split_command(words) == (command, rest)


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["--taget", "x", "."], "did you mean --target?"),
        (["--nothing-like-it", "."], "see pybuild --help"),
        (["-y", "."], "see pybuild --help"),
        ([".", "."], "see pybuild --help"),
        (["make-image", "."], "see pybuild --help"),
        (["--pull", "never", "."], "write --pull=never"),
        (["--tag=x"], "name a directory: pybuild -t NAME ."),
    ],
)
def test_hints(words: list[str], hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse("build", words)
    assert caught.value.hint == hint


def test_a_bare_pull_means_always() -> None:
    assert request("--pull").pull == "always"
    assert request("--pull=missing").pull == "missing"
    assert (request("--pull=true").pull, request("--pull=false").pull) == ("always", "auto")  # as with Docker
    assert request().pull == "auto"


FLAGS = [
    (command, action)
    for command, parser in (("build", build_parser("pybuild", "", "")), ("images", images.parser()))
    for action in parser._actions
    if is_flag(action)
]


@pytest.mark.parametrize(("command", "flag"), FLAGS, ids=lambda one: getattr(one, "dest", one))
def test_a_flag_may_say_true_or_false(command: str, flag: argparse._StoreConstAction) -> None:
    """As docker's and kaniko's do; the last one counts."""

    def value(*words: str) -> object:
        return getattr(parse(command, [*words, *(["."] if command == "build" else [])]), flag.dest)

    on, off = flag.const, not flag.const
    for option in flag.option_strings:
        assert [value(f"{option}={text}") for text in ("true", "1", "t", "TRUE")] == [on] * 4
        assert [value(f"{option}={text}") for text in ("false", "0", "f", "False")] == [off] * 4
        assert (value(option, f"{option}=false"), value(f"{option}=false", option)) == (off, on)
        for text in ("", "yes", "2"):
            with pytest.raises(UsageError, match=f"{option}={text}: expected true or false"):
                value(f"{option}={text}")


def test_a_flags_value_is_looked_for_among_options_only() -> None:
    assert parse("build", ["--build-arg=--push=no", "--", "."]).build_arg == ["--push=no"]
    assert split_command(["--debug=false", "images"]) == ("images", ["--debug=false"])
    assert parse("build", ["--", "--push=no"]).context == "--push=no"


def test_options_are_not_abbreviated() -> None:
    with pytest.raises(UsageError):
        parse("build", ["--targ", "x", "."])


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--platform", "foo"], "unknown architecture"),
        (["--platform", "linux/amd64,"], "unknown architecture"),
        (["-t", "UPPER"], "is not a repository name"),
        (["-t", "a@sha256:" + "0" * 64], "its digest is what it is"),
        (["--push"], "needs a name"),
        (["-o", "type=registry"], "needs a name"),
        (["-o", "type=registry,dest=x", "-t", "a"], "has no dest"),
        (["-o", "type=zip,dest=x"], "unknown type 'zip'"),
        (["-o", "type=docker"], "needs a destination"),
        (["-o", "dest=x"], "does not say what to write"),
        (["-o", "type=tar,dst=x"], r"dst means nothing here \(did you mean dest\?\)"),
        (["-o", "typ=oci,dest=x"], r"typ means nothing here \(did you mean type\?\)"),
        (["-o", "type=docker,dest=nosuch/x"], "no directory nosuch"),
        (["-o", "type=docker,dest=."], "is a directory"),
        (["-o", "type=docker,tar=false,dest=x"], "tar means nothing here"),
        (["-o", "type=oci,tar=no,dest=x"], "tar is true or false"),
        (["-o", "type=docker,dest=x,colour=red"], "colour means nothing here"),
        (["-o", "type=local,dest=-"], "cannot go to stdout"),
        (["-o", "type=docker,dest=-", "-o", "type=oci,dest=-"], "only one output"),
        (["-o", "type=docker,dest=x", "-o", "type=oci,dest=./x"], "same place"),
        (["--format", "docker", "--annotation", "a=b"], "has no annotations"),
        (["--annotation", "index:a=b"], "a build for one platform has none"),
        (["--label", "=b"], "expected NAME=VALUE"),
        (["--build-arg", "=b"], "expected NAME"),
        (["--build-context", "a"], "expected NAME=VALUE"),
        (["--build-context", "a="], "say where"),
        (["--build-context", "a=oci-layout:x"], "oci-layout://"),
        (["--build-context", "a=docker-image://UPPER"], "is not a repository name"),
        (["--secret", "src=x"], "expected id="),
        (["--secret", "id=a,src=x,env=Y"], "expected id="),
        (["--secret", "id=a,type=vault"], "expected id="),
        (["--secret", "id=a,src=nosuch"], "there is no file nosuch"),
        (["--jobs", "0"], "from 1 to 1024"),
        (["--jobs", "many"], "from 1 to 1024"),
        (["--timeout", "-1"], "number of seconds"),
        (["--timeout", "nan"], "number of seconds"),
        (["-f", "-", "-"], "both come from standard input"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(
    words: list[str], problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    context = [] if words[-1] == "-" else ["."]
    with pytest.raises(BuilderError, match=problem) as caught:
        make_request(parse("build", [*words, *context]), {})
    assert caught.value.exit_code in (64, 66)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("type=tar", "write type=tar,dest=FILE, or dest=- for standard output"),
        ("type=docker,dest=", "write type=docker,dest=FILE, or dest=- for standard output"),
        ("type=local", "write type=local,dest=DIRECTORY"),
        ("type=oci,tar=false", "write type=oci,tar=false,dest=DIRECTORY"),
        ("dest=x", "add type=, one of docker, oci, tar, local, registry, image, cacheonly"),
        ("type=local,dest=-", "type=tar,dest=- writes the files as a tar"),
        ("type=oci,tar=false,dest=-", "leave tar=false out"),
        ("type=image,dest=x", "write name=NAME instead, or type=oci for a file"),
        ("type=oci,dest=nosuch/x", "make it first, or correct the name"),
        ("type=oci,x", "as in type=oci,dest=FILE"),
    ],
)
def test_a_wrong_output_is_told_what_to_write(
    text: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        make_request(parse("build", ["-o", text, "."]), {})
    assert caught.value.hint == hint


def test_values() -> None:
    made = request(
        *("--label", "a", "--label", "b=c=d", "--build-arg", "X", "--build-arg", "Y=1", "--build-arg", "Z"),
        *("--platform", "arm64", "-t", "a", "-t", "a:latest", "-t", "b:1", "--annotation", "manifest:k=v"),
        X="from outside",
    )
    assert made.labels == {"a": "", "b": "c=d"}
    assert made.build_args == {"X": "from outside", "Y": "1"}
    assert str(made.platform) == "linux/arm64"
    assert [one.familiar for one in made.tags] == ["a:latest", "b:1"]
    assert made.annotations == (Annotation("k", "v"),)


def test_secrets(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"from file")
    words = [
        f"--secret=id=a,src={tmp_path}/file",
        f"--secret=type=file,id=b,source={tmp_path}/file",
        "--secret=id=c,env=VAR",
        "--secret=type=env,id=d,src=VAR",
        "--secret=type=env,id=VAR",
        "--secret=id=NAME",
    ]
    made = request(*words, VAR="from variable", NAME="named so").secrets
    values = {name: read() for name, read in made.items()}
    assert values == {
        "a": b"from file",
        "b": b"from file",
        "c": b"from variable",
        "d": b"from variable",
        "VAR": b"from variable",
        "NAME": b"named so",
    }


def test_a_missing_context_is_named(tmp_path: Path, store_root: Path) -> None:

    assert (
        "the build context nosuch is no directory" in pybuild("nosuch", root=store_root, status=66, cwd=tmp_path).stderr
    )


def test_a_sites_network() -> None:
    assert request().network == "default"
    assert request(PYBUILD_NETWORK="none").network == "none"
    assert request("--network=host", PYBUILD_NETWORK="none").network == "host"
    assert request(PYBUILD_NETWORK="").network == "default"
    with pytest.raises(UsageError, match="PYBUILD_NETWORK=nine"):
        request(PYBUILD_NETWORK="nine")
