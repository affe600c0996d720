"""Pushing to a strict registry that fails on demand. Each push ends right or with one clear error."""

from __future__ import annotations

import io
import random
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from builder.events import SilentReporter, Transfer, Warned
from builder.image.descriptor import DOCKER_FOREIGN_LAYER_GZIP
from builder.image.digest import Digest, DigestMismatchError
from builder.image.reference import Reference
from builder.registry.errors import AuthenticationError, RegistryError, TransientRegistryError
from builder.registry.upload import upload
from tests.support.events import Events
from tests.support.fake_registry import FakeRegistry, Fault, Seen, at, first
from tests.support.pushing import push_image

QUIET = SilentReporter()
DATA = bytes(range(256)) * 4096


def upload_put(seen: Seen) -> bool:
    return seen.method == "PUT" and "/uploads/" in seen.path


def assert_whole(fake: FakeRegistry, repository: str, tag: str, image: Any) -> None:
    assert fake.manifests[repository][tag] == (image.media_type, image.raw_manifest)
    needed = {Digest.of(image.raw_config), *(one.descriptor.digest for one in image.layers)}
    assert needed <= set(fake.blobs[repository])


def test_blobs_come_first_and_the_manifest_last(fake: FakeRegistry, connect: Any, pushed: Any, layer: Any) -> None:
    image = pushed(layer(DATA), layer(b"two"), layer(b"three"))
    events = Events()
    digest = push_image(connect(), [at(fake)], image, events)
    assert digest == Digest.of(image.raw_manifest)
    assert_whole(fake, "a/b", "1", image)
    assert ["/manifests/" in one.path for one in fake.seen].index(True) == len(fake.seen) - 1
    assert Transfer("push", Digest.of(DATA), len(DATA), len(DATA)) in events.seen


def test_a_second_push_uploads_nothing_and_opens_nothing(
    fake: FakeRegistry, connect: Any, pushed: Any, layer: Any
) -> None:
    push_image(connect(), [at(fake)], pushed(layer(DATA)), QUIET)
    again = layer(DATA)
    before = len(fake.seen)
    push_image(connect(), [at(fake)], pushed(again), QUIET)
    assert [one.method for one in fake.seen[before:]] == ["HEAD", "HEAD", "PUT"]
    assert again.opened == []


def test_every_tag_and_every_repository(fake: FakeRegistry, connect: Any, pushed: Any, layer: Any) -> None:
    image = pushed(layer(DATA))
    push_image(connect(), [at(fake), at(fake, "a/b:2"), at(fake, "c:3")], image, QUIET)
    for repository, tag in (("a/b", "1"), ("a/b", "2"), ("c", "3")):
        assert_whole(fake, repository, tag, image)
    assert image.layers[0].opened == [1], "the second repository mounts from the first"


def test_names_that_are_there_when_another_is_refused(
    fake: FakeRegistry, connect: Any, pushed: Any, layer: Any
) -> None:
    told = Events()
    fake.plan = lambda seen: Fault(status=405) if seen.path.endswith("/manifests/3") else None
    with pytest.raises(RegistryError, match="405"):
        push_image(connect(), [at(fake, f"a/b:{tag}") for tag in "1234"], pushed(layer(DATA)), told)
    (warning,) = [one.message for one in told.seen if isinstance(one, Warned)]
    assert warning == f"pushed before what failed, and there now: {fake.host}/a/b:1, {fake.host}/a/b:2"


def test_a_reference_with_a_digest_only(fake: FakeRegistry, connect: Any, pushed: Any, layer: Any) -> None:
    image = pushed(layer(DATA))
    digest = Digest.of(image.raw_manifest)
    push_image(connect(), [Reference(fake.host, "a/b", None, digest)], image, QUIET)
    assert digest in fake.manifests["a/b"]
    fake.plan = lambda seen: Fault(status=405) if "/manifests/" in seen.path else None
    with pytest.raises(RegistryError, match=f"cannot push the manifest of {fake.host}/a/b@{digest}: "):
        push_image(connect(), [Reference(fake.host, "a/b", None, digest)], image, QUIET)


