"""Tags, repositories and referrers: pages, hostile pages, and the tag that stands in for the referrers API."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import ImageError
from builder.image import descriptor as media
from builder.image.digest import Digest
from builder.image.manifest import ManifestError
from builder.registry import listing
from builder.registry.client import Registry
from builder.registry.errors import AuthenticationError, RegistryError
from tests.support.fake_registry import FakeRegistry, Fault, Seen, at, first

Connect = Callable[..., Registry]
SUBJECT = Digest.of(b"subject")


def put_tags(fake: FakeRegistry, *tags: str, repository: str = "a/b") -> None:
    for tag in tags:
        fake.put_manifest(repository, tag, b"{}", media.OCI_MANIFEST)


@pytest.mark.parametrize("page", [None, 1, 2, 3, 5])
def test_all_tags_are_listed_whatever_a_page_holds(fake: FakeRegistry, connect: Connect, page: int | None) -> None:
    fake.page = page
    put_tags(fake, "1", "2", "a", "b", "latest")
    assert connect().tags(at(fake)) == ["1", "2", "a", "b", "latest"]
    assert fake.seen[0].query["n"] == ["1000"]
    assert len(fake.seen) == (1 if page is None else -(-5 // page))


def test_a_repository_without_tags_has_none(fake: FakeRegistry, connect: Connect) -> None:
    fake.put_manifest("a/b", "x", b"{}", media.OCI_MANIFEST)
    del fake.manifests["a/b"]["x"]
    assert connect().tags(at(fake)) == []


def test_a_repository_that_is_not_there(fake: FakeRegistry, connect: Connect) -> None:
    with pytest.raises(RegistryError, match=r"cannot list the tags of .*a/b.*NAME_UNKNOWN"):
        connect().tags(at(fake))


def test_all_repositories_are_listed(fake: FakeRegistry, connect: Connect) -> None:
    fake.page = 2
    for name in ("a", "b/c", "d-e/f.g", "h"):
        put_tags(fake, "1", repository=name)
    assert connect().catalog(fake.host) == ["a", "b/c", "d-e/f.g", "h"]


def test_the_catalog_takes_a_right_of_its_own(fake: FakeRegistry, connect: Connect) -> None:
    fake.auth, fake.accounts = "bearer", {"ann": "s3cret"}
    put_tags(fake, "1")
    assert connect("ann", "s3cret").catalog(fake.host) == ["a/b"]
    assert fake.asked("GET", origin="token")[0].query["scope"] == ["registry:catalog:*"]


def test_a_registry_without_a_catalog(fake: FakeRegistry, connect: Connect) -> None:
    fake.plan = lambda _: Fault(status=404)
    with pytest.raises(RegistryError, match="cannot list the repositories") as caught:
        connect().catalog(fake.host)
    assert "list no repositories" in str(caught.value.hint)
    fake.plan = lambda _: Fault(status=401)
    with pytest.raises(AuthenticationError):
        connect().catalog(fake.host)


def answer(fake: FakeRegistry, body: bytes, link: str = "") -> None:
    fake.plan = lambda _: Fault(status=200, body=body, headers={"Link": link} if link else {})


@pytest.mark.parametrize("body", [b"", b"[]", b'{"tags": 5}', b'{"tags": {}}', b"{" * 100_000, b"<html>"])
def test_an_answer_that_is_no_list(fake: FakeRegistry, connect: Connect, body: bytes) -> None:
    answer(fake, body)
    with pytest.raises(RegistryError, match="something else"):
        connect().tags(at(fake))


def test_names_that_are_none_are_left_out(fake: FakeRegistry, connect: Connect) -> None:
    answer(fake, json.dumps({"tags": ["ok", "\x1b[31m", "", "a/b", 5, None, "x" * 200, "ok"]}).encode())
    assert connect().tags(at(fake)) == ["ok"]


@pytest.mark.parametrize(
    "link",
    [
        '<http://elsewhere.example/v2/a/b/tags/list?last=x>; rel="next"',
        "<//elsewhere.example/x>; rel=next",
        "<http://[bad>; rel=next",
        "<ftp://127.0.0.1/x>; rel=next",
    ],
)
def test_the_next_page_is_at_the_same_registry(fake: FakeRegistry, connect: Connect, link: str) -> None:
    answer(fake, b'{"tags": ["x"]}', link)
    with pytest.raises(RegistryError, match="another address"):
        connect().tags(at(fake))


@pytest.mark.parametrize("link", ["</x>; rel=prev", "", "nonsense", "</x>", '</x>; title="next"', "; rel=next"])
def test_links_that_lead_to_no_next_page(fake: FakeRegistry, connect: Connect, link: str) -> None:
    answer(fake, b'{"tags": ["x"]}', link)
    assert connect().tags(at(fake)) == ["x"]


@pytest.mark.parametrize(
    "link",
    [
        '<{path}>; rel="next"',
        "<{path}>; rel=next",
        "<{path}>;rel=NEXT",
        '</p>; rel=prev, <{path}>; a="b, <c>"; rel="next"',
        '<{path}>; rel="last next"',
        "<http://{host}{path}>; rel=next",
        "<https://{host}{path}>; rel=next",
    ],
)
def test_forms_of_a_link(fake: FakeRegistry, connect: Connect, link: str) -> None:
    header = link.format(path="/v2/a/b/tags/list?last=x", host=fake.host)
    fake.plan = first(lambda _: True, Fault(status=200, body=b'{"tags": ["x"]}', headers={"Link": header}))
    put_tags(fake, "y")
    assert connect().tags(at(fake)) == ["x", "y"]


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60))
def test_any_link_can_be_read(text: str) -> None:
    for found in listing._LINK.finditer(text):
        listing._NEXT.search(found[2])


def test_pages_that_lead_back(fake: FakeRegistry, connect: Connect) -> None:
    answer(fake, b'{"tags": ["x"]}', "</v2/a/b/tags/list?last=x>; rel=next")
    with pytest.raises(RegistryError, match="without end"):
        connect().tags(at(fake))
    assert len(fake.seen) == 2


def test_pages_without_end(fake: FakeRegistry, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "PAGE_LIMIT", 5)

    def plan(_: Seen) -> Fault:
        link = f"</v2/a/b/tags/list?last={len(fake.seen)}>; rel=next"
        return Fault(status=200, body=b'{"tags": []}', headers={"Link": link})

    fake.plan = plan
    with pytest.raises(RegistryError, match="without end"):
        connect().tags(at(fake))
    assert len(fake.seen) == 5


def test_more_names_than_can_be(fake: FakeRegistry, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "NAME_LIMIT", 3)
    put_tags(fake, "1", "2", "3", "4")
    with pytest.raises(RegistryError, match="more than 3"):
        connect().tags(at(fake))
    monkeypatch.setattr(listing, "BODY_LIMIT", 10)
    with pytest.raises(RegistryError, match="more than 10 bytes"):
        connect().tags(at(fake))


def test_a_busy_registry_is_asked_for_a_page_again(fake: FakeRegistry, connect: Connect) -> None:
    fake.page = 1
    put_tags(fake, "1", "2")
    fake.plan = first(lambda seen: "last=" in seen.path, Fault(status=429), Fault(drop=True))
    assert connect().tags(at(fake)) == ["1", "2"]


def attach(fake: FakeRegistry, kind: str, number: int = 0) -> str:
    raw = json.dumps({
        "schemaVersion": 2,
        "mediaType": media.OCI_MANIFEST,
        "artifactType": kind,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": Digest.of(b"{}"), "size": 2},
        "layers": [],
        "subject": {"mediaType": media.OCI_MANIFEST, "digest": SUBJECT, "size": 7},
        "annotations": {"number": str(number)},
    }).encode()  # fmt: skip
    digest = Digest.of(raw)
    fake.put_manifest("a/b", digest, raw, media.OCI_MANIFEST)
    return digest


@pytest.mark.parametrize("page", [None, 1, 2])
def test_referrers_come_from_the_api(fake: FakeRegistry, connect: Connect, page: int | None) -> None:
    fake.referrers, fake.page = True, page
    wanted = [attach(fake, "application/x.sbom", number) for number in range(3)]
    other = attach(fake, "application/x.signature")
    found = connect().referrers(at(fake), SUBJECT)
    assert [one.digest for one in found] == [*wanted, other]
    assert found[-1].extra["artifactType"] == "application/x.signature"
    assert [one.digest for one in connect().referrers(at(fake), SUBJECT, "application/x.sbom")] == wanted
    assert fake.seen[-1].query.get("artifactType", ["application/x.sbom"]) == ["application/x.sbom"]
    assert connect().referrers(at(fake), Digest.of(b"nothing")) == ()
    assert fake.asked("GET", "/manifests/") == []


def index_of(fake: FakeRegistry, *digests: str) -> bytes:
    entries = []
    for digest in digests:
        raw = fake.manifests["a/b"][digest][1]
        kind = json.loads(raw)["artifactType"]
        entries.append({"mediaType": media.OCI_MANIFEST, "digest": digest, "size": len(raw), "artifactType": kind})
    return json.dumps({"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": entries}).encode()


def test_without_the_api_a_tag_stands_in(fake: FakeRegistry, connect: Connect) -> None:
    first_one, second = attach(fake, "application/x.sbom"), attach(fake, "application/x.signature")
    tag = f"sha256-{SUBJECT.hex}"
    fake.put_manifest("a/b", tag, index_of(fake, first_one, second), media.OCI_INDEX)
    assert [one.digest for one in connect().referrers(at(fake), SUBJECT)] == [first_one, second]
    assert [one.digest for one in connect().referrers(at(fake), SUBJECT, "application/x.signature")] == [second]


def test_without_the_api_and_the_tag_there_is_nothing(fake: FakeRegistry, connect: Connect) -> None:
    assert connect().referrers(at(fake), SUBJECT) == ()


def test_referrers_that_may_not_be_seen_are_an_error(fake: FakeRegistry, connect: Connect) -> None:
    fake.plan = lambda _: Fault(status=403)
    with pytest.raises(AuthenticationError):
        connect().referrers(at(fake), SUBJECT)
    fake.plan = first(lambda seen: "/manifests/" in seen.path, *[Fault(status=403)] * 3)
    with pytest.raises(AuthenticationError):
        connect().referrers(at(fake), SUBJECT)


def test_a_stand_in_that_is_no_index(fake: FakeRegistry, connect: Connect) -> None:
    digest = attach(fake, "application/x.sbom")
    fake.put_manifest("a/b", f"sha256-{SUBJECT.hex}", fake.manifests["a/b"][digest][1], media.OCI_MANIFEST)
    with pytest.raises(ManifestError):
        connect().referrers(at(fake), SUBJECT)


def test_too_many_referrers(fake: FakeRegistry, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "REFERRER_LIMIT", 2)
    fake.referrers = True
    for number in range(3):
        attach(fake, "application/x.sbom", number)
    with pytest.raises(RegistryError, match="more than 2"):
        connect().referrers(at(fake), SUBJECT)


def test_a_manifest_is_deleted_by_digest_with_its_tags(fake: FakeRegistry, connect: Connect) -> None:
    put_tags(fake, "1", "2")
    connect().delete_manifest(at(fake), Digest.of(b"{}"))
    assert fake.manifests == {"a/b": {}}
    with pytest.raises(RegistryError, match=r"cannot delete .*MANIFEST_UNKNOWN"):
        connect().delete_manifest(at(fake), Digest.of(b"{}"))


def test_a_tag_alone_is_deleted(fake: FakeRegistry, connect: Connect) -> None:
    put_tags(fake, "1", "2")
    connect().delete_manifest(at(fake))
    assert set(fake.manifests["a/b"]) == {"2", Digest.of(b"{}")}


def test_a_deletion_whose_answer_was_lost_is_done(fake: FakeRegistry, connect: Connect) -> None:
    put_tags(fake, "1")
    fake.plan = first(lambda _: True, Fault(drop=True, done=True))
    connect().delete_manifest(at(fake), Digest.of(b"{}"))
    assert fake.manifests == {"a/b": {}}


@pytest.mark.parametrize(
    ("status", "by_tag", "hint"),
    [(405, False, "let anybody"), (405, True, "by digest only"), (400, True, "by digest only")],
)
def test_a_registry_that_does_not_delete(
    fake: FakeRegistry, connect: Connect, status: int, by_tag: bool, hint: str
) -> None:
    fake.plan = lambda _: Fault(status=status, body=b'{"errors":[{"code":"UNSUPPORTED"}]}')
    with pytest.raises(RegistryError, match="UNSUPPORTED") as caught:
        connect().delete_manifest(at(fake), None if by_tag else Digest.of(b"{}"))
    assert hint in str(caught.value.hint)


def test_deleting_takes_a_right_of_its_own(fake: FakeRegistry, connect: Connect) -> None:
    fake.auth, fake.accounts = "bearer", {"ann": "s3cret"}
    put_tags(fake, "1")
    connect("ann", "s3cret").delete_manifest(at(fake), Digest.of(b"{}"))
    assert fake.asked("GET", origin="token")[0].query["scope"] == ["repository:a/b:delete"]


# --- manifests about others, pushed


def about(subject: Digest = SUBJECT, number: int = 0) -> bytes:
    return json.dumps({
        "schemaVersion": 2,
        "mediaType": media.OCI_MANIFEST,
        "artifactType": "application/x.sbom",
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": Digest.of(b"{}"), "size": 2},
        "layers": [],
        "subject": {"mediaType": media.OCI_MANIFEST, "digest": subject, "size": 7},
        "annotations": {"number": str(number)},
    }).encode()  # fmt: skip


def put(client: Registry, fake: FakeRegistry, raw: bytes) -> Digest:
    fake.put_blob("a/b", b"{}")
    client.put_manifest(at(fake), Digest.of(raw), raw, media.OCI_MANIFEST)
    return Digest.of(raw)


def test_a_registry_that_understands_subjects_is_left_alone(fake: FakeRegistry, connect: Connect) -> None:
    fake.referrers = True
    put(connect(), fake, about())
    assert [one.method for one in fake.seen] == ["PUT"]


def test_without_referrers_the_tag_that_stands_in_is_kept(fake: FakeRegistry, connect: Connect) -> None:
    client = connect()
    digests = [put(client, fake, about(number=number)) for number in (1, 2)]
    media_type, raw = fake.manifests["a/b"][f"sha256-{SUBJECT.hex}"]
    assert media_type == media.OCI_INDEX
    entries = json.loads(raw)["manifests"]
    assert [one["digest"] for one in entries] == digests
    assert entries[0]["artifactType"] == "application/x.sbom"
    assert entries[0]["annotations"] == {"number": "1"}
    assert [one.digest for one in client.referrers(at(fake), SUBJECT, "application/x.sbom")] == digests


def test_a_referrer_is_noted_once(fake: FakeRegistry, connect: Connect) -> None:
    client = connect()
    put(client, fake, about())
    before = len(fake.asked("PUT"))
    put(client, fake, about())
    assert len(fake.asked("PUT")) == before + 1


def test_a_referrer_whose_answer_was_lost_is_noted(fake: FakeRegistry, connect: Connect) -> None:
    fake.plan = first(lambda seen: seen.method == "PUT", Fault(drop=True, done=True))
    digest = put(connect(), fake, about())
    assert [one.digest for one in connect().referrers(at(fake), SUBJECT)] == [digest]


@pytest.mark.parametrize("subject", ["5", '{"digest": "md5:x"}', "{}", "null"])
def test_a_subject_that_is_none_is_not_noted(fake: FakeRegistry, connect: Connect, subject: str) -> None:
    raw = about().replace(json.dumps(json.loads(about())["subject"]).encode(), subject.encode())
    fake.put_blob("a/b", b"{}")
    fake.plan = lambda seen: Fault(status=201) if seen.method == "PUT" else None
    connect().put_manifest(at(fake), Digest.of(raw), raw, media.OCI_MANIFEST)
    assert [one.method for one in fake.seen] == ["PUT"]


def test_a_stand_in_that_is_an_image_is_not_overwritten(fake: FakeRegistry, connect: Connect) -> None:
    fake.put_manifest("a/b", f"sha256-{SUBJECT.hex}", about(), media.OCI_MANIFEST)
    with pytest.raises(ManifestError):
        put(connect(), fake, about(number=5))


def test_an_answer_that_is_no_index_says_what_was_asked(fake: FakeRegistry, connect: Connect) -> None:
    fake.plan = lambda _: Fault(status=200, body=b"x")
    with pytest.raises(
        ImageError, match=f"cannot ask what refers to .* in {fake.host}/a/b: manifest is not valid JSON"
    ):
        connect().referrers(at(fake), Digest.of(b""))
