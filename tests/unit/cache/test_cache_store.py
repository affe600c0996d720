"""What a store keeps, and that damage to any of its files is a miss with a warning that names the file."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.cache import blobs
from builder.cache.keys import key
from builder.cache.refs import MadeFrom, RefRecord
from builder.cache.selectors import Selector
from builder.cache.store import Store
from builder.errors import OutputError
from builder.image.descriptor import OCI_LAYER_GZIP, OCI_MANIFEST, Descriptor
from builder.image.digest import DiffID, Digest, DigestMismatchError
from builder.values import replace

REPO = Path(__file__).parents[3]
KEY = key("test", 1, "a")
DIFF_ID = DiffID(Digest.of(b"layer"))
SELECTOR = Selector(DIFF_ID, 1_700_000_000)
LAYER = Descriptor(media_type=OCI_LAYER_GZIP, digest=Digest.of(b"gz"), size=2)
BUILT = RefRecord(
    "localhost/app:1", Descriptor(media_type=OCI_MANIFEST, digest=Digest.of(b"m"), size=1), 7, True, "linux/amd64"
)


class Warned(list[str]):
    """Collects warnings."""


@pytest.fixture
def warned() -> Warned:
    return Warned()


@pytest.fixture
def store(tmp_path, warned):
    with Store.open(tmp_path / "store", warn=warned.append) as store:
        yield store


def test_opening_writes_nothing_but_the_version(store):
    assert os.listdir(store.root) == ["VERSION"]


# Blobs


def test_a_blob_comes_back(store):
    digest = store.blobs.put(b"hello")
    assert digest == Digest.of(b"hello")
    with store.blobs.open(digest) as stream:
        stream.seek(1)
        assert stream.read() == b"ello"
    assert store.blobs.read(digest) == b"hello"
    assert store.blobs.verify(digest)
    assert store.blobs.size(digest) == 5
    assert store.blobs.contains(digest, 5)
    assert store.blobs.path(digest).read_bytes() == b"hello"
    assert list((store.root / "tmp").iterdir()) == []


def test_a_missing_blob(store, warned):
    digest = Digest.of(b"never")
    with pytest.raises(FileNotFoundError):
        store.blobs.open(digest)
    assert not store.blobs.contains(digest)
    assert not store.blobs.verify(digest)
    assert store.blobs.size(digest) is None
    assert store.blobs.read(digest) is None
    assert warned == []


def test_bytes_that_are_not_what_was_promised_never_appear(store):
    expected = Digest.of(b"good")
    with store.blobs.writer() as writer:
        writer.write(b"evil")
        with pytest.raises(DigestMismatchError):
            writer.commit(expected)
    assert not store.blobs.contains(expected)
    assert not store.blobs.contains(Digest.of(b"evil"))
    assert list((store.root / "tmp").iterdir()) == []


def test_a_writer_that_is_not_committed_leaves_nothing(store):
    with store.blobs.writer() as writer:
        writer.write(b"x" * 3_000_000)
        assert writer.size == 3_000_000
    assert not (store.root / "blobs").exists()
    assert list((store.root / "tmp").iterdir()) == []


@pytest.mark.parametrize("piece", [1, 999, 70_000, 1 << 20])
def test_a_large_blob_is_written_back_under_way(store, monkeypatch, piece):
    begun = []
    advise = os.posix_fadvise
    monkeypatch.setattr(os, "posix_fadvise", lambda fd, *said: (begun.append(said[:2]), advise(fd, *said)))
    monkeypatch.setattr(blobs, "_WRITE_BACK", 50_000)
    data = os.urandom(min(1000 * piece, 3 << 20) if piece > 1 else 120_000)
    with store.blobs.writer() as writer:
        for start in range(0, len(data), piece):
            writer.write(data[start : start + piece])
        digest = writer.commit(Digest.of(data))
    assert store.blobs.path(digest).read_bytes() == data
    assert [start for start, _ in begun] == [0, *(start + size for start, size in begun[:-1])], "each byte once"
    assert sum(size for _, size in begun) > len(data) - 50_000 - 2 * piece


def test_commit_is_idempotent(store):
    with store.blobs.writer() as writer:
        writer.write(b"x")
        assert writer.commit() == writer.commit(Digest.of(b"x"))
    assert store.blobs.put(b"x") == Digest.of(b"x")


def test_a_finished_file_is_adopted(store):
    temporary = store.temporary(".blob")
    temporary.write_bytes(b"packed")
    path = store.blobs.adopt(temporary, Digest.of(b"packed"))
    assert path.read_bytes() == b"packed"
    assert not temporary.exists()
    with pytest.raises(OutputError):
        store.blobs.adopt(temporary, Digest.of(b"packed"))


def test_adopting_heals_a_damaged_blob_and_open_readers_keep_theirs(store):
    digest = store.blobs.put(b"good")
    store.blobs.path(digest).write_bytes(b"baad")
    with store.blobs.open(digest) as reader:
        store.blobs.put(b"good")
        assert reader.read() == b"baad"
    assert store.blobs.read(digest) == b"good"


@pytest.mark.parametrize("broken", [b"hellO", b"hell", b"", b"hello!"])
@pytest.mark.parametrize(
    "check", [lambda blobs, digest: blobs.read(digest), lambda blobs, digest: blobs.verify(digest)]
)
def test_a_damaged_blob_is_dropped_with_a_warning(store, warned, broken, check):
    digest = store.blobs.put(b"hello")
    store.blobs.path(digest).write_bytes(broken)
    assert not check(store.blobs, digest)
    assert str(store.blobs.path(digest)) in warned[0]
    assert not store.blobs.contains(digest)
    store.blobs.put(b"hello")
    assert check(store.blobs, digest)


def test_a_size_from_a_stranger_does_not_drop_a_good_blob(store, warned):
    digest = store.blobs.put(b"hello")
    assert not store.blobs.contains(digest, 4)
    assert "5 bytes instead of 4" in warned[0]
    assert store.blobs.contains(digest)


def test_read_is_for_small_blobs(store, warned):
    digest = store.blobs.put(b"x" * 11)
    assert store.blobs.read(digest, limit=10) is None
    assert "larger than 10 bytes" in warned[0]
    assert store.blobs.contains(digest)


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("/etc/passwd"), os.mkfifo, os.mkdir])
def test_what_is_no_file_is_no_blob(store, make):
    digest = Digest.of(b"x")
    store.blobs.path(digest).parent.mkdir(parents=True)
    make(store.blobs.path(digest))
    assert not store.blobs.contains(digest)
    assert not store.blobs.verify(digest)
    assert store.blobs.read(digest) is None


# Small files


def test_the_first_selector_wins(store):
    assert store.selectors.find(KEY) is None
    assert store.selectors.record(KEY, SELECTOR) == SELECTOR
    assert store.selectors.record(KEY, Selector(None, 1)) == SELECTOR
    assert store.selectors.find(KEY) == SELECTOR
    store.selectors.forget(KEY)
    assert store.selectors.record(KEY, Selector(None, 1)) == Selector(None, 1)
    assert store.selectors.find(KEY) == Selector(None, 1)


def test_variants_are_kept_by_compressor(store, warned):
    other = Descriptor(media_type=OCI_LAYER_GZIP, digest=Digest.of(b"other"), size=3)
    assert list(store.variants.all(DIFF_ID)) == []
    store.variants.put(DIFF_ID, "gzip-deflate-1", LAYER)
    store.variants.put(DIFF_ID, "../../evil", other)
    assert store.variants.get(DIFF_ID, "gzip-deflate-1") == LAYER
    assert store.variants.get(DIFF_ID, "../../evil") == other
    assert store.variants.get(DIFF_ID, "gzip-zlib-6") is None
    assert set(store.variants.all(DIFF_ID)) == {LAYER, other}
    assert not (store.root / "evil").exists()
    store.variants.put(DIFF_ID, "gzip-deflate-1", other)
    assert store.variants.get(DIFF_ID, "gzip-deflate-1") == other
    assert warned == []


def test_an_image_built_here_and_a_registrys_answer_do_not_mix(store):
    seen = RefRecord(BUILT.reference, LAYER, 9, False)
    store.refs.put(seen)
    assert store.refs.get(BUILT.reference, built_here=True) is None
    assert store.refs.get(BUILT.reference) == seen
    store.refs.put(BUILT)
    assert store.refs.get(BUILT.reference) == BUILT
    assert store.refs.get(BUILT.reference, built_here=False) == seen
    assert store.refs.get("other") is None


@pytest.mark.parametrize("made", [MadeFrom("Dockerfile", "FROM a\udcff\n", "one"), MadeFrom("D", "")])
def test_a_name_remembers_the_dockerfile_of_its_image(store, made):
    record = replace(BUILT, made_from=made)
    store.refs.put(record)
    assert store.refs.get(BUILT.reference) == record


def test_parsed(store):
    name = store.parsed.name(b"FROM scratch\n", "1")
    assert name != store.parsed.name(b"1FROM scratch\n", "")
    assert store.parsed.get(name) is None
    store.parsed.put(name, b"{}")
    assert store.parsed.get(name) == b"{}"


def test_tables_of_contents_are_put_in_place(store):
    temporary = store.temporary()
    temporary.write_bytes(b"toc")
    assert store.publish_toc(temporary, DIFF_ID) == store.toc_path(DIFF_ID)
    assert store.toc_path(DIFF_ID).read_bytes() == b"toc"
    assert not temporary.exists()
    store.drop_toc(DIFF_ID)
    assert not store.toc_path(DIFF_ID).exists()
    with pytest.raises(OutputError):
        store.publish_toc(temporary, DIFF_ID)


def fill(store: Store) -> dict[str, Callable[[], object]]:
    """Write one file of each kind; return how each is read."""
    store.selectors.record(KEY, SELECTOR)
    store.variants.put(DIFF_ID, "gzip", LAYER)
    store.refs.put(BUILT)
    store.parsed.put(KEY, b"parsed")
    return {
        "selectors": lambda: store.selectors.find(KEY),
        "variants": lambda: store.variants.get(DIFF_ID, "gzip"),
        "refs": lambda: store.refs.get(BUILT.reference),
        "parsed": lambda: store.parsed.get(KEY),
    }


def replaced_by(make: Callable[[Path], object]) -> Callable[[Path], object]:
    def damage(path: Path) -> None:
        path.unlink()
        make(path)

    return damage


DAMAGE = {
    "truncated": lambda path: os.truncate(path, path.stat().st_size - 1),
    "emptied": lambda path: os.truncate(path, 0),
    "headless": lambda path: path.write_bytes(path.read_bytes().partition(b"\n")[2]),
    "flipped": lambda path: path.write_bytes(path.read_bytes()[:-2] + b"\x00" + path.read_bytes()[-1:]),
    "foreign": lambda path: path.write_bytes(b"{}"),
    "huge": lambda path: os.truncate(path, 1 << 40),
    "link": replaced_by(lambda path: path.symlink_to("/etc/passwd")),
    "fifo": replaced_by(os.mkfifo),
    "directory": replaced_by(os.mkdir),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("kind", ["selectors", "variants", "refs", "parsed"])
def test_damage_is_a_miss_with_a_warning_that_names_the_file(store, warned, kind, damage):
    read = fill(store)[kind]
    assert read() is not None
    (path,) = (path for path in (store.root / kind).rglob("*") if path.is_file())
    DAMAGE[damage](path)
    assert read() is None
    assert str(path) in warned[0]
    assert len(warned) == 1
    if damage != "directory":
        fill(store)
        assert read() is not None  # replaced


def test_a_file_that_was_moved_to_another_name_is_a_miss(store, warned):
    other = key("test", 1, "b")
    store.selectors.record(KEY, SELECTOR)
    path = store.root / "selectors" / other[:2] / other
    path.parent.mkdir(exist_ok=True)
    os.rename(store.root / "selectors" / KEY[:2] / KEY, path)
    assert store.selectors.find(other) is None
    assert len(warned) == 1


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"diff_id": None},
        {"diff_id": 5, "created": 1},
        {"diff_id": "sha256:../../etc", "created": 1},
        {"diff_id": None, "created": "1"},
        {"diff_id": None, "created": True},
    ],
)
def test_a_whole_file_that_says_nonsense_is_a_miss_and_replaced(store, warned, record):
    store.selectors._table.put(f"{KEY[:2]}/{KEY}", record)
    assert store.selectors.find(KEY) is None
    assert "not a selector" in warned[0]
    assert store.selectors.record(KEY, SELECTOR) == SELECTOR
    assert store.selectors.find(KEY) == SELECTOR


def test_a_store_that_cannot_be_written_fails_outputs_and_only_warns_for_the_cache(store, warned):
    store.hold_lease()
    for name in ("selectors", "variants", "refs", "parsed", "blobs", "toc"):
        (store.root / name).write_text("a file where a directory should be")
    assert store.selectors.record(KEY, SELECTOR) == SELECTOR
    store.variants.put(DIFF_ID, "gzip", LAYER)
    store.parsed.put(KEY, b"")
    assert [name for name in ("selectors", "variants", "parsed") if any(name in text for text in warned)] == [
        "selectors",
        "variants",
        "parsed",
    ]
    with pytest.raises(OutputError, match="refs"):
        store.refs.put(BUILT)
    with pytest.raises(OutputError, match="blobs"):
        store.blobs.put(b"")
    assert list((store.root / "tmp").iterdir()) == []


def test_a_file_system_without_hard_links_still_has_a_first_writer(store, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert store.selectors.record(KEY, SELECTOR) == SELECTOR
    assert store.selectors.record(KEY, Selector(None, 1)) == SELECTOR
    assert store.selectors.find(KEY) == SELECTOR


def test_importing_the_store_loads_nothing_heavy():
    import subprocess

    heavy = "{'subprocess', 'tempfile', 'shutil', 'ctypes', 'ssl', 'asyncio', 'logging', 'httpx', 'lark', 'rich'}"
    code = f"import sys, builder.cache.store; print(sorted({heavy} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPO)
    assert result.stdout == "[]\n"


FULL = """
import os, resource, sys
from pathlib import Path
from builder.cache.keys import key
from builder.cache.selectors import Selector
from builder.cache.store import Store
from builder.errors import OutputError
warned = []
with Store.open(Path(sys.argv[1]), warn=warned.append) as store:
    store.selectors.record(key("full", 1, "old"), Selector(None, 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, 50))  # files end after 50 bytes, as on a disk that gets full
    new = key("full", 1, "new")
    assert store.selectors.record(new, Selector(None, 2)) == Selector(None, 2)
    assert store.selectors.find(new) is None
    assert store.selectors.record(key("full", 1, "old"), Selector(None, 2)) in (Selector(None, 1), Selector(None, 2))
    assert store.selectors.find(key("full", 1, "old")) == Selector(None, 1)
    store.parsed.put("name", b"x" * 100)
    assert store.parsed.get("name") is None
    try:
        store.blobs.put(b"x" * 1_000_000)
    except OutputError:
        pass
    else:
        raise AssertionError("stored a blob that does not fit")
    assert os.listdir(store.root / "tmp") == []
    assert len(warned) == 3 and all("File too large" in text for text in warned), warned
"""


def test_a_disk_that_gets_full_in_the_middle_of_a_file(tmp_path):
    import subprocess

    arguments = [sys.executable, "-c", FULL, str(tmp_path / "store")]
    result = subprocess.run(arguments, capture_output=True, text=True, check=False, cwd=REPO)
    assert result.returncode == 0, result.stderr


def test_a_blob_that_cannot_be_read_says_which_file_it_is(store):
    digest = store.blobs.put(b"x" * 10)
    with store.blobs.open(digest) as stream:
        other = os.open(store.root, os.O_RDONLY)
        os.dup2(other, stream.fileno())
        os.close(other)
        for read in (stream.read, lambda: stream.read(5), lambda: stream.raw.readall()):
            with pytest.raises(OutputError, match=f"cannot read .*{digest.hex}: Is a directory"):
                read()
