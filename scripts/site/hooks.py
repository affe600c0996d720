"""What the site has besides docs/: the README as its first page, and what lies at the top and is linked from pages.

Links are written for people who read the files as they lie; here those that lead out of docs/ are led to where the site
has the page. Called by mkdocs.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
_TOP = ("SECURITY.md", "CHANGELOG.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "LICENSE")
_LAST = "errors.md"
"""Its many messages have everybody's words; its own are the codes, which no other page has."""
_LINK = re.compile(r"(\]\()([^)#\s:]+)(#[^)\s]*)?(\))")
_IN_CELL = re.compile(r"`[^`]*`")
_CODE = re.compile(r"(^```.*?^```|^    .*?$|`[^`\n]*`)", re.MULTILINE | re.DOTALL)


def _elsewhere() -> dict[str, str]:
    """Return where the site has what does not lie in docs/, by its path in the checkout."""
    results = sorted(path.name for path in (ROOT / "benchmarks/results").glob("*.*") if path.suffix in (".md", ".svg"))
    there = {"README.md": "index.md", **{name: name for name in _TOP if (ROOT / name).exists()}}
    return there | {f"benchmarks/results/{name}": f"measured/{name}" for name in results}


ELSEWHERE = _elsewhere()


def on_config(config: Any) -> Any:
    """Fill in the table of contents what lies in folders."""
    config["nav"] = _expanded(config["nav"])
    return config


def _expanded(entry: Any) -> Any:
    if isinstance(entry, list):
        return list(map(_expanded, entry))
    if isinstance(entry, Mapping):
        return {title: _expanded(below) for title, below in entry.items()}
    if entry == "adr/":
        return [f"adr/{path.name}" for path in sorted((ROOT / "docs/adr").glob("*.md"))]
    return entry


def on_files(files: Files, config: Any) -> Files:
    """Add what does not lie in docs/."""
    for source, target in ELSEWHERE.items():
        files.append(File.generated(config, target, content=(ROOT / source).read_bytes()))
    for name in ("site.css", "search.js"):
        files.append(File.generated(config, name, content=(Path(__file__).parent / name).read_text()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead links to where the site has what they name, and the search to other pages first."""
    target = page.file.src_uri
    if target == _LAST:
        page.meta["search"] = {"boost": 0.2}
    source = next((path for path, there in ELSEWHERE.items() if there == target), f"docs/{target}")
    # Every other part is code, where nothing is a link.
    parts = _CODE.split(markdown)
    parts[::2] = [_led(part, source, target) for part in parts[::2]]
    # In a table the site needs no escape before a bar in code, and would show it.
    return re.sub(r"^\|.*$", lambda row: _IN_CELL.sub(_bare, row[0]), "".join(parts), flags=re.MULTILINE)


def _bare(code: re.Match[str]) -> str:
    return code[0].replace("\\|", "|")


def _led(text: str, source: str, target: str) -> str:
    def replaced(link: re.Match[str]) -> str:
        named = posixpath.normpath(posixpath.join(posixpath.dirname(source), link[2]))
        if named == "docs/adr":
            named = "docs/adr/0001-record-decisions.md"
        there = ELSEWHERE.get(named, named.removeprefix("docs/"))
        return f"{link[1]}{posixpath.relpath(there, posixpath.dirname(target) or '.')}{link[3] or ''}{link[4]}"

    return _LINK.sub(replaced, text)
