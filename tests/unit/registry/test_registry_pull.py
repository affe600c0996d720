"""Pulling from a strict registry that fails on demand."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from typing import Any

import pytest

from builder.errors import ImageError, InterruptedBuildError
from builder.events import Transfer, Warned
from builder.image import descriptor as media
from builder.image.artifact import Artifact
from builder.image.descriptor import Descriptor
from builder.image.digest import Digest, DigestMismatchError
from builder.image.manifest import ManifestError
from builder.image.platform import Platform, PlatformNotFoundError
from builder.image.reference import Reference
from builder.registry.errors import AuthenticationError, RegistryError, TransientRegistryError
from builder.registry.repository import RepositoryContent, remote_artifact
from builder.registry.routes import InsecureHosts, Routes
from builder.registry.session import SessionSettings
from tests.support.blobs import MemoryBlobs
from tests.support.events import Events
from tests.support.fake_registry import FakeRegistry, Fault, Seen, at, first

AMD64 = Platform.parse("linux/amd64")
DATA = bytes(range(256)) * 4096


def blob_get(seen: Seen) -> bool:
    return seen.method == "GET" and "/blobs/" in seen.path


def descriptor_of(data: bytes, **fields: Any) -> Descriptor:
    return Descriptor(media_type=media.OCI_LAYER_GZIP, digest=Digest.of(data), size=len(data), **fields)


def put_index(fake: FakeRegistry, entries: Iterable[tuple[str, str]]) -> None:
    manifests = []
    for digest, platform in entries:
        raw = fake.manifests["a/b"][digest][1]
        os, _, architecture = platform.partition("/")
        manifests.append(
            {
                "mediaType": media.OCI_MANIFEST,
                "digest": digest,
                "size": len(raw),
                "platform": {"os": os, "architecture": architecture},
            }
        )
    raw = json.dumps({"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": manifests}).encode()
    fake.put_manifest("a/b", "multi", raw, media.OCI_INDEX)


def test_an_image_is_fetched_without_its_layers(
    fake: FakeRegistry, connect: Any, blobs: MemoryBlobs, stored: Any, pushed: Any, layer: Any
) -> None:
    image = pushed(layer(DATA))
    digest = stored("a/b", "1", image)
    events = Events()
    artifact = remote_artifact(connect(), at(fake), blobs, events)
    found = artifact.image(AMD64)
    assert (found.raw_manifest, found.raw_config) == (image.raw_manifest, image.raw_config)
    assert (found.digest, artifact.digest, found.media_type) == (digest, digest, media.OCI_MANIFEST)
    assert len(fake.asked("GET", "/blobs/")) == 1
    with found.layers[0].open() as stream:
        assert stream.read() == DATA
    with found.layers[0].open() as stream:
        assert stream.read() == DATA
    assert len(fake.asked("GET", "/blobs/")) == 2
    assert events.seen[-1] == Transfer("pull", Digest.of(DATA), len(DATA), len(DATA))


def test_a_blob_that_does_not_come_is_given_up(
    fake: FakeRegistry, connect: Any, blobs: MemoryBlobs, stored: Any, pushed: Any, layer: Any
) -> None:
    stored("a/b", "1", pushed(layer(DATA)))
    events = Events()
    found = remote_artifact(connect(), at(fake), blobs, events).image(AMD64)
    fake.plan = lambda seen: Fault(flip=True) if blob_get(seen) else None
    with pytest.raises(DigestMismatchError):
        found.layers[0].open()
    told = [one for one in events.seen if isinstance(one, Transfer) and one.what == Digest.of(DATA)]
    assert [one.given_up for one in told] == [False] * (len(told) - 1) + [True]


def test_what_is_no_image_is_called_so(fake: FakeRegistry, connect: Any, blobs: MemoryBlobs) -> None:
    config = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": Digest.of(b"{}"), "size": 2}
    manifest = {"schemaVersion": 2, "mediaType": media.OCI_MANIFEST, "config": config, "layers": [config]}
    fake.put_manifest("a/b", "chart", json.dumps(manifest).encode(), media.OCI_MANIFEST)
    with pytest.raises(
        ManifestError, match=r"a/b:chart is no image but an artifact of type application/vnd\.oci\.empty"
    ):
        remote_artifact(connect(), at(fake, "a/b:chart"), blobs).image(AMD64)


def test_an_index_leads_to_the_platforms_image_and_attestations_are_ignored(
    fake: FakeRegistry, connect: Any, blobs: MemoryBlobs, stored: Any, pushed: Any, layer: Any
) -> None:
    mine = stored("a/b", "x", pushed(layer(b"mine")))
    other = stored("a/b", "y", pushed(layer(b"other")))
    unknown = stored("a/b", "z", pushed(layer(b"attestation")))
    put_index(fake, [(unknown, "unknown/unknown"), (other, "linux/arm64"), (mine, "linux/amd64")])
    client = connect()
    artifact = remote_artifact(client, at(fake, "a/b:multi"), blobs)
    assert artifact.image(AMD64).digest == mine
    assert artifact.digest == client.resolve(at(fake, "a/b:multi")).digest
    with pytest.raises(PlatformNotFoundError, match="linux/arm64"):
        artifact.image(Platform.parse("linux/s390x"))


def test_what_is_in_the_store_is_not_asked_for(
    fake: FakeRegistry, connect: Any, blobs: MemoryBlobs, stored: Any, pushed: Any, layer: Any
) -> None:
    stored("a/b", "1", pushed(layer(DATA)))
    client = connect()
    resolved = client.resolve(at(fake))
    Artifact.at(RepositoryContent(client, at(fake), blobs), resolved).image(AMD64)
    before = len(fake.seen)
    Artifact.at(RepositoryContent(client, at(fake), blobs), resolved).image(AMD64)
    assert len(fake.seen) == before


def test_a_tag_is_looked_up_before_it_is_fetched(
    fake: FakeRegistry, connect: Any, blobs: MemoryBlobs, stored: Any, pushed: Any, layer: Any
) -> None:
    """Registries count GETs of manifests, and a second tag often points to what is here already."""
    image = pushed(layer(DATA))
    digest = stored("a/b", "1", image)
    stored("a/b", "2", image)
    client = connect()
    remote_artifact(client, at(fake), blobs).image(AMD64)
    assert [(one.method, one.path) for one in fake.asked("GET", "/manifests/")] == [
        ("GET", f"/v2/a/b/manifests/{digest}")
    ]
    before = len(fake.seen)
    for text in ("a/b:2", f"a/b@{digest}"):
        assert remote_artifact(client, at(fake, text), blobs).image(AMD64).digest == digest
    assert [one.method for one in fake.seen[before:]] == ["HEAD", "HEAD"]


def test_resolving_costs_one_head(fake: FakeRegistry, connect: Any, stored: Any, pushed: Any, layer: Any) -> None:
    image = pushed(layer(DATA))
    digest = stored("a/b", "1", image)
    found = connect().resolve(at(fake))
    assert found == Descriptor(media_type=media.OCI_MANIFEST, digest=digest, size=len(image.raw_manifest))
    assert [one.method for one in fake.seen] == ["HEAD"]


def test_resolving_where_head_is_unknown(
    fake: FakeRegistry, connect: Any, stored: Any, pushed: Any, layer: Any
) -> None:
    fake.head_manifests = False
    digest = stored("a/b", "1", pushed(layer(DATA)))
    assert connect().resolve(at(fake)).digest == digest
    assert [one.method for one in fake.seen] == ["HEAD", "GET"]


def test_without_head_a_manifest_is_fetched_once(
    fake: FakeRegistry, connect: Any, blobs: MemoryBlobs, stored: Any, pushed: Any, layer: Any
) -> None:
    fake.head_manifests = False
    digest = stored("a/b", "1", pushed(layer(DATA)))
    client = connect()
    assert remote_artifact(client, at(fake), blobs).image(AMD64).digest == digest
    assert [one.path for one in fake.asked("GET", "/manifests/")] == ["/v2/a/b/manifests/1"]
    client.manifest(at(fake), digest)
    assert len(fake.asked("GET", "/manifests/")) == 2, "what was kept is given once"


@pytest.mark.parametrize(
    "headers", [{"Content-Length": "1" * 5000}, {"Docker-Content-Digest": "sha256:zz"}, {"Content-Length": "\u00b2"}]
)
def test_a_head_that_says_nonsense_is_asked_again_as_a_get(
    fake: FakeRegistry, connect: Any, stored: Any, pushed: Any, layer: Any, headers: dict[str, str]
) -> None:
    digest = stored("a/b", "1", pushed(layer(DATA)))
    plain = {"Content-Type": media.OCI_MANIFEST, "Docker-Content-Digest": digest}
    fake.plan = first(lambda seen: seen.method == "HEAD", Fault(status=200, headers={**plain, **headers}))
    assert connect().resolve(at(fake)).digest == digest


def test_a_redirect_to_a_name_that_cannot_be(fake: FakeRegistry, connect: Any, blobs: MemoryBlobs) -> None:
    fake.plan = lambda _: Fault(status=307, headers={"Location": "http://xn--/x"})
    with pytest.raises(RegistryError, match="cannot be sent"):
        connect().fetch_blob(at(fake), descriptor_of(DATA), blobs)


def test_an_unknown_tag_shows_what_the_registry_said(fake: FakeRegistry, connect: Any) -> None:
    with pytest.raises(RegistryError, match=r"cannot pull .*a/b:1.*404.*MANIFEST_UNKNOWN: about") as caught:
        connect().resolve(at(fake))
    assert (caught.value.codes, caught.value.exit_code) == (("MANIFEST_UNKNOWN",), 69)
    assert len(fake.seen) == 2


@pytest.mark.parametrize(
    "raw",
    [
        b'{"schemaVersion": 1, "name": "a/b", "fsLayers": []}',
        b"x" * (4 << 20) + b"y",
        b'{"schemaVersion": 2}',
        b"not json",
    ],
    ids=["schema1", "huge", "empty", "text"],
)
def test_manifests_that_cannot_be_used(fake: FakeRegistry, connect: Any, blobs: MemoryBlobs, raw: bytes) -> None:
    fake.put_manifest("a/b", "1", raw, media.DOCKER_MANIFEST)
    with pytest.raises(ImageError) as caught:
        remote_artifact(connect(), at(fake), blobs).image(AMD64)
    assert caught.value.exit_code == 67


@pytest.mark.parametrize("form", ["json", "prettyjws"])
@pytest.mark.parametrize("head", [True, False])
def test_a_schema_1_manifest_is_refused_by_that_name(
    fake: FakeRegistry, connect: Any, blobs: MemoryBlobs, form: str, head: bool
) -> None:
    """Also one that a registry made for us although it was not asked for; its digest leaves its signatures out."""
    fake.head_manifests = head
    media_type = f"application/vnd.docker.distribution.manifest.v1+{form}"
    headers = {"Content-Type": media_type, "Docker-Content-Digest": Digest.of(b"without signatures")}
    body = b'{"schemaVersion": 1, "name": "a/b", "fsLayers": [], "signatures": []}'
    fake.plan = lambda seen: (
        None if seen.method == "HEAD" and not head else Fault(status=200, body=body, headers=headers)
    )
    fake.put_manifest("a/b", "1", body, media_type)
    with pytest.raises(ManifestError, match="schema 1") as caught:
        remote_artifact(connect(), at(fake), blobs).image(AMD64)
    assert "push it again" in str(caught.value.hint)
    assert blobs.data == {}


def test_an_index_that_contains_an_index(fake: FakeRegistry, connect: Any, blobs: MemoryBlobs) -> None:
    inner = json.dumps({"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": []}).encode()
    digest = fake.put_manifest("a/b", "inner", inner, media.OCI_INDEX)
    entry = {
        "mediaType": media.OCI_MANIFEST,
        "digest": digest,
        "size": len(inner),
        "platform": {"os": "linux", "architecture": "amd64"},
    }
    outer = json.dumps({"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": [entry]}).encode()
    fake.put_manifest("a/b", "1", outer, media.OCI_INDEX)
    with pytest.raises(ManifestError):
        remote_artifact(connect(), at(fake), blobs).image(AMD64)


def test_a_manifest_that_is_not_its_digest(
    fake: FakeRegistry, connect: Any, stored: Any, pushed: Any, layer: Any
) -> None:
    digest = stored("a/b", "1", pushed(layer(DATA)))
    fake.manifests["a/b"][digest] = (media.OCI_MANIFEST, b'{"schemaVersion": 2}')
    with pytest.raises(DigestMismatchError):
        connect().manifest(at(fake, f"a/b@{digest}"))


@pytest.mark.parametrize(
    "faults",
    [
        [Fault(cut=1000)],
        [Fault(cut=0), Fault(cut=500_000), Fault(cut=100_000), Fault(cut=1)],
        [Fault(drop=True)],
        [Fault(status=503), Fault(status=429, headers={"Retry-After": "3"}), Fault(status=500)],
        [Fault(flip=True)],
        [Fault(cut=10, flip=True)],
        [Fault(cut=5000), Fault(status=416)],
    ],
    ids=["cut", "cuts", "drop", "busy", "damaged", "cut-and-damaged", "no-resume"],
)
def test_a_blob_arrives_in_the_end(
    fake: FakeRegistry, connect: Any, blobs: MemoryBlobs, slept: list[float], faults: list[Fault]
) -> None:
    fake.put_blob("a/b", DATA)
    fake.plan = first(blob_get, *faults)
    connect().fetch_blob(at(fake), descriptor_of(DATA), blobs)
    assert blobs.data == {Digest.of(DATA): DATA}
    assert blobs.uncommitted == 0
    assert len(slept) >= len(faults)


def test_a_broken_download_goes_on_where_it_broke(fake: FakeRegistry, connect: Any, blobs: MemoryBlobs) -> None:
    fake.put_blob("a/b", DATA)
    fake.plan = first(blob_get, Fault(cut=1000))
    connect().fetch_blob(at(fake), descriptor_of(DATA), blobs)
    assert [one.headers.get("range") for one in fake.asked("GET", "/blobs/")] == [None, "bytes=1000-"]


def test_a_download_that_breaks_after_its_last_byte_is_whole(
    fake: FakeRegistry, connect: Any, blobs: MemoryBlobs
) -> None:
    """A range that begins at the end is refused, by docker-registry with an answer that is none."""
    fake.put_blob("a/b", DATA)
    fake.plan = first(blob_get, Fault(promise=9))
    connect().fetch_blob(at(fake), descriptor_of(DATA), blobs)
    assert blobs.data == {Digest.of(DATA): DATA}
    assert len(fake.asked("GET", "/blobs/")) == 1


@pytest.mark.parametrize("fault", [Fault(flip=True), Fault(cut=20), Fault(promise=9)], ids=["flip", "cut", "promise"])
def test_a_manifest_that_was_damaged_on_the_way_is_asked_for_again(
    fake: FakeRegistry, connect: Any, stored: Any, pushed: Any, layer: Any, fault: Fault
) -> None:
    image = pushed(layer(DATA))
    digest = stored("a/b", "1", image)
    fake.plan = first(lambda seen: seen.method == "GET" and "/manifests/" in seen.path, fault)
    assert connect().manifest(at(fake, f"a/b@{digest}"))[0] == image.raw_manifest
    assert len(fake.asked("GET", "/manifests/")) == 2


def test_a_server_that_knows_no_ranges_sends_all_of_it_again(
    fake: FakeRegistry, connect: Any, blobs: MemoryBlobs
) -> None:
    fake.ranges = False
    fake.put_blob("a/b", DATA)
    fake.plan = first(blob_get, Fault(cut=1000), Fault(cut=500))
    told: list[int] = []
    connect().fetch_blob(at(fake), descriptor_of(DATA), blobs, lambda current, _: told.append(current))
    assert blobs.data == {Digest.of(DATA): DATA}
    assert [one.headers.get("range") for one in fake.asked("GET", "/blobs/")] == [None, "bytes=1000-", "bytes=500-"]
    assert told[-1] == len(DATA)


@pytest.mark.parametrize(
    "content_range",
    [f"bytes 0-{len(DATA) - 1}/{len(DATA)}", f"bytes 999-{len(DATA) - 1}/{len(DATA)}", "bytes */5", "", "1000-"],
)
def test_another_range_than_asked_for_is_thrown_away(
    fake: FakeRegistry, connect: Any, blobs: MemoryBlobs, content_range: str
) -> None:
    fake.put_blob("a/b", DATA)
    other = Fault(status=206, body=DATA[1000:], headers={"Content-Range": content_range})
    fake.plan = first(blob_get, Fault(cut=1000), other)
    connect().fetch_blob(at(fake), descriptor_of(DATA), blobs)
    assert blobs.data == {Digest.of(DATA): DATA}
    assert [one.headers.get("range") for one in fake.asked("GET", "/blobs/")] == [None, "bytes=1000-", None]


def test_a_range_that_nobody_asked_for(fake: FakeRegistry, connect: Any, blobs: MemoryBlobs) -> None:
    fake.plan = lambda _: Fault(
        status=206, body=DATA, headers={"Content-Range": f"bytes 0-{len(DATA) - 1}/{len(DATA)}"}
    )
    with pytest.raises(TransientRegistryError, match="another range"):
        connect().fetch_blob(at(fake), descriptor_of(DATA), blobs)
    assert blobs.uncommitted == 0


def test_no_more_is_read_than_there_should_be(fake: FakeRegistry, connect: Any, blobs: MemoryBlobs) -> None:
    """A body of a gigabyte for a descriptor of a kilobyte ends after the first bytes too many."""
    fake.blobs["a/b"] = {Digest.of(DATA[:1000]): DATA * 64}
    told: list[int] = []
    with pytest.raises(DigestMismatchError, match="longer than the 1000 bytes"):
        connect().fetch_blob(at(fake), descriptor_of(DATA[:1000]), blobs, lambda current, _: told.append(current))
    assert told == []
    assert len(fake.asked("GET", "/blobs/")) == 1


def test_a_web_page_is_no_answer_of_a_registry(
    fake: FakeRegistry, connect: Any, blobs: MemoryBlobs, stored: Any, pushed: Any, layer: Any
) -> None:
    stored("a/b", "1", pushed(layer(DATA)))
    page = Fault(status=200, headers={"Content-Type": "text/html; charset=utf-8"}, body=b"<html>Log in</html>")
    fake.plan = lambda _: page
    client = connect()
    for ask in (
        lambda: client.resolve(at(fake)),
        lambda: client.manifest(at(fake)),
        lambda: client.blob_exists(at(fake), Digest.of(DATA)),
        lambda: client.fetch_blob(at(fake), descriptor_of(DATA), blobs),
    ):
        with pytest.raises(RegistryError, match="web page") as caught:
            ask()
        assert not caught.value.retryable
    assert not blobs.data


def test_retry_after_is_waited_for(fake: FakeRegistry, connect: Any, blobs: MemoryBlobs, slept: list[float]) -> None:
    fake.put_blob("a/b", DATA)
    fake.plan = first(blob_get, Fault(status=429, headers={"Retry-After": "17"}))
    connect().fetch_blob(at(fake), descriptor_of(DATA), blobs)
    assert 17 <= slept[0] <= 18


def test_a_registry_that_stays_broken_is_one_error(fake: FakeRegistry, connect: Any, blobs: MemoryBlobs) -> None:
    fake.plan = lambda _: Fault(status=503, body=b'{"errors":[{"code":"UNAVAILABLE","message":"out to lunch"}]}')
    with pytest.raises(TransientRegistryError, match="out to lunch") as caught:
        connect().fetch_blob(at(fake), descriptor_of(DATA), blobs)
    assert caught.value.exit_code == 75
    assert blobs.uncommitted == 0


@pytest.mark.parametrize("wrong", [DATA[:-1], DATA + b"x", b"\0" * len(DATA)], ids=["short", "long", "other"])
def test_a_blob_that_is_not_what_was_promised(
    fake: FakeRegistry, connect: Any, blobs: MemoryBlobs, wrong: bytes
) -> None:
    fake.blobs["a/b"] = {Digest.of(DATA): wrong}
    with pytest.raises((DigestMismatchError, TransientRegistryError)):
        connect().fetch_blob(at(fake), descriptor_of(DATA), blobs)
    assert blobs.data == {}
    assert blobs.uncommitted == 0


def test_a_closed_port(connect: Any, blobs: MemoryBlobs, slept: list[float]) -> None:
    reference = Reference.parse("127.0.0.1:1/a/b:1")
    with pytest.raises(TransientRegistryError, match=r"cannot connect to 127\.0\.0\.1:1: Connection refused"):
        connect().resolve(reference)
    assert len(slept) == 2


@pytest.mark.parametrize("host", ["127.0.0.1:99999", "[1::2::3]", "[:]:5000"])
def test_a_registry_that_is_no_host(connect: Any, host: str) -> None:
    with pytest.raises(RegistryError, match="no host"):
        connect().resolve(Reference(host, "a/b", "1"))


def test_a_redirect_to_another_origin_takes_no_credentials_along(
    fake: FakeRegistry, connect: Any, blobs: MemoryBlobs
) -> None:
    fake.auth, fake.accounts, fake.redirect_blobs = "basic", {"ann": "s3cret"}, True
    fake.put_blob("a/b", DATA)
    connect("ann", "s3cret").fetch_blob(at(fake), descriptor_of(DATA), blobs)
    assert blobs.contains(Digest.of(DATA))
    (moved,) = fake.asked("GET", origin="store")
    assert "authorization" not in moved.headers
    assert fake.asked("GET", "/blobs/")[-1].headers["authorization"].startswith("Basic ")


def test_a_redirected_download_is_resumed_through_the_registry(
    fake: FakeRegistry, connect: Any, blobs: MemoryBlobs
) -> None:
    fake.redirect_blobs = True
    fake.put_blob("a/b", DATA)
    fake.plan = first(lambda seen: seen.origin == "store", Fault(cut=1234))
    connect().fetch_blob(at(fake), descriptor_of(DATA), blobs)
    assert fake.asked("GET", origin="store")[1].headers["range"] == "bytes=1234-"


@pytest.mark.parametrize("location", ["", "ftp://127.0.0.1/x", "http://user:pw@127.0.0.1/x", "http://["])
def test_redirects_to_nowhere(fake: FakeRegistry, connect: Any, blobs: MemoryBlobs, location: str) -> None:
    fake.plan = lambda _: Fault(status=307, headers={"Location": location})
    with pytest.raises(RegistryError, match="307"):
        connect().fetch_blob(at(fake), descriptor_of(DATA), blobs)


def test_redirects_without_end(fake: FakeRegistry, connect: Any, blobs: MemoryBlobs) -> None:
    fake.plan = lambda seen: Fault(status=302, headers={"Location": seen.path})
    with pytest.raises(RegistryError, match="without end"):
        connect().fetch_blob(at(fake), descriptor_of(DATA), blobs)


def test_basic_is_sent_only_after_it_was_asked_for(
    fake: FakeRegistry, connect: Any, stored: Any, pushed: Any, layer: Any
) -> None:
    fake.auth, fake.accounts = "basic", {"ann": "s3cret"}
    stored("a/b", "1", pushed(layer(DATA)))
    client = connect("ann", "s3cret")
    client.resolve(at(fake))
    client.resolve(at(fake))
    assert ["authorization" in one.headers for one in fake.seen] == [False, True, True]


def test_a_wrong_password_is_one_error(fake: FakeRegistry, connect: Any) -> None:
    fake.auth, fake.accounts = "basic", {"ann": "s3cret"}
    with pytest.raises(AuthenticationError) as caught:
        connect("ann", "wr0ng").resolve(at(fake))
    assert (caught.value.status, caught.value.exit_code) == (401, 77)
    assert "wr0ng" not in str(caught.value)
    assert len(fake.seen) <= 4


def test_an_anonymous_token(fake: FakeRegistry, connect: Any, stored: Any, pushed: Any, layer: Any) -> None:
    fake.auth = "bearer"
    stored("a/b", "1", pushed(layer(DATA)))
    client = connect()
    client.resolve(at(fake))
    client.resolve(at(fake))
    assert [one.origin for one in fake.seen] == ["registry", "token", "registry", "registry"]


def test_an_expired_token_is_replaced(fake: FakeRegistry, connect: Any, stored: Any, pushed: Any, layer: Any) -> None:
    fake.auth = "bearer"
    stored("a/b", "1", pushed(layer(DATA)))
    client = connect()
    client.resolve(at(fake))
    fake.expire_tokens()
    client.resolve(at(fake))
    assert len(fake.asked("GET", origin="token")) == 2


def test_a_repository_that_may_not_be_read(fake: FakeRegistry, connect: Any) -> None:
    fake.auth, fake.readable = "bearer", {"other"}
    with pytest.raises(AuthenticationError, match="401"):
        connect().resolve(at(fake))
    assert len(fake.seen) <= 10


def test_many_threads_share_one_token(
    fake: FakeRegistry, connect: Any, stored: Any, pushed: Any, layer: Any, blobs: MemoryBlobs
) -> None:
    fake.auth = "bearer"
    data = [DATA + bytes([number]) for number in range(8)]
    for one in data:
        fake.put_blob("a/b", one)
    client = connect()
    client.blob_exists(at(fake), Digest.of(b""))
    threads = [threading.Thread(target=client.fetch_blob, args=(at(fake), descriptor_of(one), blobs)) for one in data]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(blobs.data.values()) == set(data)
    assert len(fake.asked("GET", origin="token")) == 1


def test_a_busy_token_server_is_asked_again(
    fake: FakeRegistry, connect: Any, stored: Any, pushed: Any, layer: Any
) -> None:
    fake.auth = "bearer"
    stored("a/b", "1", pushed(layer(DATA)))
    fake.plan = first(lambda seen: seen.origin == "token", Fault(status=503), Fault(drop=True))
    connect().resolve(at(fake))
    assert len(fake.asked("GET", origin="token")) == 3


def test_a_foreign_layer_comes_from_its_own_url_without_credentials(
    fake: FakeRegistry, connect: Any, blobs: MemoryBlobs
) -> None:
    fake.auth, fake.accounts = "basic", {"ann": "s3cret"}
    fake.put_blob("elsewhere", DATA)
    urls = ("ftp://x/y", "http://not-loopback.example/", f"http://{fake.store_host}/elsewhere/{Digest.of(DATA)}")
    connect("ann", "s3cret").fetch_blob(at(fake), descriptor_of(DATA, urls=urls), blobs)
    assert blobs.contains(Digest.of(DATA))
    assert "authorization" not in fake.asked("GET", origin="store")[0].headers


def test_a_foreign_layer_of_a_stranger_is_verified(fake: FakeRegistry, connect: Any, blobs: MemoryBlobs) -> None:
    fake.blobs["elsewhere"] = {Digest.of(DATA): b"\0" * len(DATA)}
    url = f"http://{fake.store_host}/elsewhere/{Digest.of(DATA)}"
    with pytest.raises(DigestMismatchError):
        connect().fetch_blob(at(fake), descriptor_of(DATA, urls=(url,)), blobs)
    assert blobs.data == {}
    assert blobs.uncommitted == 0


def test_a_foreign_layer_whose_url_is_dead_names_the_vendor(
    fake: FakeRegistry, connect: Any, blobs: MemoryBlobs
) -> None:
    url = f"http://{fake.store_host}/elsewhere/x"
    with pytest.raises(RegistryError, match=rf"cannot fetch foreign layer .*{fake.store_host} answered 404"):
        connect().fetch_blob(at(fake), descriptor_of(DATA, urls=(url,)), blobs)


@pytest.mark.parametrize(
    "url", ["http://vendor.example/x", "file:///etc/passwd", "//x", "http://[", "http://10.0.0.1/"]
)
def test_a_foreign_layer_is_not_fetched_from_just_anywhere(
    fake: FakeRegistry, connect: Any, blobs: MemoryBlobs, url: str
) -> None:
    with pytest.raises(RegistryError, match="none of its own URLs") as caught:
        connect().fetch_blob(at(fake), descriptor_of(DATA, urls=(url,)), blobs)
    assert "https" in str(caught.value.hint)
    assert len(fake.seen) == 1


def test_warnings_of_the_registry_are_shown_once(
    fake: FakeRegistry, connect: Any, stored: Any, pushed: Any, layer: Any
) -> None:
    fake.plan = lambda _: Fault(status=404, headers={"Warning": '299 - "this repository moves"'})
    events = Events()
    client = connect(reporter=events)
    assert not client.blob_exists(at(fake), Digest.of(b""))
    assert not client.blob_exists(at(fake), Digest.of(b"x"))
    assert events.seen == [Warned(f"{fake.host}: this repository moves", "registry")]


@pytest.mark.parametrize(
    ("header", "shown"),
    [
        ('299 - "one", 299 - "two"', ["one", "two"]),
        (r'299 - "a \"quoted\" word"', ['a "quoted" word']),
        ('299 - "one" "Wed, 21 Oct 2015 07:28:00 GMT"', ["one"]),
        ('110 - "stale"', []),
        ('299 agent "x"', []),
        ('299 - "never closed', []),
        (f'299 - "{"x" * 600}"', []),
    ],
)
def test_forms_of_a_warning(fake: FakeRegistry, connect: Any, header: str, shown: list[str]) -> None:
    fake.plan = lambda _: Fault(status=404, headers={"Warning": header})
    events = Events()
    assert not connect(reporter=events).blob_exists(at(fake), Digest.of(b""))
    assert events.seen == [Warned(f"{fake.host}: {text}", "registry") for text in shown]


def test_an_insecure_registry_without_tls_is_spoken_to_in_plain_http(
    fake: FakeRegistry, connect: Any, stored: Any, pushed: Any, layer: Any
) -> None:
    stored("a/b", "1", pushed(layer(DATA)))
    assert connect(settings=SessionSettings(routes=Routes(insecure=InsecureHosts([fake.host])))).resolve(at(fake)).size


@pytest.mark.parametrize("after", [0, 5000])
def test_a_cancelled_download_ends(fake: FakeRegistry, connect: Any, blobs: MemoryBlobs, after: int) -> None:
    fake.put_blob("a/b", DATA)
    cancel = threading.Event()
    if not after:
        cancel.set()

    def progress(current: int, _total: int) -> None:
        if current >= after:
            cancel.set()

    with pytest.raises(InterruptedBuildError):
        connect(cancel=cancel).fetch_blob(at(fake), descriptor_of(DATA), blobs, progress)
    assert blobs.uncommitted == 0
