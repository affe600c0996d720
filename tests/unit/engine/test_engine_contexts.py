"""Contexts of every kind in whole builds, and what ADD fetches: standard input, git, the web (dockerfile.md 1.9, 1.11).

Repositories and files come from servers on the loopback. Each test's numbers are rows of docs/compatibility.md.
"""

from __future__ import annotations

import base64
import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zstandard

from builder.errors import BuilderError, ContextError
from tests.support import githttp
from tests.support.builds import Workshop
from tests.support.cli import environment, write_context
from tests.support.commands import run
from tests.support.httpd import Quiet, serving
from tests.support.images import directory, file, layer, write_layout

ACCOUNT = "ann:sesame"
DOCKERFILE = "FROM scratch\nCOPY . /c\n"
NOBODY = "http://127.0.0.1:1"
TAR = layer(directory("./"), file("Dockerfile", DOCKERFILE), file("f", "x", 0o640, uid=7), file(".dockerignore", "f\n"))
UNPACKED = {"c": "dir 755 0", "c/Dockerfile": "file 644 0", "c/f": "file 640 0", "c/.dockerignore": "file 644 0"}
SQUEEZERS: list[Callable[[bytes], bytes]] = [bytes, gzip.compress, bz2.compress, lzma.compress, zstandard.compress]
KINDS = ["tar", "gzip", "bzip2", "xz", "zstd"]

squeezed = pytest.mark.parametrize("squeeze", SQUEEZERS, ids=KINDS)


class _Web(Quiet):
    """Files with validators of their own: a time for all, an ETag for those whose name says so."""

    files: dict[str, bytes]
    asked: list[tuple[str, str, int]]

    def do_GET(self) -> None:
        name = self.path.partition("?")[0].lstrip("/")
        data = self.files.get(name)
        when = "Thu, 01 Jan 2015 00:00:00 GMT"
        tag = f'"{hashlib.sha256(data or b"").hexdigest()}"' if "tagged" in name else ""
        known = self.headers.get("If-None-Match", "-") == tag if tag else self.headers.get("If-Modified-Since") == when
        status = 404 if data is None else 304 if known else 200
        self.asked.append((self.command, name, status))
        self.send_response(status)
        self.send_header("Last-Modified", when)
        if tag:
            self.send_header("ETag", tag)
        self.send_header("Content-Length", str(len(data) if data and status == 200 else 0))
        self.end_headers()
        if data and status == 200:
            self.wfile.write(data)


@contextmanager
def web(**files: bytes) -> Iterator[tuple[str, _Web]]:
    handler = type(
        "Web", (_Web,), {"files": {name.replace("_", "."): data for name, data in files.items()}, "asked": []}
    )
    with serving(handler) as port:
        yield f"http://127.0.0.1:{port}", handler  # type: ignore[misc]  # its class attributes


# --- the main context


@squeezed
def test_a_tar_on_standard_input(shop: Workshop, squeeze: Callable[[bytes], bytes]) -> None:
    built = shop.build(context="-", stdin=io.BytesIO(squeeze(TAR)))
    assert built.shown("mode", "uid") == UNPACKED


def test_a_dockerfile_on_standard_input_without_files(shop: Workshop) -> None:
    built = shop.build(context="-", stdin=io.BytesIO(b"FROM scratch\nCOPY . /\nCOPY <<f /\nx\nf\n"))
    assert built.tree.keys() == {"f"}


@squeezed
def test_a_tar_on_the_web(shop: Workshop, squeeze: Callable[[bytes], bytes]) -> None:
    with web(x=squeeze(TAR)) as (url, _):
        assert shop.build(context=f"{url}/x?y=1").shown("mode", "uid") == UNPACKED
        with pytest.raises(ContextError, match="404"):
            shop.build(context=f"{url}/gone")


def test_a_dockerfile_on_the_web(shop: Workshop) -> None:
    with web(plain=b"FROM scratch\nCOPY . /\nLABEL a=b\n") as (url, _):
        built = shop.build(context=f"{url}/plain")
        assert (built.tree, built.config.config.labels) == ({}, {"a": "b"})


