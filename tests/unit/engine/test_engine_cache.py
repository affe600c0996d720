"""What a rebuild executes: nothing when nothing changed, else exactly what did (cache-and-graph.md, semantics 64)."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from builder.cache.store import Store
from builder.engine.build import Environment, build
from builder.engine.request import BuildRequest
from builder.errors import BuilderError, ContextError, InterruptedBuildError
from builder.image.platform import Platform
from builder.rootfs.entry import ContentChangedError
from builder.rootfs.pack import pack
from tests.support.builds import NATIVE, Built, Files, Recording, Workshop, hash_first, no_registry, pack_at_once

TEXT = """
FROM scratch AS s
WORKDIR /w
COPY src /src
COPY <<EOF /doc
text
EOF
FROM scratch
COPY --from=s /src /out
ENV A=b
LABEL l=m
"""


@pytest.fixture(autouse=True, params=[hash_first, pack_at_once])
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of carrying out a COPY find and make the same."""
    request.param(monkeypatch)


SOURCES: Files = {"src/a.txt": "a", "src/sub/b": "b", "src/l": lambda path: path.symlink_to("a.txt"), "unused": "u"}


def test_a_warm_build_executes_nothing_and_gives_the_same_image(shop: Workshop) -> None:
    first = shop.build(TEXT, SOURCES)
    assert len(first.seen.executed) == 4
    second = shop.build(TEXT)
    assert second.seen.executed == []
    assert second.digest == first.digest
    assert second.config.created == first.config.created


@pytest.fixture
def warm(shop: Workshop) -> Workshop:
    shop.build(TEXT, SOURCES)
    return shop


def test_touching_does_not_invalidate(warm: Workshop) -> None:
    for path in [warm.context, *warm.context.rglob("*")]:
        os.utime(path, (1, 1), follow_symlinks=False)
    assert warm.build(TEXT).seen.executed == []


def test_a_copy_of_the_context_hits(warm: Workshop) -> None:
    copy = Workshop(warm.store, warm.context.with_name("elsewhere"))
    shutil.copytree(warm.context, copy.context, symlinks=True)
    (copy.context / "src" / "a.txt").write_text("a")
    assert copy.build(TEXT).seen.executed == []


def relink(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: (c / "src/a.txt").write_text("A"),
        lambda c: (c / "src/a.txt").write_text("a longer text"),
        lambda c: (c / "src/a.txt").chmod(0o600),
        lambda c: (c / "src/a.txt").rename(c / "src/c.txt"),
        lambda c: (c / "src/sub").chmod(0o700),
        lambda c: (c / "src/new").mkdir(),
        lambda c: (c / "src/sub/b").unlink(),
        lambda c: relink(c / "src/l", "sub"),
        lambda c: ((c / "src/a.txt").unlink(), (c / "src/a.txt").mkdir()),
        lambda c: (c / ".dockerignore").write_text("src/sub"),
    ],
    ids=["bytes", "size", "mode", "name", "mode of a directory", "new", "gone", "link", "dir for file", "ignored"],
)
def test_what_was_read_and_changed_invalidates(warm: Workshop, change: Any) -> None:
    change(warm.context)
    assert warm.build(TEXT).seen.executed


@pytest.mark.parametrize(
    "change",
    [
        lambda c: (c / "unused").write_text("changed"),
        lambda c: (c / "another").write_text("new"),
        lambda c: (c / "src").chmod(0o700),
        lambda c: (c / ".dockerignore").write_text("unused"),
    ],
    ids=["other file", "new file", "mode of the copied directory itself", "other file ignored"],
)
def test_what_was_not_read_does_not_matter(warm: Workshop, change: Any) -> None:
    change(warm.context)
    assert warm.build(TEXT).seen.executed == []


def test_a_change_back_hits_again(warm: Workshop) -> None:
    before = warm.build(TEXT).digest
    (warm.context / "src/a.txt").write_text("B")
    assert warm.build(TEXT).digest != before
    (warm.context / "src/a.txt").write_text("a")
    again = warm.build(TEXT)
    assert (again.seen.executed, again.digest) == ([], before)


def test_a_wildcard_sees_a_rename_and_nothing_else(shop: Workshop) -> None:
    text = "FROM scratch\nCOPY *.txt /d/"
    shop.build(text, {"a.txt": "1", "b.txt": "2", "c.log": "3"})
    shop.put({"c.log": "changed"})
    assert shop.build(text).seen.executed == []
    (shop.context / "b.txt").rename(shop.context / "z.txt")
    assert shop.build(text).tree.keys() == {"d", "d/a.txt", "d/z.txt"}


