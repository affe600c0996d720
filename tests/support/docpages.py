"""Pages of the documentation as their blocks: which a shell can run, which are files, and what a page says of both.

A block of commands is fenced as ``sh``, or is indented or fenced without a language and begins with a program's name.
What a page says to us stands in comments that no reader sees:

    <!-- not run: REASON -->    before a block: nobody runs it here, and why
    <!-- first: COMMANDS -->    commands (several lines may be) that make what the next blocks take for granted
    <!-- typed: WHEN => KEYS -->  the block runs in a terminal, where a reader types KEYS (^C is Ctrl-C) after each WHEN
    <!-- output -->             the block is what the commands before it print; ... stands for lines left out
    <!-- no output: WHAT -->    a block of text that no command of the page prints

A block with a title (```` ```dockerfile title="Dockerfile" ````) is written as a file where the page is read from; a
line of commands whose comment says ``exit status N`` ends with that status.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import unified_diff
from pathlib import Path
from typing import Any, NamedTuple

CHECKOUT = Path(__file__).resolve().parents[2]

_FENCE = re.compile(r"^( *)(`{3,}|~{3,})\s*([\w+-]*)(.*)$")
_TITLE = re.compile(r"title=\"([^\"]+)\"")
_COMMENT = re.compile(r"^<!-- (not run|first|typed|output|no output)\b:? *(.*?)(-->)?$")
_SHELLS = frozenset(("sh", "bash", "shell"))
_PROGRAMS = re.compile(
    r"(pybuild|docker|podman|buildah|skopeo|crane|helm|kubectl|tkn|pip|pipx|python3?|git|sudo|usermod|apt-get|curl|jq|ssh|make"
    r"|cd|cp|cat|mkdir|rm|touch|echo|printf|export|set|tar|chmod|sha256sum|eval|source|\.)$"
)
_JOBS = tuple(f"docs/{name}.md" for name in ("gitlab", "github", "tekton", "kubernetes"))
"""Pages whose YAML is run as the system it is for would do it (those of docs/caching.md have a test of their own)."""
_PATHS = re.compile(r"(scripts|benchmarks|\.venv|\./|\.ci)[\w./-]*$")


class Block(NamedTuple):
    """One block; ``kind`` is run, first (run, and seen by nobody), output, file or text.

    ``reason`` says why it is not run, or what the text is.
    """

    page: str
    line: int
    kind: str
    text: str
    language: str = ""
    title: str = ""
    reason: str = ""
    typed: str = ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.text.partition(chr(10))[0]}"


def pages() -> list[str]:
    """Return the pages that users read, as paths from the checkout. Decisions (docs/adr) are for us."""
    top = ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "SECURITY.md"]
    found = [name for name in top if (CHECKOUT / name).exists()]
    return found + sorted(
        str(path.relative_to(CHECKOUT)) for path in (CHECKOUT / "docs").glob("**/*.md") if _ours(path)
    )


def _ours(path: Path) -> bool:
    return "adr" not in path.parts


def blocks_of(page: str, text: str | None = None) -> list[Block]:
    """Return the blocks of a page in their order. Raises ValueError for a comment or fence that has no end."""
    return list(_blocks(page, (CHECKOUT / page).read_text() if text is None else text))


def _blocks(page: str, text: str) -> Iterator[Block]:
    lines = text.split("\n")
    number = 0
    notes: dict[str, str] = {}
    while number < len(lines):
        line = lines[number]
        if comment := _COMMENT.match(line):
            start = number
            number, said = _comment(page, lines, number, comment)
            if comment[1] == "first":
                yield Block(page, start + 1, "first", said, "sh")
            else:
                notes[comment[1]] = " ".join(said.split())
            continue
        if fence := _FENCE.match(line):
            end = _end_of_fence(page, lines, number, fence)
            body = [each.removeprefix(fence[1]) for each in lines[number + 1 : end]]
            title = _TITLE.search(fence[4])
            yield _block(page, number + 2, "\n".join(body), fence[3].lower(), title[1] if title else "", notes)
            number, notes = end + 1, {}
        elif line.startswith("    ") and (not number or not lines[number - 1].strip()) and not _in_list(lines, number):
            end = number
            while end < len(lines) and (lines[end].startswith("    ") or not lines[end].strip()):
                end += 1
            body = [each[4:] for each in lines[number:end]]
            yield _block(page, number + 1, "\n".join(body).rstrip(), "", "", notes)
            number, notes = end, {}
        else:
            notes = notes if not line.strip() else {}
            number += 1


def _comment(page: str, lines: list[str], number: int, comment: re.Match[str]) -> tuple[int, str]:
    """Return the line after a comment, and what it says."""
    if comment[3]:
        return number + 1, comment[2].strip()
    said = [comment[2]]
    for after in range(number + 1, len(lines)):
        before, end, _ = lines[after].partition("-->")
        said.append(before)
        if end:
            return after + 1, "\n".join(said).strip()
    raise ValueError(f"{page}:{number + 1}: a comment without an end")


def _end_of_fence(page: str, lines: list[str], number: int, fence: re.Match[str]) -> int:
    for after in range(number + 1, len(lines)):
        if lines[after].strip() == fence[2]:
            return after
    raise ValueError(f"{page}:{number + 1}: a block without an end")


def _in_list(lines: list[str], number: int) -> bool:
    """Say whether an indented line goes on with an item of a list: the last line that is not indented began one."""
    for line in reversed(lines[:number]):
        if line.strip() and not line.startswith("    "):
            return re.match(r" {0,3}([-*+]|\d+\.) ", line) is not None
    return False


def _block(page: str, line: int, text: str, language: str, title: str, notes: dict[str, str]) -> Block:
    if "output" in notes:
        kind = "output"
    elif title:
        kind = "file"
    elif language == "yaml" and page in _JOBS:
        kind, text = "run", script_in(text)
    elif language in _SHELLS or (language == "" and _is_commands(text)):
        kind = "run"
    else:
        kind = "text"
    reason = notes.get("not run", notes.get("no output", ""))
    return Block(page, line, kind, text, language, title, reason, notes.get("typed", ""))


def _is_commands(text: str) -> bool:
    first = next((line for line in text.split("\n") if line.strip() and not line.startswith("#")), "")
    word = first.split()[0] if first.split() else ""
    return bool(_PROGRAMS.match(word) or _PATHS.match(word))


def script_in(text: str) -> str:
    """Return what a CI system or a cluster runs of a job, a workflow, a task or a pod, as a shell's script.

    Variables are exported as the job sets them; an expression of the system's, ``$(params.image)`` or
    ``${{ github.sha }}``, is the variable ``$PARAMS_IMAGE`` or ``$GITHUB_SHA``.
    """
    import yaml

    found = "\n".join(line for document in yaml.safe_load_all(text) for line in _scripts(document))
    named = re.sub(r"\$\(([\w.-]+)\)|\$\{\{ *([\w.-]+) *\}\}", lambda one: _variable(one[1] or one[2]), found)
    if not named:
        raise ValueError(f"no script in {text}")
    return named


def _variable(name: str) -> str:
    return "${" + re.sub(r"\W", "_", name).upper() + "}"


def _scripts(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for each in value:
            yield from _scripts(each)
    if not isinstance(value, dict):
        return
    pairs = value.get("env") or value.get("variables") or {}
    pairs = {one["name"]: one.get("value", "") for one in pairs} if isinstance(pairs, list) else pairs
    yield from (f'export {name}="{text}"' for name, text in pairs.items())
    for key in ("before_script", "script", "run", "args"):
        lines = value.get(key, [])
        if key == "args":
            yield from [" ".join(["pybuild", *(f'"{word}"' for word in lines)])] if lines else []
        else:
            yield from [lines] if isinstance(lines, str) else lines
    for key, below in value.items():
        if key not in ("env", "variables"):
            yield from _scripts(below)


def script_of(block: Block) -> str:
    """Return what a shell runs for a block: its lines, those that end with a status of their own held to it."""
    return "\n".join(_held(line) for line in block.text.split("\n"))


def _held(line: str) -> str:
    status = re.search(r"\s#.*\bexit status (\d+)", line)
    if not status:
        return line
    ended = f'[ "$__status" -eq {status[1]} ] || {{ echo "ended with $__status, not {status[1]}" >&2; exit 99; }}'
    return f"__status=0; {line[: status.start()]} || __status=$?; {ended}"


_SAME = (
    (re.compile(r"\x1b\[[0-9;?]*[A-Za-z]"), ""),
    (re.compile(r"\b20[2-9]\d-\d\d-\d\dT\d\d:\d\d:\d\dZ"), "NOW"),
    (re.compile(r"\bsha256:[0-9a-f]{64}\b"), "sha256:DIGEST"),
    (re.compile(r"\b(?=[0-9a-f]*\d)[0-9a-f]{12}\b"), "ID"),
    (re.compile(r"\b\d+(\.\d+)? ?[kMGTKi]*B\b(/s)?"), "SIZE"),
    (re.compile(r"\b\d+(\.\d+)? ?m?s\b"), "TIME"),
    (re.compile(r"\b(\d+|About an?|Less than a) (second|minute|hour|day|week|month|year)s? ago\b"), "AGO"),
    (re.compile(r"\b\d+(\.\d+)? ?%"), "PERCENT"),
    (re.compile(r"[ \t]+"), " "),
)
"""What differs from one machine and day to the next, and what stands for it."""


def difference(shown: str, printed: str) -> str:
    """Return what a page shows and a command did not print; "" if all is the same but for digests, sizes and times."""
    wanted, given = _normal(shown), _normal(printed)
    parts = [part.strip("\n").split("\n") for part in re.split(r"(?m)^\.\.\.$", "\n".join(wanted))]
    place = 0
    for number, part in enumerate(parts):
        lines = [line for line in part if line]
        first, last = number == 0, number == len(parts) - 1
        places = [place] if first else range(place, len(given) - len(lines) + 1)
        found = [one for one in places if given[one : one + len(lines)] == lines]
        found = [one for one in found if not last or not lines or one + len(lines) == len(given)]
        if not found:
            told = "\n".join(unified_diff(wanted, given, "shown", "printed", lineterm=""))
            return told or "lines that are shown are not printed in this order"
        place = found[0] + len(lines)
    return ""


def _normal(text: str) -> list[str]:
    lines = []
    for line in text.split("\n"):
        line = line.rpartition("\r")[2] if "\r" in line.rstrip("\r") else line.rstrip("\r")
        for pattern, stand_in in _SAME:
            line = pattern.sub(stand_in, line)
        lines.append(line.strip())
    return [line for line in lines if line]
