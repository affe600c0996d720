"""Git URLs, and checkouts of repositories made by the test."""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.context.git import GitAccess, checkout, commit_time, resolve_commit
from builder.context.giturl import GitSource, is_git_url, parse_git_url
from builder.context.http import TransientContextError
from builder.errors import ContextError, OutputError
from tests.support.httpd import Quiet, serving
from tests.support.need import need_tool

_TIME = 1_500_000_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("git@host:a/b.git", True),
        ("me@host:a#v1", True),
        ("ssh://host/x", True),
        ("git://host/x", True),
        ("https://host/x.git", True),
        ("https://host/x.git/#v1:sub", True),
        ("http://host/x.git?ref=v1", True),
        ("https://host/x", False),
        ("https://host/x.git/file", False),
        ("https://host/x.gitignore", False),
        ("https://host/x#y.git", False),
        ("file:///x.git", False),
        ("x.git", False),
        ("./git@host:x", False),
        ("C:/x.git", False),
    ],
)
def test_what_is_a_git_url(text: str, expected: bool) -> None:
    assert is_git_url(text) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://h/x.git", GitSource(remote="https://h/x.git")),
        ("https://h:8443/x.git#v1", GitSource(remote="https://h:8443/x.git", ref="v1")),
        ("https://h/x.git#:a/../b/", GitSource(remote="https://h/x.git", subdir="b")),
        ("https://h/x.git#feature/x:/a/b", GitSource(remote="https://h/x.git", ref="feature/x", subdir="a/b")),
        ("https://h/x.git?branch=b&subdir=s", GitSource(remote="https://h/x.git", ref="refs/heads/b", subdir="s")),
        ("https://h/x.git?tag=v1", GitSource(remote="https://h/x.git", ref="refs/tags/v1")),
        ("https://h/x.git?ref=r&checksum=ABCDEF", GitSource(remote="https://h/x.git", ref="r", commit="abcdef")),
        ("https://h/x.git?submodules=false", GitSource(remote="https://h/x.git", submodules=False)),
        ("https://h/x.git?keep-git-dir", GitSource(remote="https://h/x.git", keep_git_dir=True)),
        ("https://h/x.git?mtime=checkout", GitSource(remote="https://h/x.git", mtime="checkout")),
        ("https://u:p%40@h/x.git", GitSource(remote="https://h/x.git", account="u:p@")),
        ("ssh://git@h:22/x.git", GitSource(remote="ssh://git@h:22/x.git")),
        ("git@h:x/y.git#main", GitSource(remote="git@h:x/y.git", ref="main")),
        ("http://127.0.0.1:80/x.git", GitSource(remote="http://127.0.0.1:80/x.git")),
    ],
)
def test_both_forms_are_read(text: str, expected: GitSource) -> None:
    assert parse_git_url(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "git://h/x.git",
        "http://h/x.git",
        "file:///x.git",
        "ext::sh -c id",
        "https://h/x.git#--upload-pack=x",
        "https://h/x.git#a..b",
        "https://h/x.git#a b",
        "https://h/x.git#a\nb",
        "https://h/x.git?ref=-x",
        "https://h/x.git?branch=a&tag=b",
        "https://h/x.git?branch=a#b",
        "https://h/x.git?subdir=a#:b",
        "https://h/x.git?unknown=1",
        "https://h/x.git?commit=xyz",
        "https://h/x.git?commit=abcd&checksum=abce",
        "https://h/x.git?submodules=maybe",
        "https://h/x.git?mtime=now",
        "https://-oProxyCommand=x/y.git",
        "ssh://-oProxyCommand=x/y.git",
        "ssh://u:p@h/y.git",
        "ssh://-u@h/y.git",
        "-u@h:x.git",
        "git@-h:x.git",
        "https:///x.git",
        "https://h:99999/x.git",
        "https://h",
    ],
)
def test_what_git_shall_not_see_is_refused(text: str) -> None:
    with pytest.raises(ContextError):
        parse_git_url(text)


def test_no_error_shows_the_account() -> None:
    for tail in ("", "?x=1", "#a..b"):
        with pytest.raises(ContextError) as caught:
            parse_git_url(f"http://user:sesame@h/x.git{tail}")
        assert "sesame" not in f"{caught.value} {caught.value.hint}"
    assert "sesame" not in repr(parse_git_url("https://user:sesame@h/x.git"))


