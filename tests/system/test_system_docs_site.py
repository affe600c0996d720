"""The site of the pages: it is built without a complaint, every link in it leads somewhere, and it fetches nothing."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.support.cli import CHECKOUT
from tests.support.commands import run
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
