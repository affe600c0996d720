"""Builds that files describe: targets, several of them, groups, and what a build without such a file never loads."""

from __future__ import annotations

import json
import sys
import tarfile
from pathlib import Path

import pytest

from tests.support.called import Call
from tests.support.cli import CHECKOUT, environment, write_context
from tests.support.commands import run

FILE = """
[build]
labels = { vendor = "us" }
[target.base]
args = { WORD = "base" }
[target.api]
description = "an API"
inherits = "base"
context = "api"
tags = ["api:1"]
[target.web]
inherits = "base"
context = "web"
args = { WORD = "web" }
outputs = [{ type = "oci", dest = "web.tar" }]
iidfile = "web.iid"
[target.push]
context = "api"
[target.broken]
context = "broken"
[group]
default = ["api", "web"]
all = ["default", "push"]
failing = ["broken", "web"]
"""
DOCKERFILE = "FROM scratch\nARG WORD=none\nLABEL word=$WORD\nCOPY file /file\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with two applications, and where a command is given."""
    folder = tmp_path / "project"
    for name in ("api", "web"):
        write_context(folder / name, DOCKERFILE, {"file": name})
    write_context(folder / "broken", "FROM scratch\nCOPY nothing /\n")
    (folder / ".git").mkdir()
    (folder / "pybuild.toml").write_text(FILE)
    monkeypatch.chdir(folder)
    return folder


def labels(call: Call, name: str) -> dict[str, str]:
    config = json.loads(call("inspect", "--config", f"store:{name}").out)["config"]
    found: dict[str, str] = config["Labels"]
    return {name: value for name, value in found.items() if not name.startswith("org.opencontainers")}


def test_a_target(call: Call, project: Path) -> None:
    done = call("build", "api")
    assert done.lines[0].startswith("api:1@sha256:")
    assert labels(call, "api:1") == {"vendor": "us", "word": "base"}
    assert call("api").lines == done.lines, "the word build may be left out"


def test_options_override_a_target(call: Call, project: Path) -> None:
    call("api", "--tag", "other:1", "--build-arg=WORD=mine", "--label", "vendor=me", "--label", "more=x")
    assert labels(call, "other:1") == {"vendor": "me", "more": "x", "word": "mine"}
    assert "api:1" not in call("images").out


def test_several_targets_and_groups(call: Call, project: Path) -> None:
    for words in ((), ("api", "web"), ("default",)):
        done = call(*words)
        assert [line.partition("@")[0].partition(":")[0] for line in done.lines] == ["api", "sha256"]
        (project / "web.tar").unlink()
        assert (project / "web.iid").read_text().startswith("sha256:")
    assert len(call("build", "all").lines) == 3
    assert len(call("build", "web", "all", "api").lines) == 3, "each once"


def test_the_first_that_fails_ends_it(call: Call, project: Path) -> None:
    assert "nothing" in call("failing", status=66).err
    assert not (project / "web.tar").exists()


def test_outputs_are_the_targets(call: Call, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project / "api")
    call("web")
    with tarfile.open(project / "web.tar") as archive:
        assert "index.json" in archive.getnames()


def test_a_command_comes_before_a_target_of_its_name(call: Call, project: Path) -> None:
    assert "push" in call("push", status=64).err
    call("build", "push")


def test_a_directory_and_a_target_of_one_name(call: Call, project: Path) -> None:
    call("web")
    assert (project / "web.tar").exists()
    call("./web", "--tag", "x:1")
    assert labels(call, "x:1") == {"vendor": "us", "word": "none"}


@pytest.mark.parametrize(
    "option", ["--tag=x", "--output=type=image", "--iidfile=x", "--digest-file=x", "--metadata-file=x"]
)
def test_what_is_for_one_target_only(call: Call, project: Path, option: str) -> None:
    told = call("api", "web", option, status=64).err
    assert f"{option.partition('=')[0]}: 2 targets are built, and each has its own" in told
    call("api", option)


@pytest.mark.parametrize(
    ("words", "problem", "hint"),
    [
        (["apu"], "there is neither a target nor a directory called apu", "did you mean api?"),
        (["something"], "there is neither a target nor a directory called something", "the targets are all, api"),
        (["api", "wab"], "there is no target called wab", "did you mean web?"),
        (["api", "."], "unrecognized arguments: .", "see pybuild --help"),
        (["wram"], "there is neither a command nor a directory called wram", "did you mean pybuild warm?"),
    ],
)
def test_words_that_nobody_has(call: Call, project: Path, words: list[str], problem: str, hint: str) -> None:
    told = call(*words, status=64).err
    assert problem in told
    assert hint in told