def _git(directory: Path, *arguments: str) -> str:
    who = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "protocol.file.allow=always")
    when = {
        "GIT_AUTHOR_DATE": f"{_TIME} +0100",
        "GIT_COMMITTER_DATE": f"{_TIME} +0100",
        "GIT_CONFIG_GLOBAL": "/dev/null",
    }
    done = subprocess.run(
        [need_tool("git"), *who, *arguments], cwd=directory, env={**os.environ, **when}, capture_output=True, check=True
    )
    return done.stdout.decode().strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with a tag, two branches, a submodule and an executable."""
    need_tool("git")
    for name in ("module", "repository"):
        (tmp_path / name).mkdir()
        _git(tmp_path / name, "init", "--quiet", "--initial-branch=main")
    (tmp_path / "module/m").write_text("m")
    _git(tmp_path / "module", "add", ".")
    _git(tmp_path / "module", "commit", "--quiet", "-m", "m")
    root = tmp_path / "repository"
    (root / "sub").mkdir()
    (root / "sub/run").write_text("#!")
    (root / "sub/run").chmod(0o700)
    (root / "f").write_text("one")
    os.symlink("/etc", root / "out")
    _git(root, "submodule", "--quiet", "add", f"file://{tmp_path}/module", "mod")
    _git(root, "add", ".")
    _git(root, "commit", "--quiet", "-m", "one")
    _git(root, "tag", "-a", "v1", "-m", "v1")
    _git(root, "branch", "both")
    (root / "f").write_text("two")
    _git(root, "commit", "--quiet", "-am", "two")
    _git(root, "tag", "both")
    return root


def _access(**authorization: str) -> GitAccess:
    return GitAccess({"PATH": os.environ["PATH"]}, authorization, allow_file=True)


def _source(repository: Path, tail: str = "") -> GitSource:
    return parse_git_url(f"file://{repository}/.git{tail}", allow_file=True)


@pytest.mark.parametrize(
    ("tail", "commit"),
    [
        ("", "HEAD"),
        ("#main", "HEAD"),
        ("#v1", "v1^{commit}"),
        ("?tag=v1", "v1^{commit}"),
        ("#both", "refs/heads/both"),
        ("?tag=both", "refs/tags/both"),
        ("#refs/tags/both", "refs/tags/both"),
    ],
)
def test_references_lead_to_commits(repository: Path, tail: str, commit: str) -> None:
    assert resolve_commit(_source(repository, tail), _access()) == _git(repository, "rev-parse", commit)


@pytest.mark.parametrize("tail", ["#nothing", "?branch=v1", "?tag=main", "#v1:sub?x"])
def test_references_that_are_not_there(repository: Path, tail: str) -> None:
    with pytest.raises(ContextError, match="no branch or tag"):
        resolve_commit(_source(repository, tail.removesuffix("?x").replace("v1:", "v9:")), _access())


def test_the_promised_commit_must_come(repository: Path) -> None:
    head = _git(repository, "rev-parse", "HEAD")
    assert resolve_commit(_source(repository, f"?branch=main&checksum={head[:9]}"), _access()) == head
    with pytest.raises(ContextError, match="not 0000"):
        resolve_commit(_source(repository, "?branch=main&checksum=0000"), _access())


def test_a_checkout_is_files_and_nothing_else(repository: Path, tmp_path: Path) -> None:
    source = _source(repository)
    commit = resolve_commit(source, _access())
    old = os.umask(0o077)
    try:
        done = checkout(source, commit, tmp_path / "out", _access())
    finally:
        os.umask(old)
    found = {
        os.path.relpath(os.path.join(directory, name), done.directory)
        for directory, names, files in os.walk(done.directory)
        for name in names + files
    }
    assert found == {".gitmodules", "f", "mod", "mod/m", "out", "sub", "sub/run"}
    assert (done.directory / "f").read_text() == "two"
    assert done.time == _TIME
    for path in found | {"."}:
        info = os.lstat(done.directory / path)
        assert info.st_mtime == _TIME
        if path != "out":
            assert info.st_mode & 0o777 == (0o755 if path in (".", "mod", "sub", "sub/run") else 0o644)


def test_one_old_commit_without_submodules(repository: Path, tmp_path: Path) -> None:
    commit = _git(repository, "rev-parse", "v1^{commit}")
    done = checkout(_source(repository, f"?ref={commit}&submodules=0"), commit, tmp_path / "out", _access())
    assert (done.directory / "f").read_text() == "one"
    assert list((done.directory / "mod").iterdir()) == []


def test_the_repository_may_be_kept(repository: Path, tmp_path: Path) -> None:
    source = _source(repository, "?keep-git-dir=true")
    done = checkout(source, resolve_commit(source, _access()), tmp_path / "out", _access())
    assert _git(done.directory, "status", "--porcelain") == ""
    assert _git(done.directory, "rev-list", "--count", "HEAD") == "1"
    assert list((done.directory / ".git").glob("hooks/*")) == []


@pytest.mark.parametrize(
    ("subdir", "there"), [("sub", True), ("../../sub", True), ("f", False), ("gone", False), ("out", False)]
)
def test_a_subdirectory_stays_inside(repository: Path, tmp_path: Path, subdir: str, there: bool) -> None:
    source = _source(repository, f"#main:{subdir}")
    commit = resolve_commit(source, _access())
    if there:
        assert (checkout(source, commit, tmp_path / "out", _access()).directory / "run").is_file()
    else:
        with pytest.raises(ContextError, match="no directory"):
            checkout(source, commit, tmp_path / "out", _access())


def test_the_users_configuration_and_hooks_do_nothing(repository: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    hook = tmp_path / "home/hooks/post-checkout"
    hook.parent.mkdir(parents=True)
    hook.write_text(f"#!/bin/sh\ntouch {trap}\n")
    hook.chmod(0o755)
    (tmp_path / "home/.gitconfig").write_text(
        f'[core]\nhooksPath = {hook.parent}\n[url "file:///nowhere"]\ninsteadOf = file://\n'
    )
    access = GitAccess({"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home")}, allow_file=True)
    source = _source(repository)
    checkout(source, resolve_commit(source, access), tmp_path / "out", access)
    assert not trap.exists()


def test_files_are_for_tests_only(repository: Path) -> None:
    with pytest.raises(ContextError):
        parse_git_url(f"file://{repository}/.git")
    with pytest.raises(ContextError, match="not allowed"):
        resolve_commit(_source(repository), GitAccess({"PATH": os.environ["PATH"]}))


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot store the files of https://h/r\.git"):
        checkout(parse_git_url("https://h/r.git"), "0" * 40, tmp_path / "none" / "out", _access())


def test_commit_time(repository: Path, tmp_path: Path) -> None:
    assert commit_time(repository / "sub", {"PATH": os.environ["PATH"]}) == _TIME
    assert commit_time(tmp_path, {"PATH": os.environ["PATH"]}) is None
    assert commit_time(repository, {"PATH": "/nowhere"}) is None


def test_commit_time_runs_nothing_that_the_repository_names(repository: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {trap}\n")
    program.chmod(0o755)
    for name in (
        "gpg.program",
        "core.fsmonitor",
        "core.pager",
        "core.sshCommand",
        "diff.external",
        "log.showSignature",
    ):
        _git(repository, "config", name, "true" if name.startswith("log") else str(program))
    assert commit_time(repository, {"PATH": os.environ["PATH"]}) == _TIME
    assert not trap.exists()


class _Requests(Quiet):
    seen: list[str | None]

    def do_GET(self) -> None:
        self.seen.append(self.headers.get("Authorization"))
        self.send_error(401)


@pytest.fixture
def web() -> Iterator[tuple[str, list[str | None]]]:
    _Requests.seen = []
    with serving(_Requests) as port:
        yield f"127.0.0.1:{port}", _Requests.seen


def test_credentials_travel_in_a_header_and_stay_out_of_messages(web: tuple[str, list[str | None]]) -> None:
    need_tool("git")
    host, seen = web
    source = parse_git_url(f"http://user:sesame@{host}/x.git")
    with pytest.raises(ContextError) as caught:
        resolve_commit(source, GitAccess({"PATH": os.environ["PATH"]}))
    assert seen[0] == "Basic " + base64.b64encode(b"user:sesame").decode()
    assert "sesame" not in f"{caught.value} {caught.value.hint}"
    assert "GIT_AUTH_TOKEN" in str(caught.value.hint)


def test_credentials_for_another_host_are_not_sent(web: tuple[str, list[str | None]]) -> None:
    need_tool("git")
    host, seen = web
    with pytest.raises(ContextError):
        resolve_commit(
            parse_git_url(f"http://{host}/x.git"), GitAccess({"PATH": os.environ["PATH"]}, {"example.org": "Bearer no"})
        )
    assert set(seen) == {None}


def test_without_git_the_message_says_so() -> None:
    with pytest.raises(ContextError, match="no git command"):
        resolve_commit(parse_git_url("https://example.org/x.git"), GitAccess({"PATH": "/nowhere"}))


@pytest.mark.parametrize(
    ("script", "said", "later"),
    [
        ("echo 'ssh: connect to host h port 22: Connection refused'", "ssh: connect to host h port 22", True),
        ("echo 'Host key verification failed.'", "failed: Host key verification failed.", False),
        ("printf 'Warning: x\\r\\na@h: Permission denied (publickey).\\r\\n'", "Permission denied (publickey).", False),
        ("true", "failed: fatal: Could not read from remote repository.", False),
    ],
)
def test_what_ssh_says_is_passed_on(tmp_path: Path, script: str, said: str, later: bool) -> None:
    """Of its failure git itself says nothing but that there was one."""
    need_tool("git")
    ssh = tmp_path / "ssh"
    ssh.write_text(f"#!/bin/sh\n{script} >&2\nexit 255\n")
    ssh.chmod(0o755)
    access = GitAccess({"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"})
    with pytest.raises(TransientContextError if later else ContextError) as caught:
        resolve_commit(parse_git_url("ssh://a@h/x.git"), access)
    assert said in caught.value.message
    assert isinstance(caught.value, TransientContextError) is later
