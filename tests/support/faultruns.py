"""Pushes and pulls of a small image through the fault proxy, and what has to hold after each, however it went."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import BinaryIO

from builder.cache.store import Store
from builder.errors import BuilderError
from builder.events import Event
from builder.image import descriptor as media
from builder.image.artifact import Artifact, Parts
from builder.image.descriptor import Descriptor
from builder.image.digest import DiffID, Digest
from builder.image.reference import Reference
from builder.registry.client import Registry
from builder.registry.credentials import Credential
from builder.registry.hosts import parse_address
from builder.registry.push import push_artifact
from builder.registry.repository import remote_artifact
from builder.registry.retry import RetryPolicy
from builder.registry.together import in_parallel
from tests.support import certificates, faultproxy, tokenserver
from tests.support import registry as registries
from tests.support.credentials import StaticCredentials
from tests.support.faultproxy import FaultProxy
from tests.support.reaching import reaching
from tests.support.tokenserver import TokenServer

USER = "ann"
PASSWORD = "planted-PASSWORD-5b1c"
KINDS = ("open", "htpasswd", "token", "identity", "tls")
"""Ways to log in: not at all, Basic, a token for the password, one for a refresh token; and a token over TLS."""

_EXIT_CODES = {67, 69, 75, 77}
_SHARED, _OWN = (3_000, 60_000), (40, 20_000, 400_000)


@dataclass(frozen=True)
class Bench:
    """A registry behind its proxy, and how to get in."""

    kind: str
    proxy: FaultProxy
    tokens: TokenServer | None
    credential: Credential | None
    ca_file: Path | None

    def client(
        self, jobs: int = 1, seed: int = 0, reporter: Recorder | None = None, upload_piece: int = 0, mirror: str = ""
    ) -> Registry:
        """Return a new client that knows the account and does not really wait; it asks ``mirror`` first."""
        source = None if self.credential is None else StaticCredentials(self.credential, [self.proxy.host])
        patience = RetryPolicy(sleep=lambda _: None, random=Random(seed).random)
        settings = reaching(ca_file=self.ca_file)
        if mirror:
            mirrors = {self.proxy.host: (parse_address(mirror),)}
            settings = replace(settings, routes=replace(settings.routes, mirrors=mirrors))
        return Registry(
            source,
            settings,
            jobs=jobs,
            retry=patience,
            reporter=reporter,
            upload_piece=upload_piece,
        )

    def forget(self) -> None:
        """Start new records: what earlier clients said and were given does not matter any more."""
        self.proxy.forget()
        if self.tokens is not None:
            with self.tokens.lock:
                self.tokens.asked.clear()
                self.tokens.issued.clear()

    def secrets(self) -> dict[str, set[str]]:
        """Return, per origin, what must not arrive there; "message" is what must not be said to people."""
        passwords = {PASSWORD, base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}
        tokens: set[str] = set()
        refresh: set[str] = set()
        if self.tokens is not None:
            with self.tokens.lock:
                # Its signature is what makes a token one.
                tokens = {text.rpartition(".")[2] for text in self.tokens.issued}
                refresh = set(self.tokens.refresh_tokens)
        shown = passwords | tokens | refresh | {"signature=", "_state="}
        own = refresh | passwords if self.tokens is not None else set()
        return {"elsewhere": passwords | tokens | refresh, "registry": own, "token": tokens, "message": shown}


@contextmanager
def benches(directory: Path) -> Iterator[dict[str, Bench]]:
    """Run every kind of registry, each behind a proxy of its own, until the block ends."""
    with ExitStack() as stack:
        tokens = stack.enter_context(tokenserver.serve(directory / "tokens"))
        tokens.add_account(USER, PASSWORD)
        account = Credential(username=USER, password=PASSWORD, source="the test")
        identity = Credential(identity_token=tokens.refresh_token(USER), source="the test")
        authority = certificates.make_authority(directory / "certificates")
        open_one = stack.enter_context(registries.serve(directory / "open"))
        htpasswd = stack.enter_context(registries.serve(directory / "htpasswd", htpasswd={USER: PASSWORD}))
        token = stack.enter_context(registries.serve(directory / "token", token=tokens))
        made = {}
        for kind, registry in zip(KINDS, (open_one, htpasswd, token, token, token), strict=True):
            tls = authority.server() if kind == "tls" else None
            proxy = stack.enter_context(faultproxy.serve(registry, tls=tls))
            believed = tokens if registry is token else None
            if believed is not None:
                proxy.authorize = lambda name: tokens.bearer(name, "pull,push")
                proxy.expire = lambda header: f"Bearer {tokens.expired(header.partition(' ')[2])}"
            elif kind == "htpasswd":
                basic = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
                proxy.authorize = lambda _, basic=basic: basic
            credential = {"open": None, "identity": identity}.get(kind, account)
            ca_file = authority.ca_file if tls else None
            made[kind] = Bench(kind, proxy, believed, credential, ca_file)
        yield made


class Recorder:
    """Keeps what people would have been told."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def emit(self, event: Event) -> None:
        self.events.append(repr(event))


