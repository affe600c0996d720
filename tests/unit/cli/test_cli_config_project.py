"""A project's file: where it is looked for, and that it names nothing outside of the project."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.cli.config.effective import Found, chosen, read_files
from builder.cli.config.files import Source, read_source
from builder.cli.config.keys import KEYS
from builder.errors import UsageError
from builder.settings import Project, find_project
from tests.support.cli import write_context
from tests.support.need import need_root


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository with a directory, and beside it what is not its business; both have the same names."""
    for folder in ("project", "outside"):
        write_context(tmp_path / folder, "FROM scratch\n", {"src/Dockerfile": "FROM scratch\n", ".git/hooks/x": ""})
    (tmp_path / "project/way-out").symlink_to("../outside")
    (tmp_path / "project/file-out").symlink_to("/etc/passwd")
    (tmp_path / "project/git").symlink_to(".git")
    (tmp_path / "project/sub/module/.git").mkdir(parents=True)
    return tmp_path / "project"


def read(project: Path, text: str) -> Source:
    file = project / "pybuild.toml"
    file.write_text(f"[target.api]\n{text}\n")
    return read_source(file, "project", Project(file, project))


@pytest.mark.parametrize(
    "text",
    [
        "context = 'src'",
        "context = '.'",
        "context = 'src/../src'",
        "dockerfile = 'src/Dockerfile'",
        "dockerfile = 'not-there-yet'",
        "args = { A = '1' }",
        "args = ['A=1', 'B=']",
        "contexts = { a = 'src', b = 'docker-image://debian:12' }",
        "contexts = { a = 'oci-layout://src:1', b = 'docker-archive:src/x' }",
        "outputs = [{ type = 'oci', dest = 'out.tar' }, { type = 'local', dest = 'new' }, 'type=image', 'src']",
        "outputs = [{ type = 'image', name = 'a:1,b:2' }]",
        "iidfile = 'src/iid'",
        "digest-file = 'd'\nmetadata-file = 'm.json'",
    ],
)
def test_what_lies_in_the_project(project: Path, text: str) -> None:
    assert "api" in read(project, text).targets


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("context = '..'", "is not in the project"),
        ("context = '/'", "is not in the project"),
        ("context = '../outside'", "is not in the project"),
        ("context = '../project-2'", "is not in the project"),
        ("context = 'way-out'", "is not in the project"),
        ("context = 'way-out/src'", "is not in the project"),
        ("context = '-'", "standard input"),
        ("context = 'https://git.example/a.git'", "directory of the project"),
        ("context = 'git@git.example:a/b.git'", "directory of the project"),
        ("context = 'ssh://git.example/a.git'", "directory of the project"),
        ("context = 'file:///home/me/secret.git'", "directory of the project"),
        ("dockerfile = '../outside/Dockerfile'", "is not in the project"),
        ("dockerfile = 'file-out'", "is not in the project"),
        ("dockerfile = '/etc/passwd'", "is not in the project"),
        ("dockerfile = '-'", "standard input"),
        ("args = ['TOKEN']", "variable of whoever builds"),
        ("args = ['A=1', 'TOKEN']", "variable of whoever builds"),
        ("contexts = { a = '/etc' }", "is not in the project"),
        ("contexts = { a = 'way-out' }", "is not in the project"),
        ("contexts = { a = 'https://git.example/a.git' }", "directory of the project or an image"),
        ("contexts = { a = 'git@git.example:a/b.git' }", "directory of the project or an image"),
        ("contexts = ['a=/etc']", "is not in the project"),
        ("contexts = { a = 'oci-layout:///var/images' }", "is not in the project"),
        ("contexts = { a = 'oci-layout://way-out:1' }", "is not in the project"),
        ("contexts = { a = 'oci-layout://way-out@sha256:0' }", "is not in the project"),
        ("contexts = { a = 'docker-archive:/home/me/a.tar' }", "is not in the project"),
        ("contexts = { a = 'docker-archive:way-out:x/y:1' }", "is not in the project"),
        ("outputs = [{ type = 'registry' }]", "would push"),
        ("outputs = 'type=registry'", "would push"),
        ("outputs = ['type=local,type=registry,dest=x']", "would push"),
        ("outputs = [{ type = 'image', push = true }]", "would push"),
        ("outputs = ['type=image,push=1']", "would push"),
        ("outputs = [' type = registry']", "would push"),
        ("outputs = [{ type = 'oci', dest = '/tmp/x' }]", "is not in the project"),
        ("outputs = [{ type = 'oci', dest = '../x' }]", "is not in the project"),
        ("outputs = ['type=oci,dest=a,dest=../x']", "is not in the project"),
        ("outputs = ['type=oci,\"dest=../a,b\"']", "is not in the project"),
        ("outputs = '../outside'", "is not in the project"),
        ("outputs = 'way-out/src'", "is not in the project"),
        ("outputs = '.'", "over the project"),
        ("outputs = 'src/..'", "over the project"),
        ("outputs = [{ type = 'local', dest = '.git/hooks' }]", "version control's own"),
        ("outputs = [{ type = 'local', dest = '.GIT' }]", "version control's own"),
        ("outputs = [{ type = 'local', dest = 'git/hooks' }]", "version control's own"),
        ("outputs = [{ type = 'oci', dest = 'new/.git/config' }]", "version control's own"),
        ("outputs = [{ type = 'local', dest = 'sub' }]", "there is a repository in sub"),
        ("outputs = '-'", "answer on standard output"),
        ("outputs = ['type=image', '-']", "answer on standard output"),
        ("outputs = 'type=oci,dest=-'", "answer on standard output"),
        ("outputs = [{ type = 'tar', dest = '-' }]", "answer on standard output"),
        ("outputs = 'type=tar, dest =-'", "answer on standard output"),
        ("iidfile = '-'", "answer on standard output"),
        ("metadata-file = '-'", "answer on standard output"),
        ("iidfile = '../x'", "is not in the project"),
        ("iidfile = '.git/hooks/post-checkout'", "version control's own"),
        ("digest-file = '/home/me/.bashrc'", "is not in the project"),
        ("metadata-file = 'way-out/x'", "is not in the project"),
        ("timings = '/tmp/x'", "is not in the project"),
    ],
)
def test_what_does_not(project: Path, text: str, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(project, text)
    assert caught.value.message.startswith(f"{project}/pybuild.toml:2: target.api.{text.partition(' ')[0]}")
    assert "a project's file may not say this: " in caught.value.message
    assert problem in caught.value.message
    assert "--config" in (caught.value.hint or "")
    file = project / "pybuild.toml"
    read_source(file, "--config")


def test_the_whole_repository_is_the_project(project: Path) -> None:
    folder = project / "services"
    folder.mkdir()
    file = folder / "pybuild.toml"
    file.write_text("[build]\ncontext = '..'\n")
    read_source(file, "project", Project(file, project))
    with pytest.raises(UsageError, match="is not in the project"):
        read_source(file, "project", Project(file, folder))


def test_a_file_that_is_a_link_out_of_the_project_is_not_the_projects(project: Path) -> None:
    outside = project.parent / "outside/pybuild.toml"
    outside.write_text("[build]\nargs = { A = 'mine' }\n")
    file = project / "pybuild.toml"
    file.symlink_to(outside)
    with pytest.raises(UsageError, match=r"pybuild\.toml: it is not the project's own: it is a link out") as caught:
        read_source(file, "project", Project(file, project))
    assert "--no-project-config" in (caught.value.hint or "")
    file.unlink()
    (project / "src/settings").write_text("[build]\n")
    file.symlink_to("src/settings")
    read_source(file, "project", Project(file, project))


def test_another_users_file_above_is_not_the_projects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in /tmp, where anybody may put a repository above what we build."""
    need_root()
    folder = write_context(tmp_path / "shared/mine", "FROM scratch\n", {})
    (tmp_path / "shared/.git").mkdir()
    file = tmp_path / "shared/pybuild.toml"
    file.write_text("[build]\n")
    monkeypatch.chdir(folder)

    def owners(of_file: int, of_folder: int) -> int | None:
        os.chown(file, of_file, -1)
        os.chown(folder, of_folder, -1)
        found = find_project(".")
        assert found is not None
        if found.stranger is None:
            read_source(file, "project", found)
        else:
            with pytest.raises(UsageError, match=f"it belongs to user {of_file}, and what is built does not"):
                read_source(file, "project", found)
        return found.stranger

    assert [owners(0, 0), owners(0, 4711), owners(4711, 4711)] == [None] * 3  # the last is a stranger's checkout
    assert [owners(4711, 0), owners(4711, 4712)] == [4711] * 2
    os.chown(file, 0, -1)
    file.rename(tmp_path / "real")
    file.symlink_to(tmp_path / "real")
    os.chown(file, 4711, -1, follow_symlinks=False)
    found = find_project(".")
    assert found is not None
    assert found.stranger == 4711


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("labels = " + "[" * 400 + "]" * 400, "build.labels[0]: expected a text"),
        ("labels." + ".".join("a" * 900) + " = 1", "build.labels.a: expected a name without = and a text"),
        ("labels = " + "[" * 5000, "not TOML"),
        ("labels." + ".".join("a" * 5000) + " = 1", "not TOML"),
        (
            "".join(f"[target.t{one}]\ninherits = 't{one + 1}'\n" for one in range(2000)) + "[target.t2000]",
            "target.t100.inherits: more than 100 in a row",
        ),
        (
            "[target.t]\n[group]\n" + "".join(f"g{one} = 'g{one + 1}'\n" for one in range(2000)) + "g2000 = 't'",
            "group.g100: more than 100 in a row",
        ),
        ("#" * (1 << 20), "larger than"),
    ],
    ids=["brackets", "dots", "more brackets", "more dots", "targets", "groups", "size"],
)
def test_no_depth_is_a_bug_of_ours(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "pybuild.toml"
    file.write_text(f"[build]\n{text}\n")
    with pytest.raises(UsageError) as caught:
        read_files(Found((), project=Project(file, tmp_path)))
    assert problem in caught.value.message


def test_targets_and_groups_that_are_named_by_many_are_looked_at_once(tmp_path: Path) -> None:
    """One after the other this would be a thousand million."""
    names = [(f"a{one}", f"b{one}") for one in range(31)]
    both = [(name, below) for above, below in itertools.pairwise(names) for name in above]
    targets = "".join(f"[target.{name}]\ninherits = {list(below)}\n" for name, below in both)
    groups = "[group]\n" + "".join(f"g{name} = {[f'g{one}' for one in below]}\n" for name, below in both)
    file = tmp_path / "pybuild.toml"
    file.write_text(f"{targets}[target.a30]\n[target.b30]\n{groups}ga30 = 'a0'\ngb30 = 'b0'\n")
    files = read_files(Found((), project=Project(file, tmp_path)))
    assert chosen(["ga0"], files) == ("a0", "b0")
    assert len(files.chain("a0")) == 61


TEXTS = st.text(st.sampled_from("ab/.~-=,:@\"' \n\0ÿ"), max_size=20)
VALUES = st.recursive(
    st.one_of(TEXTS, st.booleans(), st.integers(), st.floats(allow_nan=False)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=4,
)


def toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(name)} = {toml(one)}" for name, one in value.items()) + " }"
    return f"[{', '.join(map(toml, value))}]" if isinstance(value, list) else json.dumps(value)


@given(st.sampled_from([one.name for one in KEYS]), VALUES)
def test_any_value_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, key: str, value: object) -> None:
    folder = tmp_path_factory.getbasetemp() / "fuzzed"
    folder.mkdir(exist_ok=True)
    with contextlib.suppress(UsageError):
        read(folder, f"{key} = {toml(value)}")


# --- where it is


def test_where_a_projects_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    top = tmp_path / "repository"
    for path in ("a/b/c", "d/.git", "with-python"):
        (top / path).mkdir(parents=True)
    (tmp_path / "pybuild.toml").touch()  # beyond the repository
    monkeypatch.chdir(tmp_path)
    (top / ".git").touch()  # as in a worktree
    assert find_project(f"{top}/a") is None
    (top / "pybuild.toml").touch()
    assert find_project(f"{top}/a/b/c") == find_project(str(top)) == Project(top / "pybuild.toml", top)
    assert find_project("repository/a") == Project(top / "pybuild.toml", top)
    (top / "a/b/pybuild.toml").touch()
    assert find_project(f"{top}/a/b/c") == Project(top / "a/b/pybuild.toml", top)
    assert find_project(f"{top}/d") is None, "a repository in it is another project"
    other = top / "with-python/pyproject.toml"
    other.write_text("[project]\nname = 'x'\n")
    assert find_project(f"{top}/with-python") == Project(top / "pybuild.toml", top)
    other.write_text("[project]\nname = 'x'\n[tool.pybuild.build]\n")
    assert find_project(f"{top}/with-python") == Project(other, top)
    (top / "with-python/pybuild.toml").touch()
    assert find_project(f"{top}/with-python") == Project(top / "with-python/pybuild.toml", top)
    other.unlink()
    os.mkfifo(other)
    (top / "with-python/pybuild.toml").unlink()
    assert find_project(f"{top}/with-python") == Project(top / "pybuild.toml", top)


def test_without_a_repository_it_is_not_looked_for_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a/b/c").mkdir(parents=True)
    (tmp_path / "pybuild.toml").touch()
    monkeypatch.chdir(tmp_path / "a")
    assert find_project(".") is None
    assert find_project("b/c") is None
    assert find_project(str(tmp_path)) == Project(tmp_path / "pybuild.toml", tmp_path)
    (tmp_path / "a/pybuild.toml").touch()
    assert find_project(".") == find_project("b/c") == Project(tmp_path / "a/pybuild.toml", tmp_path / "a")
    (tmp_path / "a/b/pybuild.toml").touch()
    assert find_project("b/c") == Project(tmp_path / "a/b/pybuild.toml", tmp_path / "a/b")
    monkeypatch.chdir(tmp_path / "a/b/c")
    assert find_project(".") is None
    monkeypatch.chdir("/")
    assert find_project(f"{tmp_path}/a/b/c") is None or find_project("/") is None


def test_a_current_directory_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert find_project(".") is None
