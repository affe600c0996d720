"""Caches in a real registry: a second machine executes nothing, downloads nothing and makes the same image."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from builder.cache.exchange import TOC_TYPE, Claim, Exchange, Record, parse_table
from builder.cache.keys import Key
from builder.cache.store import Store
from builder.engine.places import Entries, Reader, RegistryPlace
from builder.engine.request import CachePlace
from builder.engine.sharing import publish
from builder.events import SilentReporter
from builder.image.descriptor import OCI_LAYER, Descriptor
from builder.image.digest import DiffID, Digest
from builder.image.reference import Reference
from builder.registry.client import Registry
from builder.rootfs.pack import index_layer
from builder.rootfs.toc import Toc
from tests.support.cli import digest_of, environment, pybuild, write_context
from tests.support.images import directory, layer, symlink
from tests.support.need import need_root
from tests.support.registry import Request, TestRegistry

DOCKERFILE = """\
FROM {base} AS tools
RUN mkdir /made && head -c 100 /dev/urandom > /made/random
COPY src /src
FROM {base}
WORKDIR /app
COPY src ./
COPY --from=tools /made /made
COPY --link --chown=7 src/a /linked
RUN head -c 10 /dev/urandom > /own
ENV A=b
"""
FILES: dict[str, str | bytes] = {"src/a": "a" * 5000, "src/b/c": "c"}


@pytest.fixture
def context(tmp_path: Path, busybox_image: str) -> Path:
    need_root("needs root: RUN")
    return write_context(tmp_path / "context", DOCKERFILE.format(base=busybox_image), FILES)


@pytest.fixture
def cache(registry: TestRegistry, request: pytest.FixtureRequest) -> str:
    """A repository of this test's own."""
    name = "".join(char if char.isalnum() else "-" for char in request.node.name.lower()).strip("-")
    return f"{registry.host}/caches/{name}"


def executed(metadata: Path) -> list[str]:
    return [step["name"] for step in json.loads(metadata.read_text())["steps"] if not step["cached"]]


def layers(registry: TestRegistry) -> set[str]:
    """Return every layer that a manifest of the registry names, those of base images too."""
    found: set[str] = set()
    for link in registry.storage.glob("docker/registry/v2/repositories/**/_manifests/revisions/sha256/*/link"):
        named = json.loads(registry.blob(link.read_text())).get("layers", ())
        found |= {one["digest"] for one in named if "image.layer" in one["mediaType"]}
    return found


def downloads(registry: TestRegistry, since: int) -> list[Request]:
    """Return the requests for the bytes of a layer."""
    known = layers(registry)
    return [
        one
        for one in registry.requests(since=since)
        if one.method == "GET" and "/blobs/" in one.path and one.path.rpartition("/")[2] in known
    ]


def held(registry: TestRegistry, store: Path) -> set[str]:
    """Return the layers whose bytes a store has."""
    names = {f"sha256:{path.name}" for path in (store / "blobs/sha256").rglob("*") if path.is_file()}
    return names & layers(registry)


def uploads(registry: TestRegistry, since: int) -> list[Request]:
    """Return the requests that carried bytes of a blob."""
    return [one for one in registry.requests(since=since) if one.method in ("PATCH", "PUT") and "/blobs/" in one.path]