# --- git


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A repository behind HTTP: two commits, the older one tagged v1, a branch called side with another file."""
    root = tmp_path_factory.mktemp("served")
    repo = githttp.repository(
        write_context(
            root / "repo", DOCKERFILE, {"sub/Dockerfile": DOCKERFILE, "sub/in": "1", "f": "one", ".dockerignore": "f"}
        )
    )
    git(repo, "tag", "v1")
    git(repo, "checkout", "--quiet", "-b", "side")
    (repo / "side").write_text("s")
    commit(repo)
    git(repo, "checkout", "--quiet", "main")
    (repo / "f").write_text("two!")
    commit(repo)
    with githttp.serve(root, ACCOUNT) as (host, _):
        yield f"http://{ACCOUNT}@{host}/repo/.git", repo


def git(repo: Path, *words: str) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@t"]
    return str(run(["git", "-C", repo, *who, *words]).stdout).strip()


def commit(repo: Path) -> None:
    git(repo, "add", "--all")
    git(repo, "commit", "--quiet", "--message=more")


ROOT = {"c", "c/Dockerfile", "c/sub", "c/sub/Dockerfile", "c/sub/in", "c/f", "c/.dockerignore"}


@pytest.mark.parametrize(
    ("tail", "paths"),
    [
        ("", ROOT),
        ("#side", ROOT | {"c/side"}),
        ("#:sub", {"c", "c/Dockerfile", "c/in"}),
        ("#v1:sub", {"c", "c/Dockerfile", "c/in"}),
        ("?branch=side", ROOT | {"c/side"}),
        ("?tag=v1&subdir=sub", {"c", "c/Dockerfile", "c/in"}),
        ("?ref=side&submodules=false", ROOT | {"c/side"}),
    ],
)
def test_a_repository_as_context(shop: Workshop, served: tuple[str, Path], tail: str, paths: set[str]) -> None:
    built = shop.build(context=served[0] + tail)
    # What .dockerignore says counts for directories of this machine only.
    assert built.tree.keys() == paths
    assert {one.mode & 0o777 for one in built.tree.values()} == {0o755, 0o644}


def test_a_context_may_keep_its_repository(shop: Workshop, served: tuple[str, Path]) -> None:
    assert "c/.git" not in shop.build(context=served[0]).tree
    assert "c/.git/HEAD" in shop.build(context=f"{served[0]}?keep-git-dir=1").tree
    kept = shop.build(context=served[0], build_args={"BUILDKIT_CONTEXT_KEEP_GIT_DIR": "1"})
    assert "c/.git/HEAD" in kept.tree


@pytest.mark.parametrize("form", ["{url}#{ref}:{sub}", "{url}?ref={ref}&subdir={sub}"])
@pytest.mark.parametrize(("ref", "size"), [("v1", 3), ("main", 4), ("", 4)])
def test_a_repository_is_added(shop: Workshop, served: tuple[str, Path], form: str, ref: str, size: int) -> None:
    whole = form.format(url=served[0], ref=ref, sub="").replace("ref=&", "")
    built = shop.build(f"FROM scratch\nADD {whole} /c\nADD {form.format(url=served[0], ref=ref, sub='sub')} /s/")
    assert built.tree.keys() == ROOT | {"s", "s/Dockerfile", "s/in"}
    assert built.tree["c/f"].size == size
    assert {one.uid for one in built.tree.values()} == {0}


@pytest.mark.parametrize("tail", ["", "?keep-git-dir=true"])
def test_an_added_repository_may_stay_one(shop: Workshop, served: tuple[str, Path], tail: str, tmp_path: Path) -> None:
    flag = "" if tail else "--keep-git-dir"
    built = shop.build(f"FROM scratch\nADD {flag} {served[0]}{tail} /c")
    assert {"c/.git/HEAD", "c/f"} <= built.tree.keys()
    assert not [path for path in built.tree if path.startswith("c/.git/hooks/")]
    assert b"sesame" not in b"".join(gzip.decompress(one) for one in built.layers)


def test_flags_for_added_repositories(shop: Workshop, served: tuple[str, Path]) -> None:
    url, _ = served
    built = shop.build(f"FROM scratch\nADD --chown=5:6 --chmod=750 --exclude=sub {url} /c")
    assert built.shown("mode", "uid", "gid") == {
        "c": "dir 750 5 6",
        "c/.dockerignore": "file 750 5 6",
        "c/Dockerfile": "file 750 5 6",
        "c/f": "file 750 5 6",
    }


def test_checksums_of_added_repositories(shop: Workshop, served: tuple[str, Path]) -> None:
    url, repo = served
    head, old = git(repo, "rev-parse", "main"), git(repo, "rev-parse", "v1")
    for good in (head, head[:8], head.upper()[:12]):
        assert "c/f" in shop.build(f"FROM scratch\nADD --checksum={good} {url}#main /c").tree
    for tail in (f"?ref=main&checksum={head}", f"?checksum={head}", f"?ref=side&commit={head}&fetch-by-commit=1"):
        assert "c/f" in shop.build(f"FROM scratch\nADD {url}{tail} /c").tree
    for wrong in (old, old[:12]):
        with pytest.raises(ContextError, match=f"not {wrong}"):
            shop.build(f"FROM scratch\nADD --checksum={wrong} {url}#main /c")
    with pytest.raises(ContextError, match="--checksum"):
        shop.build(f"FROM scratch\nADD --checksum={old} {url}?checksum={head} /c")
    for garbage in ("sha256:" + "a" * 64, "xyz", "12"):
        with pytest.raises(BuilderError, match=r"(?i)commit|checksum"):
            shop.build(f"FROM scratch\nADD --checksum={garbage} {url}#main /c")


def test_an_unchanged_repository_hits(shop: Workshop, served: tuple[str, Path]) -> None:
    url, _ = served
    text = f"FROM scratch\nADD {url}#v1 /c"
    first, second = shop.build(text), shop.build(text)
    assert (second.seen.executed, second.digest) == ([], first.digest)


def test_a_branch_that_moved_is_noticed(shop: Workshop, tmp_path: Path) -> None:
    repo = githttp.repository(write_context(tmp_path / "served/repo", DOCKERFILE, {"f": "one"}))
    with githttp.serve(tmp_path / "served", ACCOUNT) as (host, _):
        url = f"http://{ACCOUNT}@{host}/repo/.git"
        text = f"FROM scratch\nADD {url}#main /c"
        assert shop.build(text).tree["c/f"].size == shop.build(context=url).tree["c/f"].size == 3
        (repo / "f").write_text("three")
        commit(repo)
        assert shop.build(text).tree["c/f"].size == shop.build(context=url).tree["c/f"].size == 5


# --- named contexts


def test_named_contexts_of_every_kind(shop: Workshop, served: tuple[str, Path], tmp_path: Path) -> None:
    shop.put(
        {"own/keep": "1", "own/drop": "1", "own/.dockerignore": "drop\n", "keep": "main", ".dockerignore": "keep\n"}
    )
    write_layout(tmp_path / "layout", [layer(file("of-image", "1"))])
    with web(t=gzip.compress(layer(file("of-tar", "1"), file(".dockerignore", "of-tar")))) as (url, _):
        contexts = {
            "dir": str(shop.context / "own"),
            "repo": f"{served[0]}#v1:sub",
            "tar": f"{url}/t",
            "img": f"oci-layout://{tmp_path}/layout",
        }
        text = "FROM scratch\n" + "".join(f"COPY --from={name} / /{name}\n" for name in contexts)
        assert shop.build(text, contexts=contexts).tree.keys() == {
            *("dir", "dir/keep", "dir/.dockerignore"),
            *("repo", "repo/Dockerfile", "repo/in"),
            *("tar", "tar/of-tar", "tar/.dockerignore"),
            *("img", "img/of-image"),
        }
        # As a base they are the whole file system.
        assert shop.build("FROM tar", contexts=contexts).tree.keys() == {"of-tar", ".dockerignore"}
        assert shop.build("FROM img\nCOPY --from=DIR keep /", contexts=contexts).tree.keys() == {"of-image", "keep"}


def test_the_dockerfiles_ignore_file_is_the_main_contexts(shop: Workshop) -> None:
    """A named directory has its own or none, whatever lies beside the Dockerfile."""
    (shop.context.parent / "Dockerfile.test.dockerignore").write_text("f\n")
    shop.put({"f": "1", "g": "1", "named/f": "1"})
    text = "FROM scratch\nCOPY . /main\nCOPY --from=it / /it"
    built = shop.build(text, contexts={"it": str(shop.context / "named")})
    assert "main/f" not in built.tree
    assert "it/f" in built.tree


@pytest.mark.parametrize("where", [f"{NOBODY}/x.tar", f"{NOBODY}/x.git", "/no/such/directory", "oci-layout:///no"])
def test_a_context_is_resolved_when_it_is_used(shop: Workshop, where: str) -> None:
    text = "FROM scratch AS unused\nCOPY --from=it / /\nFROM scratch AS used\nCOPY f /"
    built = shop.build(text, {"f": "1"}, contexts={"it": where, "unheard-of": where})
    assert built.tree.keys() == {"f"}
    with pytest.raises(BuilderError):
        shop.build(text, contexts={"it": where}, target="unused")


def test_the_main_context_is_not_looked_at_unless_something_is_copied(shop: Workshop) -> None:
    shop.put({".dockerignore": "["})
    assert shop.build("FROM scratch\nLABEL a=b").tree == {}
    with pytest.raises(BuilderError, match="pattern"):
        shop.build("FROM scratch\nCOPY . /")


# --- downloads of ADD


@pytest.mark.parametrize("name", ["plain", "tagged"])
def test_a_download_is_asked_for_again_by_its_validators(shop: Workshop, name: str) -> None:
    with web(**{name: b"data"}) as (url, server):
        text = f"FROM scratch\nADD {url}/{name} /n/"
        first = shop.build(text)
        assert first.shown("mode", "uid", "mtime")[f"n/{name}"] == "file 600 0 1420070400"
        second = shop.build(text)
        assert (second.seen.executed, second.digest) == ([], first.digest)
        assert [status for _, _, status in server.asked] == [200, 304]
        server.files[name] = b"other"
        third = shop.build(text)
        # A server that only knows the time says that nothing changed.
        assert third.tree[f"n/{name}"].size == (5 if name == "tagged" else 4)


def test_the_name_of_a_download_without_one(shop: Workshop) -> None:
    with web(**{"": b"data", "a/b": b"x"}) as (url, _):
        built = shop.build(f"FROM scratch\nADD {url} {url}/?q /n/\nADD {url}/a/b /m/")
    assert built.tree.keys() == {"n", "n/__unnamed__", "m", "m/b"}


@squeezed
def test_a_downloaded_archive_is_unpacked_when_asked(shop: Workshop, squeeze: Callable[[bytes], bytes]) -> None:
    with web(a=squeeze(layer(file("f", "x", 0o640, uid=5)))) as (url, _):
        assert shop.build(f"FROM scratch\nADD {url}/a /n").tree["n"].type == "file"
        assert shop.build(f"FROM scratch\nADD --unpack=false {url}/a /n").tree["n"].type == "file"
        built = shop.build(f"FROM scratch\nADD --unpack=true --chown=7 {url}/a /n")
        assert built.shown("mode", "uid") == {"n": "dir 755 7", "n/f": "file 640 7"}


# --- large contexts

WALKED = """
import json, os, sys
seen = []
def hook(event, arguments):
    if event in ("os.scandir", "os.listdir"):
        where = arguments[0]
        seen.append(os.readlink(f"/proc/self/fd/{where}") if isinstance(where, int) else os.fspath(where or "."))