def test_hard_links_count(shop: Workshop) -> None:
    text = "FROM scratch\nCOPY d /d"
    assert shop.build(text, {"d/a": "x", "d/b": "x"}).tree["d/a"].group == ()
    (shop.context / "d/b").unlink()
    (shop.context / "d/b").hardlink_to(shop.context / "d/a")
    assert shop.build(text).tree["d/a"].group == ("d/a", "d/b")
    # A link that leads out of what is copied is none.
    shop.put({"e/a": "y"})
    shop.build("FROM scratch\nCOPY e /e")
    (shop.context / "e-link").hardlink_to(shop.context / "e/a")
    assert shop.build("FROM scratch\nCOPY e /e").seen.executed == []


@pytest.mark.parametrize(
    "line",
    [
        "COPY src/a.txt /x",
        "COPY --chmod=600 src/a.txt /a",
        "COPY --chown=7 src/a.txt /a",
        "COPY --link src/a.txt /a",
        "ADD src/a.txt /a",
        "COPY src/a.txt /a/",
        "COPY --exclude=x src/a.txt /a",
        "COPY src/sub/b /a",
        "COPY <<EOF /a\na\nEOF",
    ],
)
def test_other_instructions_are_other_work(shop: Workshop, line: str) -> None:
    shop.build("FROM scratch\nCOPY src/a.txt /a", SOURCES)
    assert shop.build(f"FROM scratch\n{line}").seen.executed


def test_config_changes_do_not_invalidate_files(warm: Workshop) -> None:
    before = warm.build(TEXT)
    changed = warm.build(TEXT.replace("ENV A=b", "ENV A=c\nUSER me\nCMD x"))
    assert changed.seen.executed == []
    assert changed.digest != before.digest
    assert changed.config.diff_ids == before.config.diff_ids


def test_copying_from_a_stage_depends_on_what_is_copied_not_on_how_it_was_made(shop: Workshop) -> None:
    text = "FROM scratch AS s\nCOPY all /\nFROM scratch\nCOPY --from=s /used /x"
    first = shop.build(text, {"all/used": "1", "all/other": "2"})
    shop.put({"all/other": "changed"})
    second = shop.build(text)
    assert second.seen.executed == ["[s 2/2] COPY all /"]
    assert second.digest == first.digest
    shop.put({"all/used": "changed"})
    assert len(shop.build(text).seen.executed) == 2


def test_equal_parents_make_children_hit_however_they_were_made(shop: Workshop) -> None:
    shop.put({"one/a": "1", "two/a": "1", "b": "2"})
    for path in [*shop.context.rglob("a"), shop.context / "one", shop.context / "two"]:
        os.utime(path, (5, 5))
    shop.build("FROM scratch\nCOPY one /d\nCOPY b /b")
    built = shop.build("FROM scratch\nCOPY --link two /d\nCOPY b /b")
    assert built.seen.executed == ["[2/3] COPY --link two /d"]


def test_no_cache_executes_everything_and_its_results_count(warm: Workshop) -> None:
    before = warm.build(TEXT)
    again = warm.build(TEXT, no_cache=True)
    assert len(again.seen.executed) == len(before.seen.steps)
    assert again.tree == before.tree
    assert warm.build(TEXT).digest == again.digest


def test_the_target_decides_what_is_executed(shop: Workshop) -> None:
    text = "FROM scratch AS a\nCOPY f /a\nFROM scratch AS b\nCOPY f /b"
    assert shop.build(text, {"f": "1"}, target="A").tree.keys() == {"a"}
    assert shop.build(text).tree.keys() == {"b"}


def test_platforms_share_copies(warm: Workshop) -> None:
    built = warm.build(TEXT, platform=Platform.parse("linux/s390x"))
    assert built.seen.executed == []
    assert built.config.platform.architecture == "s390x"


# --- a store that loses things


def lose(root: Path, kind: str) -> int:
    found = [path for path in (root / kind).rglob("*") if path.is_file()]
    for path in found:
        path.unlink()
    return len(found)


@pytest.mark.parametrize("kind", ["blobs", "toc", "selectors", "variants", "stat", "parsed", "records"])
def test_what_the_store_lost_is_made_again(warm: Workshop, kind: str) -> None:
    before = warm.build(TEXT).shown("mode", "sha256")
    lose(warm.store, kind)
    assert warm.build(TEXT).shown("mode", "sha256") == before
    assert warm.build(TEXT).seen.executed == []


