"""Text of the page can be read in both of its colour schemes (WCAG 2, contrast of at least 4.5 to 1)."""

from __future__ import annotations

import re

import pytest

from tests.support.cli import CHECKOUT

CSS = (CHECKOUT / "builder/explore/assets/page.css").read_text()
LIGHT, DARK, CHOSEN = (
    dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block)) for block in re.findall(r"\{[^{}]*--back: [^{}]*\}", CSS)
)
PAIRS = [
    *((text, back) for text in ("ink", "soft", "accent") for back in ("back", "card", "accent-back")),
    *((kind, f"{kind}-back") for kind in ("added", "changed", "removed", "quiet")),
    *(("ink", f"m{number}") for number in range(8)),
    *(("ink", back) for back in ("hover", "changed-back")),
    ("removed", "card"),
    ("removed", "accent-back"),
]


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (one / 12.92 if one <= 0.03928 else ((one + 0.055) / 1.055) ** 2.4 for one in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_dark_is_the_same_whether_the_system_or_the_reader_chose_it() -> None:
    assert DARK == CHOSEN
    assert DARK.keys() == LIGHT.keys()


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
def test_text_stands_out(scheme: dict[str, str]) -> None:
    ratios = {}
    for text, back in PAIRS:
        dark, light = sorted(_luminance(scheme[name]) for name in (text, back))
        ratios[text, back] = round((light + 0.05) / (dark + 0.05), 2)
    assert {pair: ratio for pair, ratio in ratios.items() if ratio < 4.5} == {}