def test_a_word_near_a_command_may_be_a_target(call: Call, project: Path) -> None:
    (project / "pybuild.toml").write_text("[target.puhs]\ncontext = 'api'\n")
    call("puhs")
    (project / "pybuild.toml").rename(project / "other.toml")
    call("puhs", "--config", "other.toml")
    call("puhs", status=64)
    assert "there is neither a command nor a directory called make-it" in call("make-it", ".", status=64).err
    (project / "pybuild.toml").write_text("[target.make-it]\ncontext = 'api'\n")
    assert "unrecognized arguments: ." in call("make-it", ".", status=64).err


def test_without_a_word(call: Call, project: Path) -> None:
    (project / "pybuild.toml").write_text("[target.api]\ncontext = 'api'\n")
    told = call(status=64).err
    assert "there is nothing to build: no CONTEXT was given" in told
    assert "or a target: api" in told
    (project / "pybuild.toml").write_text("[build]\ncontext = 'api'\ntags = 'from:file'\n")
    assert call().lines[0].startswith("from:file@")
    (project / "pybuild.toml").unlink()
    assert "hint: name a directory: pybuild -t NAME .\n" in call(status=64).err
    assert "unrecognized arguments: web" in call("api", "web", status=64).err
    assert "hint: . was taken for the value of -t\n" in call("-t", ".", status=64).err
    assert "hint: name a directory: pybuild -t NAME .\n" in call("--label=.", status=64).err


def test_a_target_is_built_where_its_file_is(call: Call, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "api/pyproject.toml").write_text("[tool.pybuild.target.here]\ntags = 'here:1'\n")
    monkeypatch.chdir(project / "api")
    assert call("here").lines[0].startswith("here:1@")


def test_a_directory_has_a_file_of_its_own(call: Call, project: Path) -> None:
    (project / "web/pybuild.toml").write_text("[build]\nlabels = { vendor = 'web' }\n")
    call("./web", "--tag", "x:1")
    assert labels(call, "x:1")["vendor"] == "web"
    call("./api", "--tag", "x:1")
    assert labels(call, "x:1")["vendor"] == "us"
    call("./api", "--no-project-config", "--tag", "x:1")
    assert "vendor" not in labels(call, "x:1")


def test_a_projects_file_may_be_trusted(call: Call, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "pybuild.toml").write_text("[target.api]\ncontext = 'api'\njobs = 1\n")
    told = call("api", status=64).err
    assert "target.api.jobs: a project's file may not say this" in told
    assert "--config pybuild.toml" in told
    call("--config", "pybuild.toml", "api")
    monkeypatch.chdir(project / "api")
    assert "--config ../pybuild.toml" in call("api", status=64).err
    call("--config", "../pybuild.toml", "api")


def test_other_calls_for_a_target(call: Call, project: Path) -> None:
    assert "Check complete" in call("--check", "api").out
    assert "WORD" in call("--call=outline", "api").out
    assert "COPY" in call("explain", "api").out
    assert "looks at one target" in call("explain", "api", "web", status=64).err


def test_the_users_file_says_where_the_store_is(
    call: Call, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / "home/.config/pybuild/pybuild.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text("[store]\nroot = '../../store'\n")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    call("api")
    assert not (tmp_path / "home/store").exists(), "the variable comes before"
    monkeypatch.delenv("PYBUILD_ROOT")
    call("api")
    assert "api" in call("images").out
    assert (tmp_path / "home/store/blobs").exists()
    call("--root", tmp_path / "elsewhere", "api")
    assert (tmp_path / "elsewhere/blobs").exists()


def test_a_build_without_files_loads_nothing_of_this(project: Path, store_root: Path) -> None:
    (project / "pybuild.toml").unlink()
    text = "import sys\nfrom builder.cli.main import main\ncode = main(sys.argv[1:])\nprint(sorted(sys.modules))\n"
    done = run(
        [sys.executable, "-c", text, "api"], env=environment(store_root, {"PYTHONPATH": str(CHECKOUT)}), cwd=project
    )
    assert "builder.cli.requests" in done.stdout
    assert "builder.cli.config" not in done.stdout
    assert "'tomli'" not in done.stdout