# --- what is pushed


@dataclass(frozen=True)
class _Layer:
    descriptor: Descriptor
    diff_id: DiffID
    data: bytes

    def open(self) -> BinaryIO:
        return io.BytesIO(self.data)


@dataclass(frozen=True)
class Sample:
    """An index of two platforms; the layers that they share are those of every other sample too."""

    artifact: Artifact
    data: dict[Digest, bytes]
    shared: tuple[Digest, ...]


def sample(seed: int, base: Reference | None = None) -> Sample:
    """Return the index of a seed; ``base`` is a repository that holds the layers that all samples share."""
    random, common = Random(f"sample {seed}"), Random("shared")
    below = [_layer(common.randbytes(size)) for size in _SHARED]
    above = [_layer(random.randbytes(size + random.randrange(size))) for size in _OWN]
    documents: dict[Digest, bytes] = {}
    shared = tuple(one.descriptor.digest for one in below)
    manifests = [_manifest(documents, "amd64", [*below, above[0]]), _manifest(documents, "arm64", [*below, *above[1:]])]
    index = json.dumps({"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": manifests}).encode()
    known = {one.descriptor.digest: one for one in (*below, *above)}
    content = Parts(
        where="the sample",
        documents=documents,
        layers=known,
        origins=dict.fromkeys(shared, base) if base is not None else {},
    )
    data = {**documents, **{digest: one.data for digest, one in known.items()}, Digest.of(index): index}
    return Sample(Artifact.of(content, index), data, shared)


def _layer(data: bytes) -> _Layer:
    descriptor = Descriptor(media_type=media.OCI_LAYER_GZIP, digest=Digest.of(data), size=len(data))
    return _Layer(descriptor, DiffID(Digest.of(b"plain " + data)), data)


def _manifest(documents: dict[Digest, bytes], architecture: str, layers: Sequence[_Layer]) -> dict[str, object]:
    def put(value: object, media_type: str) -> dict[str, object]:
        raw = json.dumps(value).encode()
        documents[Digest.of(raw)] = raw
        return Descriptor(media_type=media_type, digest=Digest.of(raw), size=len(raw)).to_json()

    config = {
        "architecture": architecture,
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [one.diff_id for one in layers]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": media.OCI_MANIFEST,
        "config": put(config, media.OCI_CONFIG),
        "layers": [one.descriptor.to_json() for one in layers],
    }
    return {**put(manifest, media.OCI_MANIFEST), "platform": {"os": "linux", "architecture": architecture}}


# --- doing it


def push(bench: Bench, client: Registry, targets: Sequence[Reference], image: Sample, log: Recorder) -> str:
    """Push; return "" or the words of the one error it may end with."""
    try:
        digest = push_artifact(client, targets, image.artifact, log)
    except BuilderError as error:
        return judged(bench, error)
    assert digest == image.artifact.digest
    return ""


