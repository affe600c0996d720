"""Build checks through the command line: with --check, in builds, and where they end one; targets and outlines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from builder.context.directory import DirectoryTree
from tests.support.cli import digest_of, pybuild, write_context
from tests.support.images import directory, host_architecture, layer, write_layout

LINT = "FROM scratch as a\nMAINTAINER me\n"


def findings(context: Path, root: Path, *arguments: str) -> list[str]:
    done = pybuild("--call=check,format=json,ignorestatus=true", *arguments, context, root=root)
    return [one["ruleName"] for one in json.loads(done.stdout)["warnings"]]


def test_what_was_found_is_said_before_the_mistake(tmp_path: Path) -> None:
    context = write_context(tmp_path / "c", f"{LINT}NOPE x\n")
    done = pybuild("--check", context, root=tmp_path / "store", status=65)
    assert done.stdout.index("MaintainerDeprecated") < done.stdout.index("unknown instruction: NOPE")
    value = json.loads(pybuild("--call=check,format=json", context, root=tmp_path / "store", status=65).stdout)
    assert [one["ruleName"] for one in value["warnings"]] == ["FromAsCasing", "MaintainerDeprecated"]
    assert "NOPE" in value["buildError"]["message"]


@pytest.mark.parametrize(
    ("directive", "found", "fails"),
    [
        ("", True, False),
        ("# check=skip=all\n", False, False),
        ("# check=error=true\n", True, True),
        ("# check=skip=FromAsCasing;error=true\n", True, True),
        ("# check=skip=FromAsCasing,MaintainerDeprecated;error=true\n", False, False),
    ],
)
def test_checks_may_end_a_build(tmp_path: Path, directive: str, found: bool, fails: bool) -> None:
    context = write_context(tmp_path / "c", f"{directive}{LINT}COPY Dockerfile /\n")
    done = pybuild("--check", context, root=tmp_path / "store", status=65 if found else 0)
    assert ("MaintainerDeprecated" in done.stdout) == found
    done = pybuild(context, root=tmp_path / "store", status=65 if fails else 0)
    assert ("MaintainerDeprecated" in done.stderr) == found
    assert ("#1" in done.stderr) != fails
    assert ("lint violation found for rules: " in done.stderr) == fails


def test_a_build_argument_takes_the_directives_place(tmp_path: Path) -> None:
    context = write_context(tmp_path / "c", f"# check=skip=all\n{LINT}")
    argument = "--build-arg=BUILDKIT_DOCKERFILE_CHECK="
    assert findings(context, tmp_path / "store") == []
    assert findings(context, tmp_path / "store", f"{argument}skip=FromAsCasing") == ["MaintainerDeprecated"]
    pybuild(f"{argument}error=true", context, root=tmp_path / "store", status=65)


def test_a_build_looks_at_the_stages_it_needs_and_check_at_all(tmp_path: Path) -> None:
    context = write_context(tmp_path / "c", f"{LINT}FROM scratch AS b\nENV X=1\n")
    assert "warning" not in pybuild("--target=b", context, root=tmp_path / "store").stderr
    assert findings(context, tmp_path / "store", "--target=b") == []
    assert findings(context, tmp_path / "store") == ["FromAsCasing", "MaintainerDeprecated"]


# --- what files tell


@pytest.fixture
def project(tmp_path: Path) -> Path:
    files = {".git/HEAD": "x", "src/id_rsa": "x", "src/.env": "x", "src/a.pub": "x", ".npmrc": "x", "plain": "x"}
    return write_context(tmp_path / "c", "", files)


@pytest.mark.parametrize(
    ("lines", "ignore", "rules"),
    [
        ("COPY . /", "", ["SensitiveFileCopied"]),
        ("ADD . /", "", ["SensitiveFileCopied"]),
        ("COPY src /", "", ["SensitiveFileCopied"]),
        ("COPY .npmrc /", "", ["SensitiveFileCopied"]),
        ("COPY plain src/*.pub /x/", "", []),
        ("COPY --exclude=id_rsa --exclude=.env src /", "", []),
        ("COPY . /", ".git\n**/id_rsa\n**/.env\n.npmrc", []),
        ("COPY nothing* /x/", "", ["UnmatchedWildcard"]),
        ("ADD nothing* [n]othing /x/", "", ["UnmatchedWildcard", "UnmatchedWildcard"]),
        ("# check=skip=UnmatchedWildcard\nCOPY nothing* /x/", "", []),
        (
            "COPY plain nothing* /x/",
            "",
            [],
        ),  # as files that a project may have are copied: yarn.lock* beside package.json
        ("COPY nothing* pl* /x/", "", []),
        ("COPY .npmrc /", ".npmrc", ["CopyIgnoredFile"]),
        ("COPY src /\nCOPY src /", "", ["SensitiveFileCopied", "SensitiveFileCopied"]),
        ("COPY plain nosuch /x", "", ["SeveralSourcesNoDirectory"]),
    ],
)
def test_findings_about_files(project: Path, tmp_path: Path, lines: str, ignore: str, rules: list[str]) -> None:
    (project / "Dockerfile").write_text(f"FROM scratch\n{lines}\n")
    if ignore:
        (project / ".dockerignore").write_text(ignore)
    assert findings(project, tmp_path / "store") == rules
    if rules != ["CopyIgnoredFile"] and "nosuch" not in lines:
        for _ in range(2):  # a cached step tells it too, and each finding once
            done = pybuild(project, root=tmp_path / "store")
            told = [line.split(": ")[1] for line in done.stderr.splitlines() if line.startswith("warning: ")]
            assert told == rules


def test_checking_a_path_reads_no_directory(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: object, **__: object) -> None:
        raise AssertionError("a directory was read")

    with DirectoryTree(project) as tree:
        monkeypatch.setattr("os.scandir", read)
        assert not tree.ignores("plain")


# --- what bases tell


def base(tmp_path: Path, architecture: str, **container: Any) -> str:
    write_layout(tmp_path / "base", [layer(directory("x"))], config={"architecture": architecture}, container=container)
    return f"--build-context=base=oci-layout://{tmp_path}/base"


def test_variables_of_the_base_are_defined(tmp_path: Path) -> None:
    option = base(tmp_path, host_architecture(), Env=["MINE=1"])
    context = write_context(tmp_path / "c", "FROM base\nENV A=$MINE B=$MIEN\n")
    done = pybuild("--check", option, context, root=tmp_path / "store", status=65)
    assert "UndefinedVar" in done.stdout
    assert "did you mean $MINE?" in done.stdout
    assert "$MINE'" not in done.stdout


def test_a_base_for_another_platform(tmp_path: Path) -> None:
    option = base(tmp_path, "s390x")
    context = write_context(tmp_path / "c", "FROM base\nENV A=1\n")
    assert findings(context, tmp_path / "store", option) == ["InvalidBaseImagePlatform"]
    assert "InvalidBaseImagePlatform" in pybuild(option, context, root=tmp_path / "store").stderr
    assert findings(context, tmp_path / "store", option, "--platform=linux/s390x") == []


def test_arguments_that_triggers_of_the_base_declare_are_known(tmp_path: Path) -> None:
    option = base(tmp_path, host_architecture(), OnBuild=["ARG LATER"])
    context = write_context(tmp_path / "c", "FROM base\nARG NOW\n")
    arguments = (option, "--build-arg=LATER=1", "--build-arg=NOW=1")
    assert findings(context, tmp_path / "store", *arguments) == []
    assert findings(context, tmp_path / "store", *arguments, "--build-arg=NOWW=1") == ["UnknownBuildArg"]


def test_a_registry_out_of_reach_does_not_keep_the_text_from_being_checked(tmp_path: Path) -> None:
    context = write_context(tmp_path / "c", "FROM 127.0.0.1:1/x as a\nENV A=$NOPE\nCOPY . /\n")
    done = pybuild("--check", "--build-arg=X=1", context, root=tmp_path / "store", status=65)
    assert "FromAsCasing" in done.stdout
    assert "1 warning has been found" in done.stdout
    assert "what the base image says is not checked" in done.stderr


# --- outlines and targets


def test_tools_get_targets_and_outlines(tmp_path: Path) -> None:
    text = "# build compiles\nFROM scratch AS build\nARG V=1\nRUN --mount=type=secret,id=s,required x\nFROM scratch\n"
    context = write_context(tmp_path / "c", text)

    def call(what: str, *more: str) -> Any:
        done = pybuild(f"--call={what},format=json", *more, context, root=tmp_path / "store")
        return json.loads(done.stdout)

    first, last = call("targets")["targets"]
    assert (first["name"], first["description"], last["default"]) == ("build", "compiles", True)
    outline = call("outline", "--target=build")
    assert [one["name"] for one in outline["args"]] == ["V"]
    assert [(one["name"], one["required"]) for one in outline["secrets"]] == [("s", True)]
    assert "secrets" not in call("outline")


def test_looking_builds_nothing(tmp_path: Path) -> None:
    context = write_context(tmp_path / "c", "FROM scratch\nCOPY Dockerfile /\n")
    for call in ("check", "outline", "targets"):
        done = pybuild(f"--call={call}", "-t=app", f"--iidfile={tmp_path}/iid", context, root=tmp_path / "store")
        assert "#1" not in done.stderr
    assert not (tmp_path / "iid").exists()
    assert "app is not in the store" in pybuild("validate", "store:app", root=tmp_path / "store", status=67).stderr
    assert digest_of(pybuild("--call=build", "-t=app", context, root=tmp_path / "store"))