def test_base_layers_are_mounted_and_never_fetched(fake: FakeRegistry, connect: Any, pushed: Any, layer: Any) -> None:
    base, own = layer(DATA), layer(b"own")
    fake.put_blob("base", DATA)
    image = pushed(base, own, origins=(at(fake, "base:1"), None))
    push_image(connect(), [at(fake)], image, QUIET)
    assert_whole(fake, "a/b", "1", image)
    assert base.opened == []
    assert own.opened == [1]


def test_an_origin_in_another_registry_is_no_origin(fake: FakeRegistry, connect: Any, pushed: Any, layer: Any) -> None:
    image = pushed(layer(DATA), origins=(Reference.parse("other.example/base:1"),))
    push_image(connect(), [at(fake)], image, QUIET)
    assert not fake.asked("POST", "mount=")
    assert_whole(fake, "a/b", "1", image)


def test_a_refused_mount_goes_on_with_the_upload_it_began(
    fake: FakeRegistry, connect: Any, pushed: Any, layer: Any
) -> None:
    fake.mounts = False
    image = pushed(layer(DATA), origins=(at(fake, "base:1"),))
    push_image(connect(), [at(fake)], image, QUIET)
    assert_whole(fake, "a/b", "1", image)
    assert len(fake.asked("POST")) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405])
def test_a_mount_that_is_an_error_is_an_upload(
    fake: FakeRegistry, connect: Any, pushed: Any, layer: Any, status: int
) -> None:
    fake.plan = first(lambda seen: "mount=" in seen.path, *[Fault(status=status)] * 4)
    image = pushed(layer(DATA), origins=(at(fake, "base:1"),))
    push_image(connect(), [at(fake)], image, QUIET)
    assert_whole(fake, "a/b", "1", image)


def test_a_mount_asks_for_a_token_of_both_repositories(
    fake: FakeRegistry, connect: Any, pushed: Any, layer: Any
) -> None:
    fake.auth, fake.accounts = "bearer", {"ann": "s3cret"}
    fake.put_blob("base", DATA)
    push_image(connect("ann", "s3cret"), [at(fake)], pushed(layer(DATA), origins=(at(fake, "base:1"),)), QUIET)
    scopes = [set(one.query["scope"]) for one in fake.asked("GET", origin="token")]
    assert {"repository:a/b:pull,push", "repository:base:pull"} in scopes


def test_a_base_that_the_account_may_not_read_is_uploaded(
    fake: FakeRegistry, connect: Any, pushed: Any, layer: Any
) -> None:
    fake.auth, fake.accounts, fake.readable = "bearer", {"ann": "s3cret"}, {"a/b"}
    fake.mounts = False
    image = pushed(layer(DATA), origins=(at(fake, "base:1"),))
    push_image(connect("ann", "s3cret"), [at(fake)], image, QUIET)
    assert_whole(fake, "a/b", "1", image)


def test_without_the_right_to_push(fake: FakeRegistry, connect: Any, pushed: Any, layer: Any) -> None:
    fake.auth, fake.accounts, fake.writable = "bearer", {"ann": "s3cret"}, False
    one = layer(DATA)
    with pytest.raises(AuthenticationError) as caught:
        push_image(connect("ann", "s3cret"), [at(fake)], pushed(one), QUIET)
    assert caught.value.exit_code == 77
    assert "s3cret" not in f"{caught.value} {caught.value.hint}"
    assert one.opened == []


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("query", [True, False])
def test_forms_of_an_uploads_location(
    fake: FakeRegistry, connect: Any, pushed: Any, layer: Any, relative: bool, query: bool
) -> None:
    fake.relative_location, fake.location_query = relative, query
    image = pushed(layer(DATA))
    push_image(connect(), [at(fake)], image, QUIET)
    assert_whole(fake, "a/b", "1", image)


def test_an_upload_elsewhere_takes_no_credentials_along(fake: FakeRegistry, connect: Any, layer: Any) -> None:
    fake.auth, fake.accounts = "basic", {"ann": "s3cret"}
    elsewhere = Fault(status=202, headers={"Location": f"http://{fake.store_host}/a/b/upload"})
    fake.plan = first(lambda seen: seen.method == "POST" and "authorization" in seen.headers, elsewhere)
    one = layer(DATA)
    client = connect("ann", "s3cret")
    upload(client.session, client.retry, at(fake), one.descriptor, one.open)
    assert one.data in fake.blobs["a/b"].values(), "refused there, it went the ordinary way"
    assert [one.headers.get("authorization") for one in fake.asked("PUT", origin="store")] == [None]


