"""What the words for compression mean: options, attributes of outputs, and what is refused before any work."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from builder.cli.compressing import choice
from builder.cli.options import parse
from builder.cli.requests import make_request
from builder.engine.request import BuildRequest, CompressionChoice, compression_of, forms_of, reported
from builder.errors import UsageError

USUAL = CompressionChoice()


def request(*words: str) -> BuildRequest:
    return make_request(parse("build", ["-t", "x.test/y", *words, "."]), {})


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), USUAL),
        (("--compression", "zstd"), CompressionChoice("zstd")),
        (("--compression=zstd", "--compression-level=0"), CompressionChoice("zstd", 0)),
        (("--compression-level", "9"), CompressionChoice("gzip", 9)),
        (("--compression=gzip-single-member", "--compression-level=9"), CompressionChoice("gzip-single-member", 9)),
        (("--compression=uncompressed", "--force-compression"), CompressionChoice("uncompressed", None, True)),
    ],
)
def test_options(words: tuple[str, ...], expected: CompressionChoice) -> None:
    found = request(*words)
    assert found.compression == expected
    assert [compression_of(found, form) for form in forms_of(found)] == [expected]


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ("compression=zstd,compression-level=3,force-compression=true", CompressionChoice("zstd", 3, True)),
        ("compression=gzip", CompressionChoice("gzip", None, True)),
        ("compression-level=22", CompressionChoice("zstd", 22, True)),
        ("force-compression=false", CompressionChoice("zstd", 19, False)),
        ("compression=zstd", CompressionChoice("zstd", 19, True)),
        ("name=z", CompressionChoice("zstd", 19, True)),
    ],
)
def test_attributes_are_added_to_the_options(attributes: str, expected: CompressionChoice) -> None:
    usual = ("--compression=zstd", "--compression-level=19", "--force-compression")
    found = request(*usual, "-o", f"type=oci,dest=x,{attributes}")
    assert compression_of(found, reported(found)) == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--compression=estargz",), "unknown compression 'estargz'"),
        (("--compression-level=10",), "the level of gzip is a whole number from 0 to 9, not '10'"),
        (("--compression=zstd", "--compression-level=23"), "from 0 to 22"),
        (("--compression=zstd", "--compression-level=x"), "from 0 to 22"),
        (("--compression=gzip-single-member", "--compression-level=10"), "from 0 to 9"),
        (("--compression=uncompressed", "--compression-level=1"), "uncompressed layers have no level"),
        (("-o", "type=oci,dest=x,compression=lz4"), "unknown compression 'lz4'"),
        (("-o", "type=oci,dest=x,force-compression=maybe"), "force-compression is true or false"),
        (("-o", "type=tar,dest=x,compression=zstd"), "compression means nothing here"),
        (("--compression=zstd", "--format=docker"), "Docker's image format knows no zstd"),
        (("-o", "type=oci,dest=x,compression=zstd,oci-mediatypes=false"), "type=oci: Docker's image format knows no"),
        (("--format=docker", "-o", "type=registry,compression=zstd"), "type=registry: Docker's image format knows no"),
        (("--push", "--compression=zstd", "--format=docker"), "Docker's image format knows no zstd"),
        (("-o", "type=docker,dest=x,compression=zstd"), "archives of docker save have no zstd"),
    ],
)
def test_refusals(words: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=message) as caught:
        request(*words)
    assert caught.value.exit_code == 64


def test_zstd_where_the_output_says_oci(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = request("--format=docker", "-o", "type=oci,dest=x,compression=zstd,oci-mediatypes=true")
    assert reported(found).image_format == "oci"


def test_what_is_pushed_is_what_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = request("-o", "type=oci,dest=a,compression=zstd", "-o", "type=registry,compression=uncompressed")
    assert compression_of(found, reported(found)).kind == "uncompressed"
    assert compression_of(replace(found, outputs=()), reported(replace(found, outputs=()))) == USUAL


def test_a_level_belongs_to_its_compression() -> None:
    usual = CompressionChoice("zstd", 19, True)
    assert choice("x", "gzip", "", None, usual) == CompressionChoice("gzip", None, True)
    assert choice("x", "", "", False, usual) == CompressionChoice("zstd", 19, False)
