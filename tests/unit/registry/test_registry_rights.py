"""Whether we may push is known before there is anything to push."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from builder.image.reference import Reference
from builder.registry.client import Registry
from builder.registry.credentials import Credential, GivenCredentials, NoCredentials
from builder.registry.errors import AuthenticationError, RegistryError, TransientRegistryError
from tests.support.fake_registry import FakeRegistry, Fault, at, first

Connect = Callable[..., Registry]


def test_a_right_to_push_leaves_nothing_behind(fake: FakeRegistry, connect: Connect) -> None:
    connect().check_push(at(fake))
    assert [one.method for one in fake.seen] == ["POST", "DELETE"]
    assert fake.uploads == {}


def test_a_token_for_a_push_is_kept_for_it(fake: FakeRegistry, connect: Connect) -> None:
    fake.auth, fake.accounts = "bearer", {"ann": "s3cret"}
    client = connect("ann", "s3cret")
    client.check_push(at(fake))
    assert fake.uploads == {}
    assert fake.asked("GET", origin="token")[0].query["scope"] == ["repository:a/b:pull,push"]
    assert [one.method for one in fake.asked("DELETE")] == ["DELETE"], "the right to cancel was asked for first"
    before = len(fake.asked("GET", origin="token"))
    client.blob_exists(at(fake), "sha256:" + "0" * 64, pushing=True)  # type: ignore[arg-type]  # only its text counts
    assert len(fake.asked("GET", origin="token")) == before


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_without_the_right(fake: FakeRegistry, connect: Connect, auth: str) -> None:
    fake.auth, fake.accounts, fake.writable = auth, {"ann": "s3cret"}, False  # type: ignore[assignment]  # a Literal
    with pytest.raises(AuthenticationError, match=r"cannot push to .*a/b") as caught:
        connect("ann", "wr0ng" if auth == "basic" else "s3cret").check_push(at(fake))
    assert caught.value.exit_code == 77
    assert "s3cret" not in f"{caught.value} {caught.value.hint}"


def test_a_repository_that_has_to_be_made_first(fake: FakeRegistry, connect: Connect) -> None:
    body = b'{"errors":[{"code":"NAME_UNKNOWN","message":"create it first"}]}'
    fake.plan = lambda _: Fault(status=404, body=body)
    with pytest.raises(RegistryError, match="create it first"):
        connect().check_push(at(fake))


@pytest.mark.parametrize("fault", [Fault(status=405), Fault(status=404), Fault(status=500), Fault(drop=True)])
def test_a_registry_that_cannot_cancel_is_no_obstacle(fake: FakeRegistry, connect: Connect, fault: Fault) -> None:
    fake.plan = lambda seen: fault if seen.method == "DELETE" else None
    connect().check_push(at(fake))
    assert len(fake.asked("DELETE")) == 1


def test_a_busy_registry_is_asked_again(fake: FakeRegistry, connect: Connect, slept: list[float]) -> None:
    fake.plan = first(lambda seen: seen.method == "POST", Fault(status=429), Fault(drop=True))
    connect().check_push(at(fake))
    assert len(slept) == 2
    assert len(fake.uploads) <= 1


def test_a_registry_that_is_not_there(connect: Connect) -> None:
    with pytest.raises(TransientRegistryError, match="cannot connect"):
        connect().check_push(Reference.parse("127.0.0.1:1/a/b:1"))


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_whoever_is_refused_without_an_account_is_told_how_to_name_one(fake: FakeRegistry, auth: str) -> None:
    """Of two registries the one that wants another account: the account of the first is not sent there."""
    fake.auth, fake.accounts, fake.readable = auth, {"ann": "s3cret"}, set()  # type: ignore[assignment]  # a Literal
    other = Credential(username="ann", password="s3cret", source="--creds")
    source = GivenCredentials({"registry.example": other}, NoCredentials())
    with Registry(source) as client, pytest.raises(AuthenticationError) as caught:
        client.resolve(at(fake))
    assert f"--creds {fake.host}=USER" in str(caught.value.hint)
    assert not any("basic" in one.headers.get("authorization", "").lower() for one in fake.seen)