@pytest.mark.parametrize(
    "faults",
    [
        [Fault(swallow=1000)],
        [Fault(swallow=0), Fault(swallow=100_000)],
        [Fault(drop=True)],
        [Fault(status=500), Fault(status=502), Fault(status=503), Fault(status=504)],
        [Fault(status=429, headers={"Retry-After": "1"})],
        [Fault(status=404), Fault(status=416), Fault(status=400)],
    ],
    ids=["reset", "resets", "drop", "5xx", "429", "session-lost"],
)
def test_a_failed_upload_is_never_gone_on_with(
    fake: FakeRegistry, connect: Any, slept: list[float], pushed: Any, layer: Any, faults: list[Fault]
) -> None:
    image = pushed(layer(DATA))
    fake.plan = first(upload_put, *faults)
    push_image(connect(jobs=1), [at(fake)], image, QUIET)
    assert_whole(fake, "a/b", "1", image)
    targets = [one.path.partition("?")[0] for one in fake.asked("PUT", "/uploads/")]
    assert len(targets) == len(set(targets)) == len(faults) + 2
    assert len(slept) == len(faults)


def test_a_put_that_arrived_but_was_never_answered_is_not_sent_again(
    fake: FakeRegistry, connect: Any, pushed: Any, layer: Any
) -> None:
    image = pushed(layer(DATA))
    fake.plan = first(upload_put, Fault(drop=True, done=True))
    push_image(connect(jobs=1), [at(fake)], image, QUIET)
    assert_whole(fake, "a/b", "1", image)
    assert len(fake.asked("PUT", "/uploads/")) == 2
    assert len(fake.asked("HEAD", "/blobs/")) == 3


def test_a_token_that_expires_under_way(fake: FakeRegistry, connect: Any, pushed: Any, layer: Any) -> None:
    fake.auth, fake.accounts = "bearer", {"ann": "s3cret"}
    image = pushed(layer(DATA))
    expired: list[bool] = []

    def plan(seen: Seen) -> None:
        if upload_put(seen) and not expired:
            expired.append(True)
            fake.expire_tokens()

    fake.plan = plan
    push_image(connect("ann", "s3cret"), [at(fake)], image, QUIET)
    assert_whole(fake, "a/b", "1", image)


def test_a_manifest_that_is_already_there_is_success(fake: FakeRegistry, connect: Any, pushed: Any, layer: Any) -> None:
    image = pushed(layer(DATA))
    push_image(connect(), [at(fake)], image, QUIET)
    fake.plan = lambda seen: Fault(status=409) if seen.method == "PUT" else None
    push_image(connect(), [at(fake)], image, QUIET)
    with pytest.raises(RegistryError, match="409"):
        push_image(connect(), [at(fake, "a/b:2")], image, QUIET)


@pytest.mark.parametrize(
    "refusal",
    [
        Fault(status=409),
        Fault(status=412, body=b"configured as immutable"),
        Fault(status=400, body=b'{"errors":[{"code":"TAG_INVALID","message":"The image tag already exists"}]}'),
        Fault(status=400, body=b'{"errors":[{"code":"DENIED","message":"tag is immutable"}]}'),
    ],
)
def test_an_immutable_tag_of_another_image_says_so(
    fake: FakeRegistry, connect: Any, pushed: Any, layer: Any, refusal: Fault
) -> None:
    old, new = pushed(layer(b"old")), pushed(layer(b"new"))
    push_image(connect(), [at(fake)], old, QUIET)
    fake.plan = lambda seen: refusal if seen.method == "PUT" and "/manifests/" in seen.path else None
    push_image(connect(), [at(fake)], old, QUIET)
    with pytest.raises(RegistryError, match=f"the tag 1 points to {Digest.of(old.raw_manifest)}") as caught:
        push_image(connect(), [at(fake)], new, QUIET)
    assert "immutable" in str(caught.value.hint)


def test_immutable_tags_take_what_is_new(fake: FakeRegistry, connect: Any, pushed: Any, layer: Any) -> None:
    fake.immutable = True
    push_image(connect(), [at(fake), at(fake, "a/b:2")], pushed(layer(DATA)), QUIET)
    push_image(connect(), [at(fake), at(fake, "a/b:2")], pushed(layer(DATA)), QUIET)
    with pytest.raises(RegistryError, match="TAG_IMMUTABLE"):
        push_image(connect(), [at(fake, "a/b:2")], pushed(layer(b"x")), QUIET)


