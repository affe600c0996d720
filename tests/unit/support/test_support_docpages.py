"""What is read of a page: its blocks, what a reader does not see, and what a shell is given."""

from __future__ import annotations

import subprocess

import pytest

from tests.support.docpages import blocks_of, script_of

PAGE = """\
# Title

    pybuild -t a .          # comment

Words.

```sh
pybuild diff a b        # the first difference; exit status 1
```

<!-- not run: it needs
     another machine -->

    pybuild push a

<!-- first: mkdir a
mkdir b -->

```toml title="pybuild.toml"
x = 1
```

- item

    pybuild in an item

```
pybuild without a language
```

    FROM scratch
"""


def test_blocks() -> None:
    found = [(one.kind, one.text, one.title, one.reason) for one in blocks_of("page", PAGE)]
    assert found == [
        ("run", "pybuild -t a .          # comment", "", ""),
        ("run", "pybuild diff a b        # the first difference; exit status 1", "", ""),
        ("run", "pybuild push a", "", "it needs another machine"),
        ("first", "mkdir a\nmkdir b", "", ""),
        ("file", "x = 1", "pybuild.toml", ""),
        ("run", "pybuild without a language", "", ""),
        ("text", "FROM scratch", "", ""),
    ]
    assert [one.line for one in blocks_of("page", PAGE)] == [3, 8, 14, 16, 20, 28, 31]


@pytest.mark.parametrize(
    ("text", "problem"), [("```sh\nx\n", "a block without"), ("<!-- first: x\n", "a comment without")]
)
def test_what_has_no_end(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=f"page:1: {problem}"):
        blocks_of("page", text)


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("true", 0),
        ("false", 1),
        ("sh -c 'exit 3'  # exit status 3", 0),
        ("sh -c 'exit 4'  # ends; exit status 3", 99),
        ("true  # exit status 3", 99),
    ],
)
def test_a_status_that_a_line_tells(line: str, status: int) -> None:
    (block,) = blocks_of("page", f"```sh\n{line}\n```\n")
    assert subprocess.run(["bash", "-ec", script_of(block)], stderr=subprocess.PIPE, check=False).returncode == status
