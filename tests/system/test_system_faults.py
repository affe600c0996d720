"""Registries on bad days: whatever goes wrong, a push or pull ends right or with one clear error, and nothing is lost.

Every way to log in, every fault of the proxy alone, and then many by chance. A failure names its seed: with
``PYBUILD_TEST_FAULT_SEED=N`` only that run is made.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random

import pytest

from builder.cache.store import Store
from builder.image.reference import Reference
from tests.support import faultruns
from tests.support.faultproxy import BESIDES, FAULTS, Chance, Fault, Once, Schedule, Seen
from tests.support.faultruns import Bench, Recorder

# Python leaves a connection that is reset before its TLS handshake to the garbage collector; ``collect`` hurries it up.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning"
)

FULL = bool(os.environ.get("PYBUILD_TEST_FULL"))
BATCH = 12
BATCHES = 20 if FULL else 2
SEED = os.environ.get("PYBUILD_TEST_FAULT_SEED")
_RATES = (0.05, 0.1, 0.2, 0.3, 0.5, 0.9)

# What a single fault may end a push or a pull with; all others are got over.
ENDS = {
    "early-413": "RegistryError",
    "busy-for-days": "TransientRegistryError",
    "forbidden": "AuthenticationError",
    "portal": "RegistryError",
    "redirect-nowhere": "RegistryError",
    "redirect-write": "RegistryError",
    "redirect-loop": "RegistryError",
    "location-absent": "RegistryError",
    "location-bad": "RegistryError",
    "digest-wrong": "RegistryError",
}
# A manifest is asked for with GET where HEAD does not have a good answer; what is said of a blob's digest is no matter.
UNHARMED = {"manifests": ("forbidden", "redirect-nowhere", "portal"), "blobs": ("digest-wrong",)}
TIMES = {"redirect-loop": 1000}


@pytest.fixture
def collect() -> Iterator[None]:
    yield
    gc.collect()


@pytest.fixture(scope="module")
def benches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Bench]]:
    with faultruns.benches(tmp_path_factory.mktemp("benches")) as made:
        yield made


def names(bench: Bench, name: str, *tags: str) -> list[Reference]:
    return [Reference.parse(f"{bench.proxy.host}/{bench.kind}/{name}:{tag}") for tag in tags]


@pytest.fixture(scope="module")
def bases(benches: dict[str, Bench]) -> dict[str, Reference]:
    """A repository behind each proxy that holds the layers that all samples share, and sample 0."""
    made = {}
    for kind, bench in benches.items():
        (made[kind],) = names(bench, "base", "1")
        with bench.client() as client:
            assert faultruns.push(bench, client, [made[kind]], faultruns.sample(0), Recorder()) == ""
    return made


# --- nothing wrong


@pytest.mark.parametrize("kind", faultruns.KINDS)
def test_without_faults(benches: dict[str, Bench], bases: dict[str, Reference], kind: str, tmp_path: Path) -> None:
    bench, targets = benches[kind], names(benches[kind], "calm", "1", "2")
    bench.forget()
    image, log = faultruns.sample(1, bases[kind]), Recorder()
    with bench.client(reporter=log) as client, Store.open(tmp_path / "store") as store:
        assert faultruns.push(bench, client, targets, image, log) == ""
        mounted = [one.query["mount"] for one in bench.proxy.seen if "mount" in one.query]
        assert sorted(mounted) == sorted(image.shared)
        faultruns.complete(bench, targets, image)
        assert faultruns.pull(bench, client, targets[1], store, log) == ""
        faultruns.right(store, image, whole=True)
    faultruns.honest(bench, [targets[0].repository])
    faultruns.no_leaks(bench)


# --- one thing wrong


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_one_fault_in_a_push(benches: dict[str, Bench], bases: dict[str, Reference], name: str) -> None:
    bench, targets = benches["token"], names(benches["token"], f"push/{name}", "1", "2")
    bench.forget()
    image, log = faultruns.sample(hash_of(name), bases["token"]), Recorder()
    with bench.client(reporter=log) as client:
        bench.proxy.schedule = once = Once(name, _known, TIMES.get(name, 1))
        said = faultruns.push(bench, client, targets, image, log)
        bench.proxy.calm()
        expected = ENDS.get(name, "") if once.happened and name != "digest-wrong" else ""
        assert said.partition(":")[0] == expected, (said, bench.proxy.faults())
        if said:
            faultruns.honest(bench, [targets[0].repository])
            assert faultruns.push(bench, client, targets, image, log) == ""
    faultruns.complete(bench, targets, image)
    faultruns.honest(bench, [targets[0].repository])
    faultruns.no_leaks(bench)
    faultruns.no_secrets(bench, *log.events)


READS = [name for name in sorted(FAULTS) if not name.startswith(("location", "mount"))]


@pytest.mark.parametrize("name", READS)
@pytest.mark.parametrize("kind", ["manifests", "blobs"])
def test_one_fault_in_a_pull(
    benches: dict[str, Bench], bases: dict[str, Reference], name: str, kind: str, tmp_path: Path
) -> None:
    bench, source = benches["token"], bases["token"]
    bench.forget()
    image, log = faultruns.sample(0), Recorder()
    with bench.client(reporter=log) as client, Store.open(tmp_path / "store") as store:
        # What is answered to a request without a token is no matter.
        bench.proxy.schedule = once = Once(name, lambda seen: seen.kind == kind and _known(seen), TIMES.get(name, 1))
        if "range" in name:
            bench.proxy.schedule = _after_a_cut(once)
        said = faultruns.pull(bench, client, source, store, log)
        bench.proxy.calm()
        expected = ENDS.get(name, "") if once.happened and name not in UNHARMED[kind] else ""
        assert said.partition(":")[0] == expected, (said, bench.proxy.faults())
        faultruns.right(store, image, whole=not said)
        if said:
            assert faultruns.pull(bench, client, source, store, log) == ""
            faultruns.right(store, image, whole=True)
    faultruns.honest(bench, [])
    faultruns.no_leaks(bench)
    faultruns.no_secrets(bench, *log.events)


def _known(seen: Seen) -> bool:
    return bool(seen.header("authorization"))


def _after_a_cut(then: Once) -> Schedule:
    """Break the first answer with a blob off, so that there is a range to ask for."""
    cut = Once("cut", lambda seen: seen.kind == "blobs")
    return lambda seen: then(seen) or cut(seen)


@pytest.mark.parametrize("name", [name for name in READS[:: 1 if FULL else 3] if name != "digest-wrong"])
def test_a_bad_mirror(benches: dict[str, Bench], bases: dict[str, Reference], name: str, tmp_path: Path) -> None:
    """Whatever a mirror does, everything comes from the registry then; and the mirror is shown no account."""
    mirror, bench = benches["open"], benches["htpasswd"]
    (copied,), log = names(mirror, "base", "1"), Recorder()
    (source,) = [Reference.parse(f"{bench.proxy.host}/{copied.repository}:1")]
    image = faultruns.sample(0)
    with bench.client(reporter=log, mirror=mirror.proxy.host) as client, Store.open(tmp_path / "store") as store:
        if "1" not in bench.proxy.registry.tags(source.repository):
            assert faultruns.push(bench, client, [source], image, log) == ""
        for one in (mirror, bench):
            one.forget()
        mirror.proxy.schedule = lambda seen: Fault(name, len(seen.path)) if FAULTS[name](seen) else None
        assert faultruns.pull(bench, client, source, store, log) == ""
        mirror.proxy.calm()
        faultruns.right(store, image, whole=True)
    assert mirror.proxy.seen, "the mirror is not asked"
    secret = bench.secrets()["elsewhere"]
    for seen in mirror.proxy.seen:
        assert not seen.header("authorization")
        assert not [one for one in secret if one in f"{seen.path} {seen.headers}"]
    faultruns.no_secrets(bench, *log.events)


@pytest.mark.usefixtures("collect")
@pytest.mark.parametrize("how", ["reset", "close"])
@pytest.mark.parametrize("number", [1, 2])
def test_a_dropped_connection(
    benches: dict[str, Bench], bases: dict[str, Reference], number: int, how: str, tmp_path: Path
) -> None:
    """The first connection of this client is plain http, the second is to see whether it is TLS, and is kept if so."""
    bench, left = benches["tls"], [number]
    bench.forget()

    def drop(_origin: str) -> str:
        left[0] -= 1
        return "" if left[0] else how

    with bench.client() as client, Store.open(tmp_path / "store") as store:
        bench.proxy.drops = drop
        assert faultruns.pull(bench, client, bases["tls"], store, Recorder()) == ""
        bench.proxy.calm()
        faultruns.right(store, faultruns.sample(0), whole=True)
    assert left[0] <= 0


@pytest.mark.parametrize("how", ["status", "done"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PATCH", "PUT"])
def test_bad_statuses_on_every_verb(
    benches: dict[str, Bench], bases: dict[str, Reference], method: str, how: str, tmp_path: Path
) -> None:
    """After "done" the registry has done what it was asked: only the answer was lost in a gateway."""
    bench, targets = benches["identity"], names(benches["identity"], f"verbs/{how}/{method.lower()}", "1")
    bench.forget()
    image, log = faultruns.sample(hash_of(how + method), bases["identity"]), Recorder()
    faults = [Once(f"{how}-{status}", lambda seen: seen.method == method) for status in (500, 502, 503, 504)]
    with bench.client(reporter=log, upload_piece=100_000) as client, Store.open(tmp_path / "store") as store:
        bench.proxy.schedule = lambda seen: next(filter(None, (one(seen) for one in faults)), None)
        assert faultruns.push(bench, client, targets, image, log) == ""
        assert faultruns.pull(bench, client, targets[0], store, log) == ""
        bench.proxy.calm()
        assert [one.happened for one in faults] == [1, 1, 1, 1], f"{method} was not used"
        faultruns.complete(bench, targets, image)
        faultruns.right(store, image, whole=True)
    faultruns.honest(bench, [targets[0].repository])


def test_an_answer_that_never_comes(
    benches: dict[str, Bench], bases: dict[str, Reference], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The upload is done, but nobody says so in time."""
    bench, targets = benches["token"], names(benches["token"], "silence", "1")
    bench.forget()
    monkeypatch.setattr("builder.registry.transport.UPLOAD_SECONDS", 0.5)
    image, log = faultruns.sample(2, bases["token"]), Recorder()
    with bench.client(reporter=log) as client:
        bench.proxy.schedule = once = Once("silence", lambda seen: seen.method == "PUT" and seen.kind == "uploads")
        assert faultruns.push(bench, client, targets, image, log) == ""
        bench.proxy.calm()
    assert once.happened == 1
    puts = [one.query["digest"] for one in bench.proxy.seen if one.method == "PUT" and one.kind == "uploads"]
    assert len(puts) == len(set(puts)), "what had arrived was sent again"
    faultruns.complete(bench, targets, image)