@pytest.mark.parametrize("kind", ["toc", "selectors", "variants", "stat", "parsed"])
def test_what_the_store_holds_damaged_is_made_again(warm: Workshop, kind: str) -> None:
    before = warm.build(TEXT).shown("mode", "sha256")
    for path in (warm.store / kind).rglob("*"):
        if path.is_file():
            path.chmod(0o600)
            path.write_bytes(b"\0garbage" + path.read_bytes()[9:])
    assert warm.build(TEXT).shown("mode", "sha256") == before
    assert warm.build(TEXT).seen.executed == []


# --- files that change while they are read


def racing(monkeypatch: pytest.MonkeyPatch, happens: Any) -> list[int]:
    """Let ``happens`` take place each time a layer is about to be packed; return a list that counts them."""
    calls: list[int] = []

    def packing_now(items: Any, *rest: Any, **more: Any) -> Any:
        calls.append(1)
        happens(len(calls))
        return pack(items, *rest, **more)

    monkeypatch.setattr("builder.rootfs.pack.pack", packing_now)
    return calls


def test_a_file_that_changes_after_hashing_makes_the_step_start_again(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.put({"f": "before"})
    hash_first(monkeypatch)
    calls = racing(monkeypatch, lambda number: (shop.context / "f").write_text("after!") if number == 1 else None)
    built = shop.build("FROM scratch\nCOPY f /f")
    assert len(calls) == 2
    monkeypatch.undo()
    again = shop.build("FROM scratch\nCOPY f /f")
    assert (again.digest, again.seen.executed) == (built.digest, [])
    shop.put({"f": "before"})
    assert shop.build("FROM scratch\nCOPY f /f").seen.executed


def test_a_file_that_keeps_changing_ends_the_build_and_records_nothing(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.put({"f": ""})
    racing(monkeypatch, lambda number: (shop.context / "f").write_text(number * "x"))
    with pytest.raises(ContentChangedError) as caught:
        shop.build("FROM scratch\nCOPY f /f")
    assert isinstance(caught.value, ContextError)
    monkeypatch.undo()
    assert lose(shop.store, "selectors") == 0


def test_looking_again_does_not_disturb_other_steps(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.put({f"d{number}/f{n}": str(n) for number in range(4) for n in range(40)} | {"f": "0"})
    racing(monkeypatch, lambda number: (shop.context / "f").write_text("1") if number <= 1 else None)
    stages = "".join(f"FROM scratch AS s{n}\nCOPY d{n} f /d/\n" for n in range(4))
    copies = "".join(f"COPY --from=s{n} /d /d{n}\n" for n in range(4))
    built = shop.build(f"{stages}FROM scratch\n{copies}", jobs=4)
    assert len(built.tree) == 4 * 42


# --- side by side


def test_concurrent_builds_of_one_thing_agree(shop: Workshop) -> None:
    shop.put({**SOURCES, "Dockerfile": TEXT})
    built: list[Built] = []
    threads = [threading.Thread(target=lambda: built.append(shop.build())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one.digest for one in built}) == 1
    assert len(built) == 4


def test_a_cancelled_build_ends_as_interrupted(shop: Workshop) -> None:
    shop.put({"Dockerfile": "FROM scratch\nCOPY . /"})
    cancel = threading.Event()
    cancel.set()
    request = BuildRequest(context=str(shop.context), platforms=(NATIVE,), build_platform=NATIVE)
    with Store.open(shop.store) as store, pytest.raises(InterruptedBuildError):
        build(request, Environment(store, no_registry, Recording(), cancel))


def test_a_failing_step_is_named_and_those_after_it_are_not_tried(shop: Workshop) -> None:
    seen = Recording()
    with pytest.raises(BuilderError):
        shop.try_build(seen, "FROM scratch\nCOPY a /\nCOPY gone /\nCOPY a /b", {"a": "1"})
    assert seen.failed == ["[3/4] COPY gone /"]
    assert list(seen.steps) == ["[2/4] COPY a /"]


@pytest.mark.parametrize("jobs", [1, 2, 8])
def test_many_stages_are_built_whatever_the_number_of_jobs(shop: Workshop, jobs: int) -> None:
    stages = "".join(f"FROM scratch AS s{n}\nCOPY f{n} /f{n}\n" for n in range(12))
    copies = "".join(f"COPY --from=s{n} /f{n} /\n" for n in range(12))
    built = shop.build(f"{stages}FROM scratch\n{copies}", {f"f{n}": str(n) for n in range(12)}, jobs=jobs)
    assert built.tree.keys() == {f"f{n}" for n in range(12)}
