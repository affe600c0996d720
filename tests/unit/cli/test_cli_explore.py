"""``pybuild explore``: its options, the few lines, where the page goes, and the viewer."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from builder.errors import OutputError
from builder.explore.serving import Viewer
from tests.support import images
from tests.support.called import Call
from tests.support.cli import CHECKOUT, environment
from tests.unit.cli.conftest import OTHER, Multi


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """An image of two layers; the second removes a file of the first."""
    history = [
        {"created_by": "COPY . / # buildkit"},
        {"created_by": "ENV A=1", "empty_layer": True},
        {"created_by": "RUN /bin/sh -c rm /big\x1b[2J # buildkit"},
    ]
    layers = [
        images.layer(images.file("big", "x" * 3000), images.file("small", "x" * 1000)),
        images.layer(images.file(".wh.big"), images.file("new", "y" * 500)),
    ]
    images.write_layout(tmp_path / "app", layers, config={"history": history})
    return tmp_path / "app"


def test_the_summary_tells_what_each_layer_costs(app: Path, call: Call) -> None:
    lines = call("explore", "--summary", app).lines
    assert re.fullmatch(
        r"2 layers, \d+B as stored; 2 files with 1.5kB, 33.3% of all bytes; 3kB in 1 file that later layers hide",
        lines[1],
    )
    assert lines[3].split() == ["LAYER", "SIZE", "ADDED", "CHANGED", "REMOVED", "HIDDEN", "LATER", "MADE", "BY"]
    assert lines[4].split()[:7] == ["1", "4kB", "3", "0", "0", "3kB", "COPY"]
    assert lines[5].split()[:7] == ["2", "500B", "1", "0", "1", "0B", "RUN"]
    assert "\x1b" not in lines[5]
    assert lines[8].split() == ["3kB", "/big", "removed", "by", "layer", "2"]


def test_the_lines_of_an_image_built_here_are_those_of_its_dockerfile_then(
    tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = b"FROM scratch AS one\n# \xff\nCOPY file \\\n  /\xff<b>\nFROM one AS other\nLABEL a=b\n"
    Path("file").write_text("1")
    Path("Containerfile").write_bytes(made)
    call("-q", "-f", tmp_path / "Containerfile", "--target", "one", "-t", "app:1", "-t", "same:1", ".")
    Path("Containerfile").write_text("FROM scratch\nCOPY other /\n")

    def lines(*words: str) -> list[object]:
        (image,) = call("explore", "--json", *words).json["images"]
        return [image["dockerfile"], [step["line"] for step in image["history"]]]

    expected = ["Containerfile", [[3, 4, "COPY file \\\n  /\udcff<b>"]]]
    assert lines("app:1") == lines("same:1") == expected
    call("save", "app:1", "-o", tmp_path / "app.tar", "--type", "oci")
    assert lines(str(tmp_path / "app.tar")) == expected
    call("tag", "app:1", "later:1")
    call("rmi", "app:1", "same:1")
    assert lines("later:1") == expected
    assert lines("later:1", "-f", "Containerfile") == ["Containerfile", [[2, 2, "COPY other /"]]]


def test_two_images_are_summed_up_with_their_differences(app: Path, tmp_path: Path, call: Call) -> None:
    images.write_layout(tmp_path / "other", [images.layer(images.file("small", "y" * 1000))])
    assert call("explore", "--summary", app, tmp_path / "other").lines[-1] == (
        "differences: 0 added, 1 changed, 0 metadata, 1 removed"
    )


@pytest.mark.parametrize(
    ("name", "page"),
    [
        ("app", "app.html"),
        ("a b:1", "a-b-1.html"),
        ("...", "image.html"),
        ("x@1", "x.html"),
        ("a.oci.tar.gz", "a.html"),
    ],
)
def test_the_page_is_named_after_the_image(
    name: str, page: str, app: Path, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    from builder.cli.commands.explore import _default_name

    assert _default_name(f"registry.example/team/{name}") == page
    monkeypatch.chdir(tmp_path)
    assert call("explore", app).lines == ["app.html"]
    assert (tmp_path / "app.html").read_text().startswith("<!DOCTYPE html>")


def test_only_a_page_is_replaced_by_one_that_has_no_name_of_its_own(
    app: Path, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "app.html"
    page.write_text("<title>mine</title>")
    assert "is no page of pybuild explore" in call("explore", app, status=64).err
    assert page.read_text() == "<title>mine</title>"
    for words in (["-o", "app.html"], []):
        assert call("explore", app, *words).lines == ["app.html"]
    page.unlink()
    page.mkdir()
    assert "app.html" in call("explore", app, status=64).err


def test_the_page_may_go_to_standard_output(app: Path, call: Call) -> None:
    assert call("explore", app, "-o", "-").out.startswith("<!DOCTYPE html>")


def test_the_dockerfile_tells_the_lines_behind_layers(app: Path, tmp_path: Path, call: Call) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch AS x\nCOPY . /\nENV A=1\n\nRUN rm \\\n /big\nFROM x AS y\n")
    (image,) = call("explore", "--json", "-f", tmp_path / "Dockerfile", "--target", "x", app).json["images"]
    assert [one["line"] for one in image["history"]] == [
        [2, 2, "COPY . /"],
        [3, 3, "ENV A=1"],
        [5, 6, "RUN rm \\\n /big"],
    ]
    assert image["dockerfile"] == str(tmp_path / "Dockerfile")
    assert call("explore", "--json", app, "-f", tmp_path / "none", status=66).out == ""
    assert (
        "could not be found"
        in call("explore", "--json", app, "-f", tmp_path / "Dockerfile", "--target", "z", status=65).err
    )


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--json", "-o", "x.html"], "answers instead of a page"),
        (["--json", "--serve"], "answers instead of a page"),
        (["--target", "x"], "is a stage of a Dockerfile"),
        (["--port", "80"], "--port goes with --serve"),
        (["--no-open"], "--no-open goes with --serve"),
        (["--serve", "--port", "x"], "expected a number"),
        (["--serve", "--port", "65536"], "ports end at 65535"),
        (["--serve", "-o", "x.html"], "not allowed with"),
        (["-o", "/none/x.html"], "there is no directory"),
    ],
)
def test_options_that_mean_nothing_together(words: list[str], problem: str, app: Path, call: Call) -> None:
    assert problem in call("explore", app, *words, status=64).err


def test_an_image_for_another_platform(app: Path, call: Call) -> None:
    assert "is an image for" in call("explore", "--platform", "linux/riscv64", app, status=67).err


# --- the viewer


def _ask(url: str, path: str, host: str | None = None, method: str = "GET") -> http.client.HTTPResponse:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection("127.0.0.1", parts.port, timeout=20)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", host or parts.netloc)
    connection.endheaders()
    return connection.getresponse()


def test_only_the_page_is_served_and_only_with_the_token(tmp_path: Path) -> None:
    (tmp_path / "page").write_bytes(b"<p>" * 100_000)
    with open(tmp_path / "page", "rb") as page:
        viewer = Viewer(page)
        serving = threading.Thread(target=viewer.run)
        serving.start()
        try:
            parts = urlsplit(viewer.url)
            assert parts.hostname == "127.0.0.1"
            assert len(parts.path) > 32
            for _ in range(2):
                answer = _ask(viewer.url, parts.path)
                assert (answer.status, answer.read()) == (200, b"<p>" * 100_000)
            assert "frame-ancestors 'none'" in str(answer.headers["Content-Security-Policy"])
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert _ask(viewer.url, parts.path, method="HEAD").read() == b""
            assert _ask(viewer.url, parts.path, f"localhost:{parts.port}").status == 200
            wrong = ("/", parts.path[:-1], parts.path + "x", parts.path + "../", "/etc/passwd", "/%ff/", "//")
            assert [_ask(viewer.url, path).status for path in wrong] == [404] * len(wrong)
            for host in ("rebound.example", "127.0.0.1", "127.0.0.1:1"):
                assert _ask(viewer.url, parts.path, host).status == 421
            assert _ask(viewer.url, parts.path, method="POST").status == 501
        finally:
            viewer.stop()
            serving.join()
            viewer.close()


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    (tmp_path / "page").write_bytes(b"")
    with open(tmp_path / "page", "rb") as page:
        viewer = Viewer(page)
        try:
            with pytest.raises(OutputError, match="cannot serve on 127"):
                Viewer(page, urlsplit(viewer.url).port or 0)
        finally:
            viewer.close()


@pytest.mark.parametrize("looking", [True, False], ids=["after a look", "at once"])
def test_serving_ends_with_an_interrupt_and_leaves_nothing(app: Path, store_root: Path, looking: bool) -> None:
    words = [sys.executable, "-m", "builder.cli.main", "explore", "--serve", str(app)]
    with subprocess.Popen(
        words, env=environment(store_root), cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        if looking:
            assert _ask(url, urlsplit(url).path).read().startswith(b"<!DOCTYPE html>")
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == 0
    assert list((store_root / "tmp").iterdir()) == []


def _browser(folder: Path, name: str) -> str:
    """Return a program that writes down what it is to show."""
    program = folder / name
    program.write_text(f'#!/bin/sh\nprintf %s "$1" >{folder}/shown\n')
    program.chmod(0o755)
    return str(program)


@contextlib.contextmanager
def _served(app: Path, root: Path, browser: str, *words: str) -> Iterator[str]:
    """Serve to a terminal, yield the address, and interrupt."""
    ours, theirs = os.openpty()
    env = {"DISPLAY": None, "WAYLAND_DISPLAY": None, "BROWSER": browser}
    command = [sys.executable, "-m", "builder.cli.main", "explore", "--serve", *words, str(app)]
    process = subprocess.Popen(command, env=environment(root, env), cwd=CHECKOUT, stdout=theirs)
    os.close(theirs)
    with process, open(ours, encoding="ascii") as screen:
        try:
            yield screen.readline().strip()
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=30) == 0


@pytest.mark.parametrize(("name", "opened"), [("firefox-like", True), ("lynx", False)])
def test_a_browser_with_windows_is_opened(name: str, opened: bool, tmp_path: Path) -> None:
    text = "import sys, threading, builder.explore.serving as s; s.open_browser(sys.argv[1])"
    text += "; [one.join() for one in threading.enumerate() if one.daemon]"
    env = environment(tmp_path, {"BROWSER": _browser(tmp_path, name), "DISPLAY": None, "WAYLAND_DISPLAY": None})
    subprocess.run([sys.executable, "-c", text, "http://127.0.0.1:1/x"], env=env, cwd=CHECKOUT, check=True)
    assert (tmp_path / "shown").exists() == opened
    if opened:
        assert (tmp_path / "shown").read_text() == "http://127.0.0.1:1/x"


def test_the_page_is_opened_for_somebody_at_a_terminal(app: Path, tmp_path: Path, store_root: Path) -> None:
    browser = _browser(tmp_path, "open")
    with _served(app, store_root, browser, "--no-open") as url:
        assert _ask(url, urlsplit(url).path).status == 200
    assert not (tmp_path / "shown").exists()
    os.mkfifo(tmp_path / "shown")
    with open(os.open(tmp_path / "shown", os.O_RDWR), "rb") as shown, _served(app, store_root, browser) as url:
        readable, _, _ = select.select([shown], [], [], 30)
        assert readable, "no browser was opened"
        assert os.read(shown.fileno(), 1000).decode() == url


def test_an_image_of_a_registry_and_of_the_store(
    remote: Callable[..., tuple[str, Multi]], built: Callable[..., str], call: Call, tmp_path: Path
) -> None:
    name, made = remote()
    (image,) = call("explore", "--json", f"docker://{name}").json["images"]
    assert image["digest"] == made.native["digest"]
    (other,) = call("explore", "--json", "--platform", f"linux/{OTHER}", f"docker://{name}").json["images"]
    assert other["digest"] == made.other["digest"]
    digest = built("explored:1")
    value = call("explore", "--json", "explored:1").json
    assert value["images"][0]["digest"] == digest
    assert [one["path"] for one in value["files"]] == ["/", "/file"]


def test_every_step_of_a_build_has_its_line(call: Call, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("hello")
    text = (
        "FROM scratch AS below\nCOPY file /a\nENV A=1 \\\n  B=2\n"
        "FROM below\nARG V=1\nWORKDIR /w\nADD --chmod=600 file b\nCOPY <<X /c\nbody\nX\n"
        "USER 7\nLABEL a=$V\nEXPOSE 80\nVOLUME /v\nHEALTHCHECK NONE\nSTOPSIGNAL 9\n"
        'ENTRYPOINT ["/a"]\nCMD b\n'
    )
    (tmp_path / "Dockerfile").write_text(text)
    call("-t", "lines:1", tmp_path)
    (image,) = call("explore", "--json", "-f", tmp_path / "Dockerfile", "lines:1").json["images"]
    firsts = [one["line"] and one["line"][0] for one in image["history"]]
    assert firsts == [2, 3, 6, 7, 8, 9, 12, 13, 14, 15, 16, 17, 18, 19]
