"""Who is asked for what: maps, mirrors and hosts.toml, and how a session goes from one server to the next."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from builder.events import Event, SilentReporter, Warned
from builder.image.digest import Digest
from builder.image.reference import Reference
from builder.registry.client import Registry
from builder.registry.credentials import Credential
from builder.registry.errors import AuthenticationError, RegistryError
from builder.registry.hosts import Address, parse_address
from builder.registry.hoststoml import HostsFile, parse_hosts
from builder.registry.push import push_artifact
from builder.registry.repository import remote_artifact
from builder.registry.retry import RetryPolicy
from builder.registry.routes import Capability, Endpoint, InsecureHosts, Routes
from builder.registry.session import Call, SessionSettings
from builder.registry.trust import Trust
from tests.support.blobs import MemoryBlobs
from tests.support.credentials import StaticCredentials
from tests.support.fake_registry import FakeRegistry, Fault, serve
from tests.support.tunnels import relay

DATA = bytes(range(256)) * 40


# --- addresses


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("reg.example", Address("", "reg.example")),
        ("Reg.Example:5000", Address("", "reg.example:5000")),
        ("https://reg.example/", Address("https", "reg.example")),
        ("HTTP://reg.example/a/b/", Address("http", "reg.example", "/a/b")),
        ("[fd00::1]:5000", Address("", "[fd00::1]:5000")),
        ("10.0.0.1", Address("", "10.0.0.1")),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "/",
            "https://",
            "://x",
            "ftp://x",
            "https://https://x",
            "https://u:pw@x",
            "u@x",
            "x:y",
            "x:99999",
            "x y",
        ),
        *("x?a=b", "x#a", "x/../y", "x/./y", "x/a?b", "x/a b", "x/a\r\nb", "[::1", "x\\y", "x%2fy", "\u00e4.example"),
    ],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r".+") as caught:
        parse_address(text)
    assert "pw" not in str(caught.value)


# --- who is a candidate


def routes(*, hosts: str = "", of: str = "reg.example", **fields: Any) -> Routes:
    def directory(host: str) -> HostsFile | None:
        return parse_hosts(hosts.encode(), Path("/d/hosts.toml")) if host == of and hosts else None

    return Routes(directory=directory, **fields)


def shown(endpoints: tuple[Endpoint, ...]) -> list[str]:
    return [f"{one.scheme or '?'}://{one.host}{one.root}|{one.repository}" for one in endpoints]


def mirrors(**names: str) -> dict[str, tuple[Address, ...]]:
    return {name: tuple(map(parse_address, text.split())) for name, text in names.items()}


MIRRORS = {"reg.example": (parse_address("https://m1"), parse_address("m2:5000/proxy/reg"))}
HOSTS = """
server = "https://reg.example"
[host."https://t1/x"]
[host."http://t2"]
capabilities = ["pull"]
[host."https://t3"]
capabilities = ["push"]
"""


@pytest.mark.parametrize(
    ("made", "capability", "expected"),
    [
        (routes(), "pull", ["?://reg.example/v2|a/b"]),
        (routes(mirrors=MIRRORS), "pull", ["https://m1/v2|a/b", "?://m2:5000/v2|proxy/reg/a/b", "?://reg.example/v2|a/b"]),
        (routes(mirrors=MIRRORS), "push", ["?://reg.example/v2|a/b"]),
        (routes(mirrors={"other": (parse_address("m"),)}), "pull", ["?://reg.example/v2|a/b"]),
        (routes(mirrors={"reg.example": (parse_address("https://m/v2/hub"),)}), "pull", ["https://m/v2|hub/a/b", "?://reg.example/v2|a/b"]),
        (routes(hosts=HOSTS), "pull", ["https://t1/x/v2|a/b", "http://t2/v2|a/b", "https://reg.example/v2|a/b"]),
        (routes(hosts=HOSTS), "resolve", ["https://t1/x/v2|a/b", "https://reg.example/v2|a/b"]),
        (routes(hosts=HOSTS), "push", ["https://t3/v2|a/b"]),
        (routes(hosts='[host."https://t1"]'), "push", ["?://reg.example/v2|a/b"]),
        (routes(hosts='server = "http://reg.example"'), "pull", ["http://reg.example/v2|a/b"]),
        (routes(hosts='server = "https://up.example/x"'), "pull", ["https://up.example/x/v2|a/b"]),
        (routes(hosts='server = "https://up.example"'), "push", ["https://up.example/v2|a/b"]),
        (routes(hosts='ca = "x"'), "push", ["?://reg.example/v2|a/b"]),
        (
            routes(hosts='[host."https://t1"]', mirrors={"reg.example": (parse_address("https://m1"),)}),
            "pull",
            ["https://m1/v2|a/b", "https://t1/v2|a/b", "?://reg.example/v2|a/b"],
        ),
        (routes(maps={"reg.example": ("new.example",)}), "pull", ["?://new.example/v2|a/b"]),
        (routes(maps={"reg.example": ("new.example",)}), "push", ["?://reg.example/v2|a/b"]),
        (routes(maps={"reg.example/a": ("new.example/c",)}), "pull", ["?://new.example/v2|c/b"]),
        (routes(maps={"reg.example/a/b": ("new.example/c",)}), "pull", ["?://new.example/v2|c"]),
        (routes(maps={"reg.example": ("x",), "reg.example/a": ("y.z",)}), "pull", ["?://y.z/v2|b"]),
        (routes(maps={"reg.example/a/": ("x.y",), "reg.example/aa": ("x.y",), "eg.example": ("x.y",)}), "pull", ["?://reg.example/v2|a/b"]),
        (
            routes(maps={"reg.example": ("one.example", "reg.example")}),
            "pull",
            ["?://one.example/v2|a/b", "?://reg.example/v2|a/b"],
        ),
        (routes(maps={"reg.example": ("new.example",), "new.example": ("third.example",)}), "pull", ["?://new.example/v2|a/b"]),
        (
            routes(maps={"reg.example": ("new.example",)}, mirrors={"new.example": (parse_address("https://m1"),)}),
            "pull",
            ["https://m1/v2|a/b", "?://new.example/v2|a/b"],
        ),
    ],
)  # fmt: skip
def test_candidates(made: Routes, capability: Capability, expected: list[str]) -> None:
    assert shown(made.candidates("reg.example", "a/b", capability)) == expected


def test_docker_hub_by_any_name() -> None:
    made = Routes(mirrors={"docker.io": (parse_address("https://m1"),)}, maps={"docker.io/library": ("r.example/hub",)})
    assert shown(made.candidates("docker.io", "x/y", "pull")) == [
        "https://m1/v2|x/y",
        "?://registry-1.docker.io/v2|x/y",
    ]
    assert shown(made.candidates("docker.io", "library/alpine", "pull")) == ["?://r.example/v2|hub/alpine"]
    assert shown(made.candidates("index.docker.io", "library/alpine", "pull")) == ["?://r.example/v2|hub/alpine"]
    assert made.candidates("docker.io", "x/y", "pull")[-1].registry == "docker.io"


def test_a_request_as_another_server_has_it() -> None:
    (mirror, _) = routes(mirrors={"reg.example": (parse_address("https://m/p"),)}).candidates(
        "reg.example", "a/b", "pull"
    )
    assert mirror.path("a/b", "/v2/a/b/manifests/1") == "/v2/p/a/b/manifests/1?ns=reg.example"
    assert mirror.path("a/b", "/v2/a/b/tags/list?n=5") == "/v2/p/a/b/tags/list?n=5&ns=reg.example"
    scopes = frozenset({"repository:a/b:pull", "repository:a/bc:pull", "registry:catalog:*"})
    assert mirror.scopes("a/b", scopes) == {"repository:p/a/b:pull", "repository:a/bc:pull", "registry:catalog:*"}
    own = Endpoint(registry="r", host="r", repository="a/b", root="/x")
    assert own.path("a/b", "/v2/a/b/blobs/uploads/?mount=y") == "/x/a/b/blobs/uploads/?mount=y"
    assert (own.path("", "/v2/"), own.path("", "/v2/_catalog?n=1")) == ("/x/", "/x/_catalog?n=1")
    assert own.scopes("a/b", scopes) == scopes


@pytest.mark.parametrize(
    ("method", "target", "scopes", "capability"),
    [
        ("GET", "/v2/a/manifests/1", {"repository:a:pull"}, "resolve"),
        ("HEAD", "/v2/a/manifests/1", {"repository:a:pull"}, "resolve"),
        ("GET", "/v2/a/manifests/sha256:aa", {"repository:a:pull"}, "pull"),
        ("GET", "/v2/a/blobs/sha256:aa", {"repository:a:pull"}, "pull"),
        ("HEAD", "/v2/a/blobs/sha256:aa", {"repository:a:pull,push"}, "push"),
        ("HEAD", "/v2/a/manifests/1", {"repository:a:pull,push"}, "push"),
        ("POST", "/v2/a/blobs/uploads/", {"repository:a:pull,push"}, "push"),
        ("PUT", "/v2/a/manifests/1", set(), "push"),
        ("DELETE", "/v2/a/manifests/1", set(), "push"),
    ],
)
def test_what_a_request_takes(method: str, target: str, scopes: set[str], capability: Capability) -> None:
    call = Call(action="x", method=method, registry="r", repository="a", target=target, scopes=frozenset(scopes))
    assert call.capability == capability


def test_trust_of_each_server() -> None:
    own, system = Trust(authorities=(Path("/own"),)), Trust()
    made = routes(
        hosts='ca = "root"\n[host."https://t1"]\nca = "t1"\n[host."https://t2"]',
        trusts={"m1": own, "docker.io": own},
        mirrors={"reg.example": (parse_address("https://m1"), parse_address("https://m2"))},
        insecure=InsecureHosts(["m2"]),
    )
    found = [one.trust for one in made.candidates("reg.example", "a", "pull")]
    root, first_host = Trust(authorities=(Path("/d/root"),)), Trust(authorities=(Path("/d/t1"),))
    assert found == [own, Trust(verify=False), first_host, system, root]
    assert (made.trust("reg.example"), made.trust("m1"), made.trust("cdn.example")) == (root, own, system)
    assert made.trust("registry-1.docker.io") == own


@pytest.mark.parametrize(
    ("entries", "host", "insecure"),
    [
        (["reg.example"], "reg.example", True),
        (["reg.example"], "REG.example", True),
        (["reg.example"], "reg.example:5000", False),
        (["reg.example:5000"], "reg.example:5000", True),
        (["reg.example:5000"], "reg.example", False),
        (["10.0.0.0/8"], "10.1.2.3:5000", True),
        (["10.0.0.1/8"], "10.1.2.3", True),
        (["10.0.0.0/8"], "11.0.0.1", False),
        (["fd00::/8"], "[fd00::1]:5000", True),
        (["10.0.0.0/8"], "inside.example:5000", True),
        (["10.0.0.0/8"], "outside.example", False),
        (["10.0.0.0/8"], "unknown.example", False),
        ([], "inside.example", False),
    ],
)
def test_insecure_hosts_and_networks(entries: list[str], host: str, insecure: bool) -> None:
    addresses = {"inside.example": ["192.0.2.1", "10.0.0.9"], "outside.example": ["192.0.2.1", "fd00::1"]}
    known = InsecureHosts(entries, lambda name: addresses.get(name, []))
    assert (host in known) == insecure
    assert (host in known) == insecure


# --- going from one to the next


class Events:
    def __init__(self) -> None:
        self.seen: list[Event] = []

    def emit(self, event: Event) -> None:
        self.seen.append(event)

    @property
    def warnings(self) -> list[str]:
        return [one.message for one in self.seen if isinstance(one, Warned)]


class Place:
    """A registry and a mirror of it, both fake, with the same image unless a test says otherwise."""

    def __init__(self, upstream: FakeRegistry, mirror: FakeRegistry, stack: ExitStack) -> None:
        self.upstream = upstream
        self.mirror = mirror
        self.events = Events()
        self._stack = stack

    def client(self, prefix: str = "", credentials: StaticCredentials | None = None, **fields: Any) -> Registry:
        address = parse_address(f"{self.mirror.host}{prefix}")
        made = Routes(**({"mirrors": {self.upstream.host: (address,)}} | fields))
        return self._stack.enter_context(
            Registry(
                credentials,
                SessionSettings(routes=made),
                retry=RetryPolicy(sleep=lambda _: None),
                reporter=self.events,
            )
        )

    @property
    def reference(self) -> Reference:
        return Reference.parse(f"{self.upstream.host}/a/b:1")

    def counts(self) -> tuple[int, int]:
        return len(self.mirror.seen), len(self.upstream.seen)


@pytest.fixture
def place() -> Iterator[Place]:
    with serve() as upstream, serve() as mirror, ExitStack() as stack:
        yield Place(upstream, mirror, stack)


@pytest.fixture
def image(place: Place, pushed: Any, layer: Any) -> Any:
    """The image, in both places."""
    made = pushed(layer(DATA))
    for where in (place.upstream, place.mirror):
        put(where, "a/b", made)
    return made


def put(fake: FakeRegistry, repository: str, made: Any) -> None:
    for data in (*(one.data for one in made.layers), made.raw_config):
        fake.put_blob(repository, data)
    fake.put_manifest(repository, "1", made.raw_manifest, made.media_type)


def fetch(client: Registry, reference: Reference, image: Any) -> Digest:
    """Resolve, get the manifest by its digest, and a layer."""
    found = client.resolve(reference)
    _, _, digest = client.manifest(reference, found.digest)
    blobs = MemoryBlobs()
    client.fetch_blob(reference, image.layers[0].descriptor, blobs)
    with blobs.open(image.layers[0].descriptor.digest) as stream:
        assert stream.read() == DATA
    return digest


def test_a_mirror_serves_all(place: Place, image: Any) -> None:
    assert fetch(place.client(), place.reference, image) == Digest.of(image.raw_manifest)
    assert place.counts() == (3, 0)
    assert {one.query["ns"][0] for one in place.mirror.seen} == {place.upstream.host}
    assert place.events.seen == []


def test_the_path_of_a_mirror_precedes_the_name(place: Place, image: Any) -> None:
    put(place.mirror, "proxy/hub/a/b", image)
    place.mirror.auth = "bearer"
    fetch(place.client("/proxy/hub"), place.reference, image)
    assert place.counts()[1] == 0
    assert all("/v2/proxy/hub/a/b/" in one.path for one in place.mirror.asked("GET"))
    (token,) = place.mirror.asked("GET", origin="token")
    assert token.query["scope"] == ["repository:proxy/hub/a/b:pull"]


def test_what_a_mirror_lacks_comes_from_the_registry(place: Place, image: Any) -> None:
    place.mirror.blobs.clear()
    fetch(place.client(), place.reference, image)
    assert [one.path.partition("?")[0].split("/")[4] for one in place.upstream.seen] == ["blobs"]
    place.mirror.manifests.clear()
    fetch(place.client(), place.reference, image)
    assert place.events.seen == [], "that is what mirrors are like"


@pytest.mark.parametrize("status", [400, 401, 403, 405, 429, 500, 503])
def test_a_mirror_that_refuses(place: Place, image: Any, status: int) -> None:
    place.mirror.plan = lambda _: Fault(status=status)
    fetch(place.client(), place.reference, image)
    assert place.events.warnings == [f"{place.mirror.host} answered {status} for {place.upstream.host}"]
    assert place.counts()[1] == 3


def test_a_mirror_that_is_not_there_is_asked_once(place: Place, image: Any) -> None:
    client = place.client(mirrors={place.upstream.host: (parse_address("127.0.0.1:1"),)})
    fetch(client, place.reference, image)
    (warning,) = place.events.warnings
    assert warning.startswith(f"127.0.0.1:1 is not asked for {place.upstream.host} any more: cannot connect")


@pytest.mark.parametrize("fault", [Fault(cut=5000), Fault(flip=True), Fault(drop=True)])
def test_a_mirror_that_breaks_off_or_lies_about_a_layer(place: Place, image: Any, fault: Fault) -> None:
    place.mirror.plan = lambda seen: fault if "/blobs/" in seen.path else None
    fetch(place.client(), place.reference, image)
    assert place.upstream.asked("GET", "/blobs/")


def test_a_mirror_that_lies_about_a_manifest(place: Place, image: Any) -> None:
    place.mirror.plan = lambda seen: Fault(flip=True) if seen.method == "GET" and "/manifests/" in seen.path else None
    assert fetch(place.client(), place.reference, image) == Digest.of(image.raw_manifest)
    assert place.upstream.asked("GET", "/manifests/")
    (warning,) = place.events.warnings
    assert "is not asked" in warning


def test_a_registry_that_is_not_there_is_not_missed(place: Place, image: Any) -> None:
    place.upstream.plan = lambda _: Fault(drop=True)
    fetch(place.client(), place.reference, image)


def test_the_registrys_error_is_the_one_that_is_told(place: Place, image: Any) -> None:
    place.mirror.plan = lambda _: Fault(status=500)
    place.upstream.plan = lambda _: Fault(status=403, body=b'{"errors":[{"code":"DENIED","message":"not for you"}]}')
    with pytest.raises(AuthenticationError, match=f"{place.upstream.host} answered 403"):
        place.client().resolve(place.reference)


def test_pushes_and_their_questions_go_to_the_registry(place: Place, image: Any, tmp_path: Path) -> None:
    client = place.client(maps={place.upstream.host: (place.mirror.host,)})
    client.put_manifest(place.reference, "2", image.raw_manifest, image.media_type)
    assert client.blob_exists(place.reference, Digest.of(DATA), pushing=True)
    assert place.counts() == (0, 2)


def test_accounts_stay_with_their_server(place: Place, image: Any) -> None:
    for one in (place.upstream, place.mirror):
        one.auth, one.readable, one.accounts = "basic", set(), {"ann": "right"}
    place.mirror.blobs.clear()
    account = Credential(username="ann", password="right", source="the test")
    fetch(place.client(credentials=StaticCredentials(account, [place.upstream.host])), place.reference, image)
    assert not any("authorization" in one.headers for one in place.mirror.seen)
    assert any("authorization" in one.headers for one in place.upstream.seen)
    place.mirror.seen.clear()
    place.upstream.seen.clear()
    own = StaticCredentials(account, [place.mirror.host])
    assert place.client(credentials=own).resolve(place.reference).digest
    assert place.counts()[1] == 0


def test_no_account_goes_to_a_mirror_in_clear_text(place: Place, image: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    place.mirror.auth, place.mirror.readable, place.mirror.accounts = "basic", set(), {"ann": "right"}
    account = Credential(username="ann", password="right", source="the test")
    # A name that is not loopback's, though it leads there.
    monkeypatch.setattr("builder.registry.session.is_loopback", lambda host: host != place.mirror.host)
    known = StaticCredentials(account, [place.mirror.host, place.upstream.host])
    client = place.client(credentials=known, mirrors={place.upstream.host: (Address("http", place.mirror.host),)})
    fetch(client, place.reference, image)
    assert not any("authorization" in one.headers for one in place.mirror.seen)
    assert place.upstream.seen


def test_headers_of_hosts_toml_go_to_their_server_only(place: Place, image: Any) -> None:
    text = f"""[host."http://{place.mirror.host}"]
    header = {{"x-secret" = "planted"}}
    """
    known = parse_hosts(text.encode(), Path("/d/hosts.toml"))
    place.mirror.redirect_blobs = True
    client = place.client(mirrors={}, directory=lambda host: known if host == place.upstream.host else None)
    fetch(client, place.reference, image)
    asked = place.mirror.asked("GET") + place.mirror.asked("HEAD")
    assert {one.headers.get("x-secret") for one in asked} == {"planted"}
    stored = place.mirror.asked("GET", origin="store")
    assert stored
    assert not any("x-secret" in one.headers for one in stored)


def test_a_map_leads_elsewhere_and_only_there(place: Place, image: Any) -> None:
    put(place.mirror, "hub/b", image)
    client = place.client(mirrors={}, maps={f"{place.upstream.host}/a": (f"{place.mirror.host}/hub",)})
    fetch(client, place.reference, image)
    assert place.counts()[1] == 0
    assert not any("ns" in one.query for one in place.mirror.seen)
    place.mirror.manifests.clear()
    with pytest.raises(RegistryError, match=f"{place.mirror.host} answered 404"):
        client.resolve(place.reference)
    assert place.counts()[1] == 0


def test_a_map_with_several_targets_tries_them_in_turn(place: Place, image: Any) -> None:
    place.mirror.manifests.clear()
    name = place.upstream.host
    client = place.client(mirrors={}, maps={name: ("127.0.0.1:1", place.mirror.host, name)})
    assert fetch(client, place.reference, image) == Digest.of(image.raw_manifest)
    assert place.mirror.seen
    assert place.upstream.seen


def test_layers_are_mounted_from_where_a_map_found_them(place: Place, image: Any) -> None:
    put(place.mirror, "hub/b", image)
    client = place.client(mirrors={}, maps={f"{place.upstream.host}/a": (f"{place.mirror.host}/hub",)})
    target = Reference.parse(f"{place.mirror.host}/team/app:1")
    remote = remote_artifact(client, place.reference, MemoryBlobs())
    push_artifact(client, [target], remote, SilentReporter())
    assert len([one for one in place.mirror.asked("POST") if one.query["from"] == ["hub/b"]]) == 2
    assert not place.mirror.asked("PUT", "/uploads/")
    assert not place.mirror.asked("GET", "/blobs/" + Digest.of(DATA))


def test_a_registry_in_plain_http_is_not_mistaken_after_a_foreign_url(place: Place, image: Any) -> None:
    client = place.client(mirrors={})
    foreign = Call(
        action="x",
        method="GET",
        registry=place.upstream.host,
        repository="a/b",
        target=f"http://{place.mirror.host}/v2/no/blobs/{Digest.of(DATA)}",
        anonymous=True,
    )
    with client.session.open(foreign) as response:
        assert response.status_code == 404
    assert place.counts() == (1, 0)


def test_connections_are_used_again(fake: FakeRegistry, stored: Any, pushed: Any, layer: Any, connect: Any) -> None:
    image = pushed(layer(DATA))
    stored("a/b", "1", image)
    with relay(fake.host) as counting:
        reference = Reference.parse(f"{counting.host}/a/b:1")
        client = connect()
        for _ in range(5):
            fetch(client, reference, image)
            assert client.blob_exists(reference, Digest.of(DATA))
            client.put_manifest(reference, "2", image.raw_manifest, image.media_type)
            assert not client.blob_exists(reference, Digest.of(b"unknown"))
    assert counting.connections == 1


def test_a_mapped_registrys_error_hides_its_own_accounts_secret(place: Place, image: Any) -> None:
    place.mirror.auth, place.mirror.readable, place.mirror.accounts = "basic", set(), {"ann": "planted-word"}
    account = Credential(username="ann", password="planted-word", source="the test")
    place.mirror.plan = lambda seen: Fault(
        status=403 if "authorization" in seen.headers else 401,
        headers={"WWW-Authenticate": 'Basic realm="x"'},
        body=b'{"errors":[{"code":"DENIED","message":"not with planted-word"}]}',
    )
    known = StaticCredentials(account, [place.mirror.host])
    client = place.client(credentials=known, mirrors={}, maps={place.upstream.host: (place.mirror.host,)})
    with pytest.raises(AuthenticationError, match=f"{place.mirror.host} answered 403") as caught:
        client.resolve(place.reference)
    assert "planted" not in str(caught.value)
    assert "the test" in str(caught.value.hint)