def pull(bench: Bench, client: Registry, source: Reference, store: Store, log: Recorder) -> str:
    """Pull everything that a reference leads to into a store; return "" or the words of the error."""
    try:
        artifact = remote_artifact(client, source, store.blobs, log)
        blobs = {blob.digest: blob for document in artifact.documents() for blob in document.blobs}
        in_parallel([lambda blob=blob: artifact.content.open(blob).close() for blob in blobs.values()], client.jobs)
    except BuilderError as error:
        return judged(bench, error)
    return ""


def judged(bench: Bench, error: BuilderError) -> str:
    """Return the error's words, having looked at them: one clear message, a status of its own, nothing secret."""
    said = f"{type(error).__name__}: {error}"
    assert error.exit_code in _EXIT_CODES, f"{said} ends with {error.exit_code}"
    assert "\n" not in str(error), f"{said!r} has several lines"
    assert 20 < len(str(error)) < 1000, said
    no_secrets(bench, f"{error} {error.hint} {error!r}")
    return said


def ask(bench: Bench, client: Registry, source: Reference, tags: set[str]) -> str:
    """Ask what a repository has and whether we may push there; return "" or the words of the error."""
    try:
        client.check_push(source)
        assert set(client.tags(source)) == tags
    except BuilderError as error:
        return judged(bench, error)
    return ""


# --- what has to hold


def no_secrets(bench: Bench, *texts: str) -> None:
    """Fail if something secret is said."""
    for text in texts:
        leaks = [secret for secret in bench.secrets()["message"] if secret in text]
        assert not leaks, f"{leaks} in {text!r}"


def no_leaks(bench: Bench) -> None:
    """Fail if a credential came to an origin that is not its own."""
    forbidden = bench.secrets()
    for seen in bench.proxy.seen:
        fields = [seen.path, *(f"{name}: {value}" for name, value in seen.headers)]
        text = "\n".join(fields).encode() + b"\n" + seen.body
        leaks = [secret for secret in forbidden[seen.origin] if secret.encode() in text]
        assert not leaks, f"{leaks} came to {seen.origin} with {seen.key}"
        if seen.origin == "elsewhere":
            assert not seen.header("authorization"), f"an Authorization header came elsewhere with {seen.key}"
            assert not seen.header("cookie"), f"a cookie came elsewhere with {seen.key}"
    for asked in bench.tokens.asked if bench.tokens is not None else ():
        text = asked.path.encode() + repr(asked.headers).encode() + asked.body
        leaks = [secret for secret in forbidden["token"] if secret.encode() in text]
        assert not leaks, f"{leaks} came to the token server"


def honest(bench: Bench, repositories: Sequence[str]) -> None:
    """Fail if the registry holds, or was even offered, a manifest whose blobs are missing; or the proxy has a bug."""
    assert not bench.proxy.bugs, bench.proxy.bugs
    assert not bench.proxy.early, bench.proxy.early
    for name in repositories:
        assert not bench.proxy.registry.missing(name), name


def complete(bench: Bench, targets: Sequence[Reference], image: Sample) -> None:
    """Fail unless the registry's files hold all of the image under every target."""
    registry = bench.proxy.registry
    for target in targets:
        assert registry.tags(target.repository)[target.tag or ""] == image.artifact.digest, target
        for document in image.artifact.documents():
            assert registry.blob(document.descriptor.digest) == document.raw
            for blob in document.blobs:
                assert registry.has_blob(target.repository, blob.digest), f"{target} lacks {blob.digest}"
                assert registry.blob(blob.digest) == image.data[blob.digest]


def right(store: Store, image: Sample, *, whole: bool) -> None:
    """Fail if a store holds other bytes than their names say, bytes nobody asked for, or leftovers."""
    found = {}
    for path in (store.root / "blobs").rglob("*"):
        if path.is_file():
            found[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    assert all(name == digest for name, digest in found.items()), found
    wanted = {digest.hex for digest in image.data}
    assert found.keys() <= wanted, found.keys() - wanted
    assert not whole or found.keys() == wanted, wanted - found.keys()
    leftovers = [path for path in (store.root / "tmp").rglob("*") if path.is_file()]
    assert not leftovers, leftovers
    threads = [one.name for one in threading.enumerate() if one.name.startswith("transfer-")]
    assert not threads, threads