def test_a_manifest_that_is_refused_for_itself_keeps_its_error(
    fake: FakeRegistry, connect: Any, pushed: Any, layer: Any
) -> None:
    push_image(connect(), [at(fake)], pushed(layer(b"old")), QUIET)
    refusal = Fault(status=400, body=b'{"errors":[{"code":"MANIFEST_INVALID","message":"no"}]}')
    fake.plan = lambda seen: refusal if seen.method == "PUT" and "/manifests/" in seen.path else None
    with pytest.raises(RegistryError, match=r"MANIFEST_INVALID: no\)$") as caught:
        push_image(connect(), [at(fake)], pushed(layer(b"new")), QUIET)
    assert caught.value.hint is None


@pytest.mark.parametrize("fault", [Fault(status=503), Fault(drop=True), Fault(drop=True, done=True)])
def test_a_manifest_is_put_again(fake: FakeRegistry, connect: Any, pushed: Any, layer: Any, fault: Fault) -> None:
    image = pushed(layer(DATA))
    fake.plan = first(lambda seen: seen.method == "PUT" and "/manifests/" in seen.path, fault)
    push_image(connect(), [at(fake)], image, QUIET)
    assert_whole(fake, "a/b", "1", image)


@pytest.mark.parametrize("fault", [Fault(status=503), Fault(drop=True, done=True)], ids=["refused", "lost-answer"])
def test_a_blob_is_pushed_when_the_registry_says_so(
    fake: FakeRegistry, connect: Any, pushed: Any, layer: Any, fault: Fault
) -> None:
    events, done = Events(), Transfer("push", Digest.of(DATA), len(DATA), len(DATA))
    fake.plan = first(lambda seen: seen.method == "PUT" and "digest=" in seen.path, fault)
    push_image(connect(), [at(fake)], pushed(layer(DATA)), events)
    assert events.seen.count(done) == 1
    events.seen.clear()
    fake.plan = lambda seen: Fault(status=403) if seen.method == "PUT" else None
    with pytest.raises(AuthenticationError):
        push_image(connect(), [at(fake, "other/place:1")], pushed(layer(DATA)), events)
    assert done not in events.seen


def test_a_registry_that_fails_to_mount_gets_an_upload(
    fake: FakeRegistry, connect: Any, pushed: Any, layer: Any
) -> None:
    image = pushed(layer(DATA))
    push_image(connect(), [at(fake)], image, QUIET)
    mounted = pushed(*image.layers, origins=(at(fake),))
    fake.plan = lambda seen: Fault(status=500) if "mount=" in seen.path else None
    push_image(connect(), [at(fake, "other/place:1")], mounted, QUIET)
    assert_whole(fake, "other/place", "1", mounted)


class _Large(io.BytesIO):
    """A large blob that goes on once no other transfer is left."""

    def read(self, size: int | None = -1, /) -> bytes:
        me = threading.current_thread()
        while any(one.name.startswith("transfer-") and one is not me for one in threading.enumerate()):
            time.sleep(0.001)
        return super().read(size)


def test_the_first_error_ends_what_is_on_its_way(fake: FakeRegistry, connect: Any, pushed: Any, layer: Any) -> None:
    data = bytes(16 << 20)
    small, large = layer(b"small"), layer(data)
    image = pushed(
        small, SimpleNamespace(descriptor=large.descriptor, diff_id=large.diff_id, open=lambda: _Large(data))
    )
    fake.plan = lambda seen: (
        Fault(status=403) if seen.method == "PUT" and small.descriptor.digest in seen.path else None
    )
    with pytest.raises(AuthenticationError):
        push_image(connect(jobs=2), [at(fake)], image, QUIET)
    assert sum(len(one.body) for one in fake.seen) < 8 << 20