# --- much wrong


@pytest.mark.usefixtures("collect")
@pytest.mark.parametrize("batch", [SEED] if SEED else range(BATCHES))
def test_seeded_runs(benches: dict[str, Bench], bases: dict[str, Reference], batch: int | str, tmp_path: Path) -> None:
    """Pushes, pulls and their repetition when all is well again; see ``play``."""
    seeds = range(BATCH * batch, BATCH * (batch + 1)) if isinstance(batch, int) else [int(batch)]
    ends = []
    for seed in seeds:
        bench, base = benches[_kind(seed)], bases[_kind(seed)]
        try:
            ends += play(seed, bench, base, tmp_path / str(seed))
        except BaseException as error:
            error.add_note(f"seed {seed} ({bench.kind}); what was done:\n" + "\n".join(bench.proxy.faults()))
            raise
        finally:
            _stop(bench)
    # Faults that all are got over prove as little as faults that none is.
    assert SEED or 0 < ends.count("") < len(ends), ends


def _kind(seed: int) -> str:
    return faultruns.KINDS[seed % len(faultruns.KINDS)]


def play(seed: int, bench: Bench, base: Reference, directory: Path) -> list[str]:
    """Make the run of a seed; return how push and pull ended.

    With one job the run is the same each time; with several the threads' order decides which upload has which fault.
    """
    random, proxy, log = Random(f"run {seed}"), bench.proxy, Recorder()
    bench.forget()
    proxy.redirect_blobs = random.random() < 0.3
    proxy.chunk = random.choice((0, 0, 50_000))
    rate, jobs, piece = random.choice(_RATES), random.choice((1, 1, 3)), random.choice((0, 0, 0, 120_000))
    chosen = random.choice((None, frozenset(random.sample(sorted({*FAULTS, *BESIDES}), 6))))
    chance = Chance(seed, rate, chosen)
    targets = names(bench, f"run{seed}/app", "1", "2")
    if random.random() < 0.4:
        targets += names(bench, f"run{seed}/again", "1")
    repositories = sorted({one.repository for one in targets})
    last = targets[-1].repository
    image = faultruns.sample(seed, base)
    with ExitStack() as stack:
        client, second = (stack.enter_context(bench.client(jobs, seed, log, piece)) for _ in range(2))
        store = stack.enter_context(Store.open(directory))
        _start(bench, chance)
        pushed = faultruns.push(bench, client, targets, image, log)
        _stop(bench)
        faultruns.honest(bench, repositories)
        if not pushed:
            faultruns.complete(bench, targets, image)
        again = client if random.random() < 0.5 else second
        assert faultruns.push(bench, again, targets, image, log) == ""
        faultruns.complete(bench, targets, image)
        _start(bench, chance)
        faultruns.ask(bench, second, targets[-1], {one.tag or "" for one in targets if one.repository == last})
        pulled = faultruns.pull(bench, second, targets[-1], store, log)
        _stop(bench)
        faultruns.right(store, image, whole=not pulled)
        assert faultruns.pull(bench, again, targets[-1], store, log) == ""
        faultruns.right(store, image, whole=True)
    faultruns.honest(bench, repositories)
    faultruns.no_leaks(bench)
    faultruns.no_secrets(bench, *log.events)
    return [pushed, pulled]


def _start(bench: Bench, chance: Chance) -> None:
    bench.proxy.schedule, bench.proxy.drops = chance, chance.drops
    if bench.tokens is not None:
        bench.tokens.interrupt = chance.interrupt


def _stop(bench: Bench) -> None:
    bench.proxy.calm()
    if bench.tokens is not None:
        bench.tokens.interrupt = lambda _: None


def hash_of(name: str) -> int:
    """Return a number for a name, the same in every process."""
    return int.from_bytes(name.encode(), "big") % 1_000_003
