"""``explain``: what it says of hits and misses, on this store and of builds elsewhere, and that it changes nothing."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from builder.engine.comparing import GONE
from builder.engine.explaining import Explanation, explain
from builder.engine.explaining import reasons as why
from builder.engine.request import BuildRequest, EpochChoice
from builder.errors import BuilderError
from builder.events import VertexCompleted
from tests.support import images
from tests.support.builds import NATIVE, Built, Recording, Workshop, pack_at_once
from tests.support.cli import pybuild, write_context

TEXT = """\
FROM scratch AS base
ARG TOP=/top
COPY --chmod=644 src ${TOP}/src
WORKDIR /work
FROM base AS other
COPY one.txt /one
FROM scratch
COPY --from=base /top/src/a.txt /a
COPY <<EOF /doc
text
EOF
COPY two.txt two-link /two/
"""
FILES = {
    "src/a.txt": "a",
    "src/deep/b.txt": "b",
    "one.txt": "1",
    "two.txt": "2",
    "two-link": lambda path: path.unlink(missing_ok=True) or path.symlink_to("two.txt"),
}


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    found = Workshop(tmp_path / "store", tmp_path / "context")
    found.build(TEXT, FILES)
    return found


def explained(shop: Workshop, text: str = TEXT, **options: Any) -> dict[str, Explanation]:
    """Return the explanations by the steps' texts."""
    path = shop.context.parent / "Dockerfile.test"
    path.write_text(text)
    epoch = options.pop("epoch", None)
    request = {
        "context": str(shop.context),
        "platforms": (NATIVE,),
        "build_platform": NATIVE,
        "dockerfile": str(path),
        "epoch": EpochChoice(given=epoch),
        **options,
    }
    with shop.environment(Recording()) as env:
        return {one.vertex.name.partition("] ")[2]: one for one in explain(BuildRequest(**request), env)}


def misses(found: dict[str, Explanation]) -> dict[str, list[str]]:
    """Return what changed, by step, without what is merely below a change."""
    return {
        name: [str(change) for change in one.changes] or [one.cause]
        for name, one in found.items()
        if one.cause not in ("hit", "parent")
    }


def test_what_was_built_is_found(shop: Workshop) -> None:
    found = explained(shop)
    assert {one.cause for one in found.values()} == {"hit"}
    assert len(found) == 5


