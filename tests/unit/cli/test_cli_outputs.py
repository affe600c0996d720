"""``--output``, ``--annotation`` and ``--platform``: what they mean, and what is refused before any work."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.cli.annotations import attribute, parse_annotation
from builder.cli.options import parse, split_command
from builder.cli.outputs import output
from builder.cli.requests import make_request
from builder.engine.request import BuildRequest, Output
from builder.errors import BuilderError, UsageError
from builder.image.annotations import Annotation, annotations_for
from builder.image.platform import Platform
from builder.image.reference import Reference

ARM = Platform.parse("linux/arm64")
AMD = Platform.parse("linux/amd64")


def request(*words: str) -> BuildRequest:
    command, rest = split_command([*words, "."])
    return make_request(parse(command, rest), {})


def names(*texts: str) -> tuple[Reference, ...]:
    return tuple(Reference.parse(one) for one in texts)


# --- outputs


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("type=registry,name=r.example/a:1", Output("registry", names=names("r.example/a:1"))),
        ("type=image,name=a,push=true", Output("registry", names=names("a"))),
        ("type=image,name=a", Output("image", names=names("a"))),
        ("type=image,push=false", Output("image")),
        ("type=registry,push=false,name=a", Output("image", names=names("a"))),
        ('type=image,"name=a,b:2,a",push=1', Output("registry", names=names("a", "b:2"))),
        ("type=image,name=a,b:2,push=true", Output("registry", names=names("a", "b:2"))),
        ("type=registry,name=a,push-by-digest=true", Output("registry", names=names("a"), by_digest=True)),
        ("type=image,name=a,name-canonical=true", Output("image", names=names("a"), canonical=True)),
        ("type=cacheonly", Output("cacheonly")),
    ],
)
def test_outputs_are_read(text: str, expected: Output) -> None:
    assert output(text) == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("type=image,dest=x", "has no dest"),
        ("type=cacheonly,name=a", "name means nothing here"),
        ("type=tar,dest=x,name=a", "name means nothing here"),
        ("type=oci,dest=x,push=true", "push means nothing here"),
        ("type=image,push-by-digest=true", "push-by-digest means nothing here"),
        ("type=oci,dest=x,platform-split=true", "platform-split means nothing here"),
        ("type=image,name=a@sha256:" + "0" * 64, "its digest is what it is"),
        ("type=image,name=UPPER", "is not a repository name"),
        ("type=image,push=yes", "push is true or false"),
        ("type=image,x", "expected NAME=VALUE, found 'x'"),
        ('type=image,"name=a', "its quotes"),
        ("type=image,nmae=a", "did you mean name"),
        ("type=image,annotation-thing.a=b", "unknown annotation type 'thing'"),
        ("type=image,annotation-index[linux/amd64].a=b", "an index is for all platforms"),
    ],
)
def test_outputs_that_cannot_be(text: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BuilderError, match=problem):
        output(text)


def test_trees_can_be_split(tmp_path: Path) -> None:
    assert output(f"type=local,dest={tmp_path},platform-split=false").split is False
    assert output(f"type=tar,dest={tmp_path}/x,platform-split=true").split is True
    assert output(f"type=tar,dest={tmp_path}/x").split is None


def test_a_push_is_named_by_its_output_or_by_tags() -> None:
    assert request("--push", "-o", "type=image,name=a").outputs == (Output("registry", names=names("a")),)
    assert request("-o", "type=registry,name=a").outputs == (Output("registry", names=names("a")),)
    assert request("-t", "a", "--push").outputs == (Output("registry"),)


# --- annotations


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("k=v", [Annotation("k", "v")]),
        ("a.b/c=d=e", [Annotation("a.b/c", "d=e")]),
        ("k=", [Annotation("k", "")]),
        ("k=a:b", [Annotation("k", "a:b")]),
        ("manifest:k=v", [Annotation("k", "v")]),
        ("index:k=v", [Annotation("k", "v", "index")]),
        ("index,manifest:k=v", [Annotation("k", "v", "index"), Annotation("k", "v")]),
        ("manifest[linux/arm64]:k=v", [Annotation("k", "v", "manifest", ARM)]),
        ("manifest[arm64/v8]:k=v", []),
        ("[linux/arm64]:k=v", [Annotation("k", "v", "manifest", ARM)]),
        (
            "manifest-descriptor[linux/arm64/v8],index-descriptor:k=v",
            [Annotation("k", "v", "manifest-descriptor", ARM), Annotation("k", "v", "index-descriptor")],
        ),
    ],
)
def test_annotations_are_read(text: str, expected: list[Annotation]) -> None:
    if not expected:
        assert parse_annotation(text)[0].platform == Platform("arm64", "v8")  # an OS and an architecture, as written
    else:
        assert parse_annotation(text) == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("k", "expected NAME=VALUE"),
        ("=v", "expected NAME=VALUE"),
        ("manifest:=v", "expected NAME=VALUE"),
        ("manifests:k=v", "unknown annotation type 'manifests'.*did you mean manifest"),
        ("org:thing=v", "unknown annotation type 'org'"),
        ("manifest(linux/amd64):k=v", "is no type"),
        ("index[linux/amd64]:k=v", "an index is for all platforms"),
        ("manifest[linux]:k=v", ""),
    ],
)
def test_annotations_that_cannot_be(text: str, problem: str) -> None:
    if not problem:
        assert parse_annotation(text)[0].platform == Platform("linux", "linux")
        return
    with pytest.raises(UsageError, match=problem):
        parse_annotation(text)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("annotation.k", Annotation("k", "v")),
        ("annotation[linux/arm64].k.l", Annotation("k.l", "v", "manifest", ARM)),
        ("annotation-manifest.k", Annotation("k", "v")),
        ("annotation-manifest-descriptor[linux/arm64].k", Annotation("k", "v", "manifest-descriptor", ARM)),
        ("annotation-index.org.example", Annotation("org.example", "v", "index")),
        ("annotation-index-descriptor.k", Annotation("k", "v", "index-descriptor")),
        ("annotations.k", None),
        ("annotation", None),
        ("annotation.", None),
    ],
)
def test_annotations_of_outputs(name: str, expected: Annotation | None) -> None:
    assert attribute("type=image", name, "v") == expected


def test_annotations_for_a_platform_win() -> None:
    given = [Annotation("a", "arm", platform=ARM), Annotation("a", "all"), Annotation("b", "x", "index")]
    assert annotations_for(given, "manifest", ARM) == {"a": "arm"}
    assert annotations_for(given, "manifest", AMD) == {"a": "all"}
    assert annotations_for(given, "index") == {"b": "x"}


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--annotation", "index:a=b", "--platform", "linux/amd64"], "for an index, and a build for one platform"),
        (["--annotation", "index-descriptor:a=b"], "for an index"),
        (["-o", "type=image,name=a,annotation-index.a=b"], "for an index"),
        (["--annotation", "manifest[linux/s390x]:a=b", "--platform", "amd64,arm64"], "is for linux/s390x, and the bui"),
        (["--format", "docker", "--annotation", "a=b"], "no annotations"),
        (["--format", "docker", "-o", "type=image,name=a,annotation.a=b"], "no annotations"),
        (["-o", "type=image,name=a,annotation.a=b,oci-mediatypes=false"], "no annotations"),
        (["--platform", "amd64,arm64", "-o", "type=docker,dest=x"], "no index of several platforms"),
    ],
)
def test_mismatches_are_refused(
    words: list[str], problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=problem):
        request(*words)


def test_annotations_go_with_an_output_in_ocis_format() -> None:
    output = "type=image,name=a,oci-mediatypes=true,annotation.a=b"
    assert request("--format", "docker", "-o", output, "--annotation", "c=d").annotations


def test_an_index_of_one_platform_can_be_annotated() -> None:
    made = request("--build-arg", "BUILDKIT_MULTI_PLATFORM=1", "--annotation", "index:a=b")
    assert made.several
    assert not request("--build-arg", "BUILDKIT_MULTI_PLATFORM=0").several


# --- laws

WORDS = st.text(st.characters(blacklist_characters="\0"), max_size=40)
SPELLED = st.lists(
    st.sampled_from(
        [*"=,:[]\"'\n ", "type=", "image", "oci", "name=", "annotation", "-index", ".", "linux/arm64", "a", "/"]
    ),
    max_size=12,
).map("".join)


@given(WORDS | SPELLED)
def test_whatever_is_written_is_understood_or_refused(text: str) -> None:
    for read in (output, parse_annotation, Platform.parse):
        with contextlib.suppress(BuilderError):
            read(text)


@given(SPELLED, SPELLED)
def test_an_attribute_with_commas_can_be_quoted(key: str, value: str) -> None:
    name = f"annotation.k{key.replace('=', '')}"
    quoted = f"{name}={value}".replace('"', '""')
    assert output(f'type=image,"{quoted}"').form.annotations[-1].value == value


@given(
    st.from_regex(r"[a-z]{1,5}(\([0-9.]{0,4}(\+[a-z]{1,3}){0,2}\))?/[a-z0-9]{1,5}(/[a-z0-9.]{1,4})?", fullmatch=True)
)
def test_platforms_are_read_back(text: str) -> None:
    platform = Platform.parse(text)
    assert Platform.parse(platform.full) == platform
    assert platform.rank(platform) == 0


# --- platforms


def test_platforms_are_listed_and_repeated() -> None:
    made = request("--platform", "linux/amd64,linux/arm64/v8", "--platform", "arm64,linux/arm")
    assert [str(one) for one in made.platforms] == ["linux/amd64", "linux/arm64", "linux/arm/v7"]
    assert request().platforms == (request("--platform", "local").platform,) == (request().build_platform,)