sys.addaudithook(hook)
from builder.cli.main import main
status = main(sys.argv[1:])
sys.stderr.write("\\nWALKED " + json.dumps([one for one in seen if CONTEXT in one]) + "\\n")
sys.exit(status)
"""


@pytest.mark.parametrize("exception", ["", "!src/1\n"])
def test_what_is_excluded_is_not_walked(tmp_path: Path, exception: str) -> None:
    """An excluded directory with 100,000 files is never listed; each other one is, once."""
    context = write_context(tmp_path / "context", DOCKERFILE, {".dockerignore": f"node_modules\n{exception}"})
    modules = context / "node_modules"
    for number in range(100):
        (modules / f"m{number}").mkdir(parents=True)
        first = modules / f"m{number}" / "0"
        first.touch()
        for other in range(1, 1000):
            os.link(first, f"{modules}/m{number}/{other}")
    for number in range(3):
        (context / "src" / str(number)).mkdir(parents=True)
    script = f"CONTEXT = {str(context)!r}\n{WALKED}"
    done = run([sys.executable, "-c", script, context], env=environment(tmp_path / "store"))
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("WALKED ")]
    walked = [os.path.relpath(one, context) for one in json.loads(said.removeprefix("WALKED "))]
    # The top once more, for its .dockerignore.
    assert sorted(walked) == [".", ".", "src", "src/0", "src/1", "src/2"]


# --- credentials that are secrets of the build


@contextmanager
def guarded() -> Iterator[tuple[str, list[str | None]]]:
    """A server that answers nobody, and the Authorization headers it was sent."""
    sent: list[str | None] = []

    class Guard(Quiet):
        def do_GET(self) -> None:
            sent.append(self.headers.get("Authorization"))
            self.send_error(404 if sent[-1] else 401)

    with serving(Guard) as port:
        yield f"127.0.0.1:{port}", sent


def basic(account: str) -> str:
    return "Basic " + base64.b64encode(account.encode()).decode()


@pytest.mark.parametrize(
    ("name", "value", "header"),
    [
        ("HTTP_AUTH_TOKEN_127.0.0.1", b"tok\n", "Bearer tok"),
        ("HTTP_AUTH_TOKEN_{host}", b"tok", "Bearer tok"),
        ("HTTP_AUTH_HEADER_{host}", b"Basic abc", "Basic abc"),
        ("HTTP_AUTH_TOKEN_example.org", b"tok", None),
        ("GIT_AUTH_TOKEN", b"tok", None),
    ],
)
def test_downloads_send_the_secret_of_their_host(shop: Workshop, name: str, value: bytes, header: str | None) -> None:
    with guarded() as (host, sent):
        secrets = {name.format(host=host): lambda: value}
        for text in (f"FROM scratch\nADD http://{host}/f /", "FROM scratch\nCOPY --from=it / /"):
            with pytest.raises(ContextError) as caught:
                shop.build(text, secrets=secrets, contexts={"it": f"http://{host}/x"})
            assert "tok" not in f"{caught.value} {caught.value.hint}".replace("TOKEN", "").replace("token", "")
        assert set(sent) == {header}


@pytest.mark.parametrize(
    ("name", "value", "header"),
    [
        ("GIT_AUTH_TOKEN", b"tok", basic("x-access-token:tok")),
        ("GIT_AUTH_TOKEN.{host}", b"tok", basic("x-access-token:tok")),
        ("GIT_AUTH_HEADER", b"Basic abc", "Basic abc"),
        ("GIT_AUTH_HEADER.example.org", b"Basic abc", None),
        ("HTTP_AUTH_TOKEN_{host}", b"tok", None),
    ],
)
def test_git_sends_the_secret_of_its_host(shop: Workshop, name: str, value: bytes, header: str | None) -> None:
    with guarded() as (host, sent):
        secrets = {name.format(host=host): lambda: value}
        with pytest.raises(ContextError):
            shop.build(f"FROM scratch\nADD http://{host}/x.git /", secrets=secrets)
        with pytest.raises(ContextError):
            shop.build(context=f"http://{host}/x.git", secrets=secrets)
        assert set(sent) == {header}


def test_a_repository_that_wants_a_token(shop: Workshop, tmp_path: Path) -> None:
    githttp.repository(write_context(tmp_path / "served/repo", DOCKERFILE, {"f": "1"}))
    with githttp.serve(tmp_path / "served", "x-access-token:tok") as (host, _):
        text = f"FROM scratch\nADD http://{host}/repo/.git /c"
        built = shop.build(text, secrets={f"GIT_AUTH_TOKEN.{host}": lambda: b"tok\n"})
        assert "c/f" in built.tree
        with pytest.raises(ContextError, match="repo"):
            Workshop(tmp_path / "other", shop.context).build(text)


def test_a_secret_that_is_no_header_is_refused(shop: Workshop) -> None:
    for value in (b"a\nb", b"\xff", b"", b"a\0b"):
        with pytest.raises(BuilderError, match="HTTP_AUTH_TOKEN_127"):
            shop.build(
                f"FROM scratch\nADD {NOBODY}/x /", secrets={"HTTP_AUTH_TOKEN_127.0.0.1": lambda value=value: value}
            )