def test_what_was_built_is_found_by_a_checkout_that_no_sketch_speaks_for(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build packs such files before it finds their result; nothing below them is missing for all that."""
    pack_at_once(monkeypatch)
    context = shop.context.with_name("elsewhere")
    shutil.copytree(shop.context, context, symlinks=True)
    found = explained(Workshop(shop.store, context))
    assert {one.cause for one in found.values()} == {"hit"}


def change_mode(path: Path) -> None:
    path.chmod(0o755)


def retarget(path: Path) -> None:
    path.unlink()
    path.symlink_to("src/a.txt")


@pytest.mark.parametrize(
    ("files", "text", "expected"),
    [
        ({"src/a.txt": "A"}, TEXT, ["file src/a.txt: contents changed"]),
        ({"src/deep/c.txt": "c"}, TEXT, ["file src/deep/c.txt added"]),
        ({"src/deep/b.txt": Path.unlink}, TEXT, ["file src/deep/b.txt removed"]),
        ({"src/a.txt": change_mode}, TEXT, ["file src/a.txt: mode was 644, is 755"]),
        ({}, TEXT.replace("--chmod=644", "--chmod=600"), ["--chmod: was '644', is '600'"]),
        ({}, TEXT.replace("--chmod=644 src", "src"), ["--chmod: was '644', is ''"]),
        ({}, TEXT.replace("--chmod=644", "--chmod=644 --chown=1:2"), ["--chown: was '', is '1:2'"]),
        ({}, TEXT.replace("/top", "/at"), ["destination: was '/top/src', is '/at/src'"]),
        (
            {},
            TEXT.replace("COPY --chmod", "ADD --chmod"),
            ["instruction: was 'COPY', is 'ADD'", "--unpack: was 'false', is ''"],
        ),
        ({}, TEXT.replace("text", "texts"), ["here-document EOF: was 'text\\n', is 'texts\\n'"]),
        ({"two-link": retarget}, TEXT, ["file two-link: contents changed, link target was two.txt, is src/a.txt"]),
        (
            {},
            TEXT.replace("two.txt two-link", "two-link two.txt"),
            ["order of the sources: was 'two.txt two-link', is 'two-link two.txt'"],
        ),
    ],
)
def test_the_change_is_named(shop: Workshop, files: dict[str, Any], text: str, expected: list[str]) -> None:
    shop.put(files)
    found = misses(explained(shop, text))
    assert expected in found.values(), found


def test_what_is_below_a_change_is_told_apart_from_what_changed_too(shop: Workshop) -> None:
    shop.put({"src/a.txt": "A"})
    found = explained(shop, TEXT.replace("/work", "/worked"))
    below = found["WORKDIR /worked"]
    assert below.cause == "changed"
    assert [str(one) for one in below.changes] == ["directory: was '/work', is '/worked'"]
    assert [one.name for one in below.missing] == ["[base 2/3] COPY --chmod=644 src ${TOP}/src"]
    read = found["COPY --from=base /top/src/a.txt /a"]
    assert (read.cause, read.changes) == ("parent", ())
    assert found["COPY two.txt two-link /two/"].cause == "parent"
    assert "COPY one.txt /one" not in found  # no stage that the target needs


def test_files_of_a_stage_are_named(shop: Workshop) -> None:
    text = TEXT.replace("/top/src/a.txt /a", "/top/src/deep /a")
    shop.build(text)
    shop.put({"src/deep/b.txt": "B"})
    shop.build(text, target="base")
    change = ["file /top/src/deep/b.txt: contents changed"]
    assert misses(explained(shop, text)) == {"COPY --from=base /top/src/deep /a": change}


def test_links_and_kinds(shop: Workshop) -> None:
    text = "FROM scratch\nCOPY tree /tree\n"
    shop.build(
        text,
        {
            "tree/link": lambda path: path.symlink_to("a"),
            "tree/x": "x",
            "tree/y": lambda path: os.link(path.parent / "x", path),
        },
    )
    shop.put({"tree/link": lambda path: path.unlink() or path.symlink_to("b")})
    assert misses(explained(shop, text)) == {"COPY tree /tree": ["file tree/link: link target was a, is b"]}
    shop.put({"tree/link": lambda path: path.unlink() or path.write_text("a")})
    assert misses(explained(shop, text)) == {"COPY tree /tree": ["file tree/link: was a symlink, is a file"]}
    shop.put({"tree/link": lambda path: path.unlink() or path.symlink_to("a")})
    shop.put({"tree/y": lambda path: path.unlink() or path.write_text("x")})
    changed = ["file tree/x: hardlink changed", "file tree/y: hardlink changed"]
    assert misses(explained(shop, text)) == {"COPY tree /tree": changed}


def test_the_most_similar_of_earlier_steps_is_compared_with(shop: Workshop) -> None:
    shop.build(TEXT.replace("--chmod=644", "--chmod=600 --chown=3"))
    shop.put({"src/a.txt": "A"})
    found = misses(explained(shop))
    assert found["COPY --chmod=644 src ${TOP}/src"] == ["file src/a.txt: contents changed"]


def test_a_step_that_moved_is_only_below_a_change(shop: Workshop) -> None:
    found = explained(shop, TEXT.replace("COPY <<EOF /doc", "COPY one.txt /new\nCOPY <<EOF /doc"))
    assert found["COPY one.txt /new"].cause == "never"
    assert found["COPY <<EOF /doc"].cause == "parent"
    assert found["COPY two.txt two-link /two/"].cause == "parent"


def test_a_step_that_moved_and_changed_is_compared_with_itself(shop: Workshop) -> None:
    text = TEXT.replace("COPY <<EOF /doc", "COPY one.txt /new\nCOPY <<EOF /document")
    found = explained(shop, text)
    assert [str(one) for one in found["COPY <<EOF /document"].changes] == ["destination: was '/doc', is '/document'"]
    found = explained(shop, TEXT.replace("WORKDIR /work\n", "").replace("/doc\ntext", "/doc\nother"))
    assert [str(one) for one in found["COPY <<EOF /doc"].changes] == ["here-document EOF: was 'text\\n', is 'other\\n'"]
    assert found["COPY two.txt two-link /two/"].cause == "parent"


RELATIVE = "FROM scratch\nWORKDIR /work\nCOPY one.txt to/\nCOPY two.txt .\nCOPY src /src\n"


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_working_directory_is_named_where_copies_go_to_another_one(
    shop: Workshop, tmp_path: Path, elsewhere: bool
) -> None:
    shop.build(RELATIVE)
    if elsewhere:
        shop = Workshop(shop.store, tmp_path / "checkout" / "context")
        shop.put(FILES)
    found = misses(explained(shop, RELATIVE.replace("/work", "/")))
    moved = ["working directory: was '/work', is '/'"]
    assert found == {"COPY one.txt to/": ["what it is made on changed", *moved], "COPY two.txt .": moved}
    text = RELATIVE.replace("/work", "/srv/app").replace("COPY two.txt .", "COPY src new\nCOPY two.txt .")
    found = misses(explained(shop, text))
    moved = ["working directory: was '/work', is '/srv/app'"]
    assert (found["COPY src new"], found["COPY two.txt ."]) == (["never"], moved)
    found = misses(explained(shop, RELATIVE.replace("/work", "/srv/app").replace("to/", "too/")))
    moved = ["working directory: was '/work', is '/srv/app'"]
    assert found["COPY one.txt too/"] == ["destination: was '/work/to/', is '/srv/app/too/'", *moved]
    assert found["COPY two.txt ."] == moved


def test_a_working_directory_that_leads_nowhere_else_is_not_named(shop: Workshop) -> None:
    shop.build(RELATIVE)
    text = RELATIVE.replace("COPY two.txt .", "COPY two.txt /work/")
    assert {one.cause for one in explained(shop, text).values()} == {"hit"}
    shop.put({"two.txt": "other"})
    assert misses(explained(shop, text)) == {"COPY two.txt /work/": ["file two.txt: contents changed"]}


def test_a_stage_with_another_name_or_number_is_compared_with_what_it_was(shop: Workshop) -> None:
    text = TEXT.replace("base", "other-name").replace("FROM scratch\n", "FROM scratch AS last\n")
    assert {one.cause for one in explained(shop, text).values()} == {"hit"}
    shop.put({"src/a.txt": "A", "two.txt": "T"})
    assert misses(explained(shop, text)) == {
        "COPY --chmod=644 src ${TOP}/src": ["file src/a.txt: contents changed"],
        "COPY two.txt two-link /two/": ["file two.txt: contents changed", "file two-link: contents changed"],
    }


def test_what_was_never_built(shop: Workshop) -> None:
    found = explained(shop, "FROM scratch AS quite-another\nCOPY one.txt /\nWORKDIR /x\n")
    assert [one.cause for one in found.values()] == ["never", "never"]
    assert next(iter(why(next(iter(found.values()))))) == "never built here"


def test_other_checkouts_are_compared_with(shop: Workshop, tmp_path: Path) -> None:
    there = Workshop(shop.store, tmp_path / "checkout" / "context")
    there.put(FILES)
    assert {one.cause for one in explained(there).values()} == {"hit"}
    there.put({"src/a.txt": "A"})
    assert ["file src/a.txt: contents changed"] in misses(explained(there)).values()
    text = TEXT.replace("--chmod=644 src ${TOP}/src", "one.txt /")
    assert explained(there, text)["COPY one.txt /"].cause == "never"
    shared = misses(explained(there, text.replace("two.txt two-link /two/", "two.txt /other/")))
    assert shared["COPY two.txt /other/"] == ["destination: was '/two/', is '/other/'", "file two-link removed"]
    there.put({"two.txt": "another"})
    changed = misses(explained(there))["COPY two.txt two-link /two/"]
    assert changed == ["file two.txt: contents changed", "file two-link: contents changed"]
    found = explained(there, text.replace("two.txt two-link /two/", "two.txt /two/"))
    assert found["COPY two.txt /two/"].cause == "never"
    assert found["WORKDIR /work"].cause == "parent"


def project(shop: Workshop, name: str) -> Workshop:
    """Return a shop for another project that uses the same store."""
    found = Workshop(shop.store, shop.context.parent / name / "context")
    found.context.mkdir(parents=True)
    return found


def test_what_other_projects_do_on_the_same_base_is_no_earlier_step_of_this(shop: Workshop, tmp_path: Path) -> None:
    images.write_layout(tmp_path / "python", [images.layer(images.file("language", "python"))])
    contexts = {"python": f"oci-layout://{tmp_path}/python:latest"}
    text = "FROM python\nWORKDIR /a\nCOPY f .\nCOPY common /common\nWORKDIR /last\n"
    project(shop, "one").build(text, {"f": "1", "common": "same", "g": "g"}, contexts=contexts)
    for number, new in enumerate(("WORKDIR /b", "COPY g /g", "COPY f g ./")):
        other = project(shop, f"new-{number}")
        other.put({"f": f"f{number}", "g": f"g{number}"})
        step = f"FROM python\n{new}\n"
        assert misses(explained(other, step, contexts=contexts)) == {new: ["never"]}
        assert set(reasons(other.build(step, contexts=contexts)).values()) == {""}
    other = project(shop, "two")
    other.put({"f": "2"})
    # What does the same may be of another checkout.
    found = misses(explained(other, "FROM python\nWORKDIR /a\nCOPY f .\nWORKDIR /last\n", contexts=contexts))
    assert found == {"COPY f .": ["file f: contents changed"]}


def test_an_earlier_step_of_this_project_goes_before_a_nearer_one_of_another(shop: Workshop) -> None:
    text = "FROM scratch\nCOPY {} /d/\n"
    project(shop, "one").build(text.format("a b"), {"a": "1", "b": "1"})
    mine = project(shop, "two")
    mine.build(text.format("a b c"), {"a": "1", "b": "2", "c": "3"})
    assert misses(explained(mine, text.format("a b"))) == {"COPY a b /d/": ["file c removed"]}
    mine.put({"b": "3"})
    found = ["file b: contents changed", "file c removed"]
    assert misses(explained(mine, text.format("a b"))) == {"COPY a b /d/": found}


def test_of_another_checkout_the_step_with_the_fewest_changes_counts(shop: Workshop) -> None:
    text, one, mine = "FROM scratch\nCOPY a b /d/\n", project(shop, "one"), project(shop, "two")
    for version in ("1", "2"):
        one.build(text, {"a": version, "b": version})
    mine.put({"a": "1", "b": "3"})
    assert misses(explained(mine, text)) == {"COPY a b /d/": ["file b: contents changed"]}


def test_what_was_removed_is_gone(shop: Workshop) -> None:
    shutil.rmtree(shop.store / "blobs")
    found = explained(shop)
    first = found["COPY --chmod=644 src ${TOP}/src"]
    assert first.cause == "gone"
    assert next(iter(why(first))) == GONE
    shutil.rmtree(shop.store / "selectors")
    assert explained(shop)["COPY --chmod=644 src ${TOP}/src"].cause == "gone"
    again = shop.build(TEXT)
    assert reasons(again)["COPY --chmod=644 src ${TOP}/src"] == GONE


def test_looking_executes_nothing_and_writes_no_result(shop: Workshop) -> None:
    shop.put({"src/a.txt": "A"})

    def written() -> dict[str, int]:
        kept = [
            path
            for path in shop.store.rglob("*")
            if path.is_file() and "stat" not in path.parts and "parsed" not in path.parts
        ]
        return {str(path): path.stat().st_mtime_ns for path in kept}

    before = written()
    explained(shop)
    explained(shop, no_cache=True)
    assert written() == before
    assert shop.build(TEXT).seen.executed != []


def test_a_mistake_ends_it_as_it_ends_a_build(shop: Workshop) -> None:
    (shop.context / "two.txt").unlink()
    with pytest.raises(BuilderError, match=r'"/two\.txt": not found') as caught:
        explained(shop)
    assert "Dockerfile.test:" in str(caught.value)


def reasons(built: Built) -> dict[str, str]:
    """Return why steps were executed, by their texts."""
    return {
        one.name.partition("] ")[2]: one.reason
        for one in built.seen.events
        if isinstance(one, VertexCompleted) and not one.cached
    }


def test_a_build_says_why_it_executes_a_step(shop: Workshop) -> None:
    shop.put({"src/a.txt": "A", "src/b": "", "src/c": "", "src/d": ""})
    found = reasons(shop.build(TEXT))
    assert (
        found["COPY --chmod=644 src ${TOP}/src"]
        == "file src/a.txt: contents changed; file src/b added; file src/c added; and 1 more"
    )
    assert found["WORKDIR /work"] == "what it is made on changed"
    assert shop.build(TEXT).seen.executed == []


def test_a_build_compares_with_none_of_its_own_steps(shop: Workshop) -> None:
    shop.build(RELATIVE)
    found = reasons(
        shop.build(RELATIVE.replace("/work", "/srv").replace("COPY two.txt .", "COPY src .\nCOPY two.txt ."))
    )
    moved = "what it is made on changed; working directory: was '/work', is '/srv'"
    assert found["COPY one.txt to/"] == found["COPY two.txt ."] == moved
    text = "FROM scratch AS one\nCOPY one.txt /x\nCOPY one.txt /y\nCOPY one.txt /z\n"
    assert set(reasons(shop.build(text)).values()) == {""}


def test_no_cache_is_a_reason(shop: Workshop) -> None:
    assert set(reasons(shop.build(TEXT, no_cache=True)).values()) == {"--no-cache asks for it"}
    assert {one.cause for one in explained(shop, no_cache=True).values()} == {"asked"}


@pytest.mark.parametrize("stage", ["base", "BASE", "0"])
def test_steps_of_one_stage_are_executed_again(shop: Workshop, stage: str) -> None:
    found = explained(shop, fresh_stages=(stage,))
    asked = {"COPY --chmod=644 src ${TOP}/src", "WORKDIR /work"}
    assert {name for name, one in found.items() if one.cause == "asked"} == asked
    built = shop.build(TEXT, fresh_stages=(stage,))
    assert asked <= set(reasons(built))
    assert reasons(built)["WORKDIR /work"] == "--no-cache-filter asks for the stage base"
    assert explained(shop)["WORKDIR /work"].cause == "hit"


def test_a_step_of_two_stages_is_executed_again_for_either(shop: Workshop) -> None:
    text = "FROM scratch AS a\nWORKDIR /x\nFROM scratch AS b\nWORKDIR /x\nCOPY --from=a /x /y\n"
    shop.build(text)
    for stage in ("a", "b"):
        assert "WORKDIR /x" in reasons(shop.build(text, fresh_stages=(stage,)))


def test_a_stage_that_is_not_there(shop: Workshop) -> None:
    with pytest.raises(BuilderError, match=r'there is no stage "bse" \(did you mean base\?\)') as caught:
        explained(shop, fresh_stages=("bse",))
    assert caught.value.hint == "stages with a name: base, other"


def test_a_base_is_told_through_a_step_that_does_not_depend_on_it(shop: Workshop, tmp_path: Path) -> None:
    text = "FROM base\nCOPY --link one.txt /one\nWORKDIR /x\n"
    contexts = {}
    for name in ("old", "new"):
        images.write_layout(tmp_path / name, [images.layer(images.file("version", name))])
        contexts[name] = {"base": f"oci-layout://{tmp_path / name}:latest"}
    shop.build(text, contexts=contexts["old"])
    found = misses(explained(shop, text, contexts=contexts["new"]))
    assert list(found) == ["WORKDIR /x"]
    assert found["WORKDIR /x"][0].startswith("base image: was ")


def test_the_command_line(tmp_path: Path) -> None:
    context = write_context(tmp_path / "context", "FROM scratch\nCOPY a /a\nWORKDIR /b\n", {"a": "1"})
    root = tmp_path / "store"
    assert "never built here" in pybuild("explain", context, root=root).stdout
    pybuild(context, "-t", "x", root=root)
    assert pybuild("explain", context, root=root).stdout == "CACHED  [2/3] COPY a /a\nCACHED  [3/3] WORKDIR /b\n"
    (context / "a").write_text("2")
    assert pybuild("explain", context, root=root).stdout.splitlines() == [
        "MISS    [2/3] COPY a /a",
        "        file a: contents changed",
        "MISS    [3/3] WORKDIR /b",
        "        what it is made of changed; nothing else",
        "        made of what is missing: [2/3] COPY a /a",
    ]
    told = json.loads(pybuild("explain", "--json", context, root=root).stdout)
    assert told["cached"] is False
    assert told["steps"][0]["line"] == 2
    assert told["steps"][0]["cause"] == "changed"
    assert told["steps"][0]["changes"][0]["component"] == "file a"
    assert told["steps"][1]["missing"] == ["[2/3] COPY a /a"]
    assert "#1 MISS: file a: contents changed" in pybuild(context, root=root).stderr
    done = pybuild("explain", "--no-cache-filter", "0", context, root=root)
    assert done.stdout.count("whatever is there") == 2
    pybuild("explain", "--no-cache-filter", "nobody", context, root=root, status=65)


def test_what_a_read_only_store_knows_is_compared_with(tmp_path: Path) -> None:
    context = write_context(tmp_path / "context", "FROM scratch\nCOPY a /a\nWORKDIR /b\n", {"a": "1"})
    pybuild(context, root=tmp_path / "warm")
    options = ["explain", "--store-ro", tmp_path / "warm", context]
    assert pybuild(*options, root=tmp_path / "own").stdout.count("CACHED") == 2
    (context / "a").write_text("2")
    assert "file a: contents changed" in pybuild(*options, root=tmp_path / "own").stdout
    done = pybuild("--progress=plain", *options[1:], root=tmp_path / "own")
    assert "MISS: file a: contents changed" in done.stderr


def test_an_image_without_steps(tmp_path: Path) -> None:
    context = write_context(tmp_path / "context", "FROM scratch\nENV A=1\n")
    assert "no step" in pybuild("explain", context, root=tmp_path / "store").stdout
