"""The site of the pages: it is built without complaint, links lead somewhere, the search finds; nothing is fetched."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.support.browser import Page as Tab
from tests.support.browser import browser
from tests.support.cli import CHECKOUT
from tests.support.commands import run
from tests.support.httpd import serving
from tests.support.need import need

_LOADING = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "video": "src"}


class Page(HTMLParser):
    """The anchors of a page, where it leads, what it loads, and its paragraphs."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.paragraphs: list[str] = []
        self.code: list[str] = []
        self._inside: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        own = dict(attrs)
        self.anchors |= {own[name] or "" for name in ("id", "name") if name in own}
        if tag == "a" and own.get("href"):
            self.links.append(own["href"] or "")
        if tag in _LOADING and own.get(_LOADING[tag]):
            self.loads.append(own[_LOADING[tag]] or "")
        if tag == "p":
            self.paragraphs.append("")
        if tag in ("p", "code", "script", "style"):
            self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._inside and self._inside[-1] == tag:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        if self._inside and self._inside[-1] == "p":
            self.paragraphs[-1] += data
        if self._inside and self._inside[-1] == "code":
            self.code.append(data)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need(importlib.util.find_spec("material"), "needs mkdocs-material, of the extra docs")
    target = tmp_path_factory.mktemp("site")
    configuration = CHECKOUT / "scripts/site/mkdocs.yml"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", configuration]
    # The theme's makers have something to say about the next major version, at every start.
    run([*command, "--site-dir", target], env={**os.environ, "NO_MKDOCS_2_WARNING": "1"})
    return target


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in sorted(site.rglob("*.html"))}


def test_every_page_is_there(site: Path) -> None:
    sources = [path.relative_to(CHECKOUT / "docs") for path in (CHECKOUT / "docs").rglob("*.md")]
    assert [path for path in sources if not (site / path.with_suffix(".html")).exists()] == []
    assert (site / "index.html").exists()


def test_every_link_leads_somewhere(site: Path, pages: dict[Path, Page]) -> None:
    assert list(_broken(site, pages)) == []


def _broken(site: Path, pages: dict[Path, Page]) -> Iterator[str]:
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or path.name == "404.html":
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            if not target.exists():
                yield f"{path.relative_to(site)}: {link}"
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                yield f"{path.relative_to(site)}: {link}: no such anchor"


def test_nothing_is_fetched_from_elsewhere(site: Path, pages: dict[Path, Page]) -> None:
    loads = {(path.name, address) for path, page in pages.items() for address in page.loads}
    assert {one for one in loads if urlsplit(one[1]).netloc} == set()
    for sheet in site.rglob("*.css"):
        assert re.findall(r"url\((?!data:|\"data:)[^)]*//[^)]*\)|@import[^;]*//", sheet.read_text()) == [], sheet


def test_lists_and_tables_are_such(site: Path, pages: dict[Path, Page]) -> None:
    """What begins right below a paragraph is text to the site, and a list to others."""
    flat = [
        f"{path.relative_to(site)}: {text[:80]}"
        for path, page in pages.items()
        for text in page.paragraphs
        if re.search(r"^(- |\* |\d+\. |\|)", text, re.MULTILINE)
    ]
    assert flat == []
    assert [(path.name, code) for path, page in pages.items() for code in page.code if code.count("\\|")] == []


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """Serve the site as a web server does: its search works over http only."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with serving(partial(Handler, directory=str(site))) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def tab(tmp_path: Path) -> Iterator[Tab]:
    with browser(tmp_path / "profile") as tab:
        yield tab


_HIDDEN_HEADS = """[...document.querySelectorAll("thead")]
    .filter((one) => one.textContent.trim() !== "" && getComputedStyle(one).display === "none")"""


def test_pages_fit_their_screens_and_ask_nobody_else(tab: Tab, address: str, site: Path) -> None:
    for page in (
        "index",
        "tutorial",
        "commands",
        "configuration",
        "errors",
        "kaniko",
        "platforms",
        "security",
        "explore",
    ):
        for width in (1280, 400):
            tab.open(f"{address}/{page}.html", width=width, dark=width == 400)
            over = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            assert (page, width, tab.run(over)) == (page, width, 0)
            assert (page, tab.run(f"{_HIDDEN_HEADS}.length")) == (page, 0)
    assert tab.problems == []
    assert {url for url in tab.asked if not url.startswith((f"{address}/", "data:"))} == set()
    assert {url for url in tab.asked if url.endswith((".woff", ".woff2", ".ttf"))} == set(), "fonts are the reader's"


@pytest.mark.parametrize(
    ("asked", "first"),
    [
        ("PB6503", "errors.html#pb6503"),
        ("--cache-from", "caching.html#"),
        ("cache-from", "caching.html#"),
        ("--destination", "kaniko.html#every-flag"),
        ("exec format error", "troubleshooting.html#exec-format-error"),
    ],
)
def test_the_search_finds(tab: Tab, address: str, asked: str, first: str) -> None:
    tab.open(f"{address}/index.html")
    tab.run("document.querySelector('.md-search__input').focus()")
    for key in asked:
        tab.press(key)
    # It answers while one types; what counts is the answer to all of it.
    links = "[...document.querySelectorAll('.md-search-result__link[href*=\"#\"]')]"
    found = f"{links}.map((one) => one.pathname.slice(1) + one.hash)"
    tab.wait(f"({found}[0] || '').startsWith({json.dumps(first)}) || performance.now() > 30000")
    assert tab.run(found)[:1] == [tab.run(f"{found}.find((one) => one.startsWith({json.dumps(first)}))")]
    assert tab.problems == []
