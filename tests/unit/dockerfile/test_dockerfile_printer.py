"""The canonical text of instructions."""

from __future__ import annotations

import pytest

from builder.dockerfile.parser import parse
from builder.dockerfile.printer import format_dockerfile


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("from a as B", "FROM a AS b"),
        ("FROM --platform='x y' a", 'FROM --platform="x y" a'),
        ("FROM a\nrun \\\n  --mount=type=tmpfs,target=/t b \\\n c", "FROM a\nRUN --mount=type=tmpfs,target=/t b  c"),
        ("FROM a\nRUN -- --b", "FROM a\nRUN -- --b"),
        ("FROM a\nRUN b \\\v", "FROM a\nRUN b \\\v"),
        ('FROM a\ncmd ["a",  "\\u00e9"]', 'FROM a\nCMD ["a", "\u00e9"]'),
        ("FROM a\nCOPY --link  a   $b", 'FROM a\nCOPY --link=true ["a", "$b"]'),
        ("FROM a\nCOPY <<E  <<-F x\n1\nE\n\t2\n\tF\nCMD", "FROM a\nCOPY <<E  <<-F x\n1\nE\n2\nF\nCMD"),
        ("FROM a\nENV a  b  c", "FROM a\nENV a b  c"),
        ("FROM a\nENV a=b   c='d'", "FROM a\nENV a=b c='d'"),
        ("FROM a\nHEALTHCHECK --interval=1s cmd x", "FROM a\nHEALTHCHECK --interval=1000000000ns CMD x"),
        ("FROM a\nONBUILD   RUN <<E\nx\nE", "FROM a\nONBUILD RUN <<E\nx\nE"),
        ("#escape = `\nFROM a", "# escape=`\nFROM a"),
    ],
)
def test_printing(text: str, printed: str) -> None:
    assert format_dockerfile(parse(text.encode())) == printed + "\n"
