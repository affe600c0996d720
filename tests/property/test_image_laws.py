"""Laws of the image values: parsers are total, and what was parsed is written and read back unchanged."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from builder.errors import ImageError, UsageError
from builder.image.config import History, ImageConfig
from builder.image.manifest import parse_manifest
from builder.image.mutate import repaired_history
from builder.image.platform import Platform
from builder.image.reference import Reference, ReferenceSyntaxError

_WORDS = st.sampled_from(
    ["Env", "Cmd", "config", "rootfs", "diff_ids", "history", "layers", "manifests", "digest", "size", "mediaType",
     "schemaVersion", "platform", "os", "architecture", "created", "empty_layer", "Healthcheck", "Labels", "x"]
)  # fmt: skip
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from([2, "sha256:" + "a" * 64]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner, max_size=5),
    max_leaves=20,
)
_DOCUMENTS = st.dictionaries(_WORDS, _VALUES, max_size=8)


@given(st.binary(max_size=200) | _DOCUMENTS.map(lambda value: json.dumps(value).encode()))
def test_documents_are_read_or_refused_never_anything_else(raw: bytes) -> None:
    for read in (parse_manifest, ImageConfig.parse):
        try:
            parsed = read(raw)
        except ImageError:
            continue
        assert read(parsed.to_bytes()) == parsed


@given(_DOCUMENTS)
def test_writing_a_config_twice_gives_the_same_bytes(document: dict[str, Any]) -> None:
    try:
        once = ImageConfig.parse(json.dumps(document).encode()).to_bytes()
    except ImageError:
        return
    assert ImageConfig.parse(once).to_bytes() == once


@given(st.lists(st.booleans(), max_size=8), st.integers(0, 8))
def test_a_repaired_history_claims_exactly_the_layers(empty: list[bool], layers: int) -> None:
    history = [History(created_by=str(n), empty_layer=one) for n, one in enumerate(empty)]
    repaired = repaired_history(history, layers)
    assert sum(not one.empty_layer for one in repaired) == layers
    assert repaired_history(repaired, layers) == repaired


@given(st.text("aA0._-/:@[]", max_size=24))
def test_a_reference_is_read_back_from_both_spellings(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except ReferenceSyntaxError:
        return
    assert Reference.parse(str(reference)) == reference
    assert Reference.parse(reference.familiar) == reference


@given(st.text("linuxarmd64v78/_.-A", max_size=16))
def test_a_platform_is_read_back_from_its_spelling(text: str) -> None:
    try:
        platform = Platform.parse(text)
    except UsageError:
        return
    assert Platform.parse(str(platform)) == platform
    assert platform.rank(platform) == 0