def test_a_second_machine_executes_nothing_and_downloads_no_layer(
    registry: TestRegistry, context: Path, cache: str, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    name = f"{registry.host}/app/sharing:1"
    shared = f"type=registry,ref={cache}"
    meta = tmp_path / "meta.json"
    options = ["-t", name, "--push", f"--metadata-file={meta}"]
    one = pybuild(*options, f"--cache-to={shared},mode=max", context, root=first)
    assert len(executed(meta)) == 7
    mark = registry.mark()
    two = pybuild(*options, f"--cache-from={shared}", f"--cache-to={shared},mode=max", context, root=second)
    assert executed(meta) == []
    assert digest_of(one) == digest_of(two)
    assert downloads(registry, mark) == []
    assert uploads(registry, mark) == []
    assert held(registry, second) == set()
    assert "WARN" not in two.stderr.upper()
    # A machine without the cache shows that this is found out: its RUN needs the base.
    mark = registry.mark()
    pybuild(*options, context, root=tmp_path / "third")
    assert len(executed(meta)) == 7
    assert downloads(registry, mark)
    assert held(registry, tmp_path / "third")


def test_so_does_a_machine_whose_store_was_pruned(
    registry: TestRegistry, context: Path, cache: str, tmp_path: Path
) -> None:
    store, meta = tmp_path / "store", tmp_path / "meta.json"
    shared = f"type=registry,ref={cache}"
    one = pybuild(f"--cache-to={shared},mode=max", context, root=store)
    assert held(registry, store)
    pybuild("cache", "prune", "--all", root=store)
    assert held(registry, store) == set()
    assert not [path for path in (store / "selectors").rglob("*") if path.is_file()]
    mark = registry.mark()
    two = pybuild(f"--cache-from={shared}", f"--metadata-file={meta}", context, root=store)
    assert (executed(meta), digest_of(two)) == ([], digest_of(one))
    assert downloads(registry, mark) == []
    assert held(registry, store) == set()


def test_a_changed_file_costs_no_bytes_of_the_base(
    registry: TestRegistry, context: Path, cache: str, tmp_path: Path
) -> None:
    meta = tmp_path / "meta.json"
    shared = f"type=registry,ref={cache}"
    text = (context / "Dockerfile").read_text()
    # Without the step that needs them.
    (context / "Dockerfile").write_text("\n".join(line for line in text.splitlines() if "/own" not in line))
    pybuild(f"--cache-to={shared},mode=max", context, root=tmp_path / "first")
    (context / "src/b/c").write_text("changed")
    mark = registry.mark()
    name = f"{registry.host}/app/changed:1"
    built = pybuild(
        "-t", name, "--push", f"--cache-from={shared}", f"--metadata-file={meta}", context, root=tmp_path / "second"
    )
    done = sorted(one.rpartition("] ")[2] for one in executed(meta))
    assert done == ["COPY --from=tools /made /made", "COPY src ./", "COPY src /src"]
    fetched = {one.path.split("/blobs/")[0] for one in downloads(registry, mark)}
    assert fetched <= {f"/v2/{cache.partition('/')[2]}"}, (
        "the file of the stage that is copied, and nothing of the base"
    )
    assert "WARN" not in built.stderr.upper()


def test_a_lie_about_the_base_comes_out_when_a_step_runs(
    registry: TestRegistry, busybox_image: str, cache: str, tmp_path: Path
) -> None:
    """The cache says that /w is a link to /etc, and an honest build on the same store must not be told so."""
    need_root("needs root: RUN")
    honest = write_context(tmp_path / "honest", f"FROM {busybox_image}\nCOPY f /f\n", {"f": "1"})
    shared = f"type=registry,ref={cache}"
    pybuild(f"--cache-to={shared},mode=max", honest, root=tmp_path / "first")
    _forge(registry, cache.partition("/")[2])
    store, meta = tmp_path / "store", tmp_path / "meta.json"
    text = f"FROM {busybox_image}\nCOPY f /w/f\nRUN test -f /w/f && test ! -e /etc/f && echo all good\n"
    victim = write_context(tmp_path / "victim", text, {"f": "2"})
    done = pybuild("--progress=plain", f"--cache-from={shared}", f"--metadata-file={meta}", victim, root=store)
    assert "something wrong about the layer" in done.stderr
    assert "all good" in done.stderr
    assert digest_of(pybuild(victim, root=store)) == digest_of(done)
    assert "something wrong" not in pybuild(f"--cache-from={shared}", honest, root=store).stderr


def _forge(registry: TestRegistry, repository: str) -> None:
    """Let the only entry of a cache claim another table of contents of the base."""
    import xxhash

    (tag,) = registry.tags(repository)
    honest = registry.tags(repository)[tag]
    manifest = json.loads(registry.blob(honest))
    table = parse_table(registry.blob(manifest["config"]["digest"]))
    base = next(key for key in table.claims if key not in {one.diff_id for one in table.records})
    written = io.BytesIO()
    index_layer(io.BytesIO(layer(directory("etc"), symlink("w", "/etc"))), written)
    lie = written.getvalue()
    forged = bytearray(lie.replace(bytes.fromhex(Toc(lie).diff_id.hex), bytes.fromhex(base.hex)))
    forged[-16:-8] = xxhash.xxh3_64_intdigest(bytes(forged[:-16])).to_bytes(8, "little")
    blob = zlib.compress(bytes(forged))
    descriptor = Descriptor(media_type=TOC_TYPE, digest=Digest.of(blob), size=len(blob))
    claim = Claim(descriptor, Toc(bytes(forged)).facts(), 1 << 40)
    with connected() as client:
        write(client, registry, repository, Exchange(claims={base: claim}), {descriptor.digest: blob})
    # Of two claims of the same second either may win.
    with contextlib.closing(registry.connect()) as connection:
        connection.request("DELETE", f"/v2/{repository}/manifests/{honest}")
        assert connection.getresponse().status == 202


@contextmanager
def connected() -> Iterator[Registry]:
    with Registry() as client:
        yield client


@dataclass(frozen=True)
class Bytes:
    """A blob in memory."""

    descriptor: Descriptor
    diff_id: DiffID
    raw: bytes

    def open(self) -> io.BytesIO:
        return io.BytesIO(self.raw)


def write(
    client: Registry, registry: TestRegistry, repository: str, exchange: Exchange, blobs: dict[Digest, bytes]
) -> None:
    """Export as a build does: read what is there, write an entry, and merge if there are many."""
    where = CachePlace(kind="registry", reference=Reference.parse(f"{registry.host}/{repository}"))
    with TemporaryDirectory() as root, Store.open(Path(root) / "store") as store:
        place = RegistryPlace(where, store, lambda: client, SilentReporter())
        before = Reader(place, where.prefix, store.imported(where.name), store, lambda _: None).read()
        described = {one.digest: one for one in exchange.blobs()}
        layers = {key: Bytes(described[key], DiffID(key), raw) for key, raw in blobs.items()}
        publish(place, where.prefix, exchange, before, layers, {})


def read(client: Registry, registry: TestRegistry, repository: str) -> Entries:
    where = CachePlace(kind="registry", reference=Reference.parse(f"{registry.host}/{repository}"))
    with TemporaryDirectory() as root, Store.open(Path(root) / "store") as store:
        place = RegistryPlace(where, store, lambda: client, SilentReporter())
        return Reader(place, where.prefix, store.imported(where.name), store, pytest.fail).read()


def test_many_exporters_at_once_lose_nothing(registry: TestRegistry, cache: str, full: bool) -> None:
    """50 exporters with 200 results each; in ordinary runs fewer of them."""
    exporters, each = (50, 200) if full else (20, 20)
    repository = cache.partition("/")[2]
    failures: list[BaseException] = []

    def export(number: int) -> None:
        blobs = {Digest.of(raw): raw for raw in (f"{number} {index}".encode() for index in range(each))}
        records = tuple(
            Record(
                keys=(Key(digest.hex),),
                diff_id=DiffID(digest),
                created=1,
                shared=number,
                layer=Descriptor(media_type=OCI_LAYER, digest=digest, size=len(raw)),
                compressor="none",
            )
            for digest, raw in blobs.items()
        )
        try:
            with connected() as client:
                for half in (records[: each // 2], records[each // 2 :]):
                    some = {one.layer.digest: blobs[one.layer.digest] for one in half if one.layer is not None}
                    write(client, registry, repository, Exchange(records=half), some)
        except BaseException as error:  # noqa: BLE001  carried to the test
            failures.append(error)

    threads = [threading.Thread(target=export, args=(number,)) for number in range(exporters)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with connected() as client:
        found = read(client, registry, repository)
        assert len({key for one in found.exchange.records for key in one.keys}) == exporters * each
        assert any("-m-" in name for name in registry.tags(repository))
        # Whoever comes next includes them all.
        raw = b"last"
        last = Descriptor(media_type=OCI_LAYER, digest=Digest.of(raw), size=4)
        record = Record(keys=(Key("f" * 64),), diff_id=DiffID(last.digest), created=1, shared=1, layer=last)
        write(client, registry, repository, Exchange(records=(record,)), {last.digest: raw})
        after = read(client, registry, repository)
        assert len(after.exchange.records) == exporters * each + 1
        assert len(after.loose) <= len(found.loose) + 1
    assert registry.missing(repository) == set()


def test_builds_that_export_at_once_lose_nothing(
    registry: TestRegistry, busybox_image: str, cache: str, tmp_path: Path
) -> None:
    shared = f"type=registry,ref={cache}"
    contexts = [
        write_context(tmp_path / f"c{number}", f"FROM {busybox_image}\nCOPY f /f\nCOPY f /g\n", {"f": str(number)})
        for number in range(6)
    ]
    program = [sys.executable, "-m", "builder.cli.main", f"--cache-to={shared}"]
    running = [
        subprocess.Popen(
            [*program, str(context)], env=environment(tmp_path / f"s{number}"), stderr=subprocess.PIPE, text=True
        )
        for number, context in enumerate(contexts)
    ]
    said = [process.communicate()[1] for process in running]
    assert [process.returncode for process in running] == [0] * len(running), said
    meta = tmp_path / "meta.json"
    for context in contexts:
        pybuild(f"--cache-from={shared}", f"--metadata-file={meta}", context, root=tmp_path / "reader")
        assert executed(meta) == []


def test_a_cache_is_pruned_by_age(registry: TestRegistry, busybox_image: str, cache: str, tmp_path: Path) -> None:
    shared, meta = f"type=registry,ref={cache}", tmp_path / "meta.json"
    repository = cache.partition("/")[2]
    context = write_context(tmp_path / "context", f"FROM {busybox_image}\nCOPY f /f\n", {"f": "1"})
    pybuild(f"--cache-to={shared}", context, root=tmp_path / "one")
    with connected() as client:
        for number in range(3):
            record = Record(keys=(Key(f"{number:064x}"),), diff_id=None, created=1, shared=1000)
            write(client, registry, repository, Exchange(records=(record,)), {})
    said = pybuild("cache", "prune", "--remote", cache, "--max-age=1d", "--json", root=tmp_path / "two")
    done = json.loads(said.stdout)
    assert (done["entries"], done["records"], done["kept"]) == (0, 3, 1)
    assert done["written"] in registry.tags(repository)
    pybuild(f"--cache-from={shared}", f"--metadata-file={meta}", context, root=tmp_path / "three")
    assert executed(meta) == []
    pybuild("cache", "prune", "--remote", cache, root=tmp_path / "two", status=64)


def test_a_dead_cache_is_one_warning_and_fails_a_build_only_when_it_is_written(
    busybox_layout: Path, tmp_path: Path
) -> None:
    base = f"--build-context=base=oci-layout://{busybox_layout}:latest"
    context = write_context(tmp_path / "context", "FROM base\nCOPY f /f\nCOPY f /g\n", {"f": "1"})
    dead = "localhost:1/nobody/there"
    done = pybuild("--progress=plain", base, f"--cache-from={dead}", context, root=tmp_path / "store")
    assert done.stderr.count(dead) == 1
    done = pybuild(base, f"--cache-to=type=registry,ref={dead}", context, root=tmp_path / "store", status=[69, 75])
    assert "the image is done" in done.stderr
    ignoring = f"--cache-to=type=registry,ref={dead},ignore-error=true"
    assert pybuild(base, ignoring, context, root=tmp_path / "store").stderr.count("was not written") == 1


def test_builds_without_a_cache_load_nothing_for_it(busybox_layout: Path, tmp_path: Path) -> None:
    context = write_context(tmp_path / "context", "FROM base\nCOPY f /f\n", {"f": "1"})
    options = [f"--build-context=base=oci-layout://{busybox_layout}:latest", f"--cache-to=type=local,dest={tmp_path}/c"]
    pybuild(*options, context, root=tmp_path / "store")
    program = (
        "import sys\nfrom builder.cli.main import main\nassert main(sys.argv[1:]) == 0\n"
        "print([name for name in sys.modules if name in ('httpx', 'builder.engine.imports', 'builder.engine.places',"
        " 'builder.cache.exchange', 'builder.cache.imported', 'builder.cli.caching')])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, options[0], str(context)],
        env=environment(tmp_path / "store"), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "[]"