def test_blobs_that_a_registry_only_said_it_has_are_sent(
    fake: FakeRegistry, connect: Any, pushed: Any, layer: Any
) -> None:
    """A mount that did not last, and a HEAD answered by a cache that knows of a blob that is gone."""
    image = pushed(layer(DATA), layer(b"other"))
    push_image(connect(), [at(fake)], image, QUIET)
    mounted = pushed(*image.layers, origins=(at(fake), None))
    gone = Digest.of(b"other")
    fake.plan = first(
        lambda seen: "mount=" in seen.path or (seen.method == "HEAD" and gone in seen.path),
        *[Fault(status=201), Fault(status=200)],
    )
    push_image(connect(jobs=1), [at(fake, "other/place:1")], mounted, QUIET)
    assert_whole(fake, "other/place", "1", mounted)
    fake.plan = lambda seen: Fault(status=200) if seen.method == "HEAD" and "/blobs/" in seen.path else None
    with pytest.raises(RegistryError, match="MANIFEST_BLOB_UNKNOWN"):
        push_image(connect(), [at(fake, "third/place:1")], image, QUIET)


def test_a_manifest_that_arrived_damaged_is_sent_again(
    fake: FakeRegistry, connect: Any, pushed: Any, layer: Any
) -> None:
    image = pushed(layer(DATA))
    fake.plan = first(lambda seen: seen.method == "PUT" and "/manifests/" in seen.path, Fault(garble=True))
    push_image(connect(), [at(fake)], image, QUIET)
    assert_whole(fake, "a/b", "1", image)
    fake.plan = lambda seen: Fault(garble=True) if "/manifests/" in seen.path else None
    with pytest.raises(TransientRegistryError, match="stored something else"):
        push_image(connect(), [at(fake, "a/b:2")], image, QUIET)


def test_a_layer_that_is_not_what_it_says(fake: FakeRegistry, connect: Any, pushed: Any, layer: Any) -> None:
    bad = layer(DATA, digest=Digest.of(b"something else"))
    with pytest.raises((RegistryError, DigestMismatchError)):
        push_image(connect(), [at(fake)], pushed(bad), QUIET)
    assert fake.manifests == {}
    for size in (len(DATA) - 1, len(DATA) + 1):
        with pytest.raises(DigestMismatchError):
            push_image(connect(), [at(fake)], pushed(layer(DATA, size=size)), QUIET)
    assert fake.manifests == {}


def test_a_layer_that_is_too_large_for_the_registry(fake: FakeRegistry, connect: Any, pushed: Any, layer: Any) -> None:
    image = pushed(layer(DATA))
    fake.plan = lambda seen: Fault(status=413) if upload_put(seen) else None
    with pytest.raises(RegistryError, match="413") as caught:
        push_image(connect(), [at(fake)], image, QUIET)
    assert not isinstance(caught.value, TransientRegistryError)
    assert fake.manifests == {}


def test_foreign_layers_stay_where_they_are(fake: FakeRegistry, connect: Any, pushed: Any, layer: Any) -> None:
    foreign = layer(DATA, media_type=DOCKER_FOREIGN_LAYER_GZIP, urls=("https://vendor.example/layer",))
    push_image(connect(), [at(fake)], pushed(foreign, layer(b"own")), QUIET)
    assert foreign.opened == []
    assert "1" in fake.manifests["a/b"]


@pytest.mark.parametrize("seed", range(25))
def test_random_faults_lose_nothing(fake: FakeRegistry, connect: Any, pushed: Any, layer: Any, seed: int) -> None:
    """A fifth of all requests fail in some way; the registry refuses manifests whose blobs are missing."""
    dice, lock = random.Random(seed), threading.Lock()
    kinds = [
        Fault(drop=True),
        Fault(drop=True, done=True),
        *(Fault(status=status) for status in (429, 500, 502, 503, 504)),
        Fault(swallow=5),
        Fault(cut=3),
    ]

    def plan(seen: Seen) -> Fault | None:
        with lock:
            return dice.choice(kinds) if dice.random() < 0.2 else None

    fake.auth, fake.accounts = "bearer", {"ann": "s3cret"}
    fake.put_blob("base", b"base")
    image = pushed(layer(b"base"), layer(DATA), layer(b"x"), origins=(at(fake, "base:1"), None, None))
    fake.plan = plan
    try:
        push_image(connect("ann", "s3cret"), [at(fake), at(fake, "c:2")], image, QUIET)
    except TransientRegistryError:
        # Rarely, one request is hit by every try.
        pass
    else:
        assert_whole(fake, "a/b", "1", image)
        assert_whole(fake, "c", "2", image)
    for repository, tags in fake.manifests.items():
        for tag in tags:
            assert_whole(fake, repository, tag, image)
