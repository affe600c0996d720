"""Accounts that expire in the middle of a push: helpers are asked again, and nothing is lost or leaked."""

from __future__ import annotations

import base64
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from builder.events import SilentReporter
from builder.image.reference import Reference
from builder.registry.client import Registry
from builder.registry.credentials import ConfiguredCredentials
from builder.registry.errors import AuthenticationError
from builder.registry.retry import RetryPolicy
from tests.support.credentials import write_helper
from tests.support.fake_registry import FakeRegistry, Fault, Seen
from tests.support.pushing import push_image

REFUSED = b'{"errors":[{"code":"DENIED","message":"Your authorization token has expired. Reauthenticate"}]}'


class Cloud:
    """A registry whose passwords end, and a helper that always knows the one that is valid."""

    def __init__(self, fake: FakeRegistry, directory: Path) -> None:
        self.fake = fake
        self.kept = write_helper(directory, "cloud", 'echo asked >> "$kept/asked"; cat "$kept/answer"')
        self.environment = {
            "DOCKER_AUTH_CONFIG": json.dumps({"credHelpers": {fake.host: "cloud"}}),
            "PATH": f"{directory}:/usr/bin:/bin",
        }
        self.status = 401

    def give(self, secret: str, username: str = "cloud") -> None:
        """Make one password, or identity token, the valid one."""
        (self.kept / "answer").write_text(json.dumps({"Username": username, "Secret": secret}))
        self.fake.accounts = {username: secret}
        self.fake.identity_tokens = {secret}

    @property
    def asked(self) -> int:
        return len((self.kept / "asked").read_text().splitlines())

    def registry(self) -> Registry:
        return Registry(ConfiguredCredentials(self.environment), retry=RetryPolicy(sleep=lambda _: None))


@pytest.fixture
def cloud(fake: FakeRegistry, tmp_path: Path) -> Cloud:
    return Cloud(fake, tmp_path / "bin")


def expire_at(cloud: Cloud, method: str, part: str, change: Any, status: int = 401) -> None:
    """Let ``change`` happen before the first such request is answered, with ``status`` if that is no 401."""
    done: list[bool] = []
    lock = threading.Lock()

    def plan(seen: Seen) -> Fault | None:
        with lock:
            if done or (seen.origin, seen.method) != ("registry", method) or part not in seen.path:
                return None
            done.append(True)
        change()
        return Fault(status=status, body=REFUSED) if status != 401 else None

    cloud.fake.plan = plan


@pytest.mark.parametrize(("method", "part"), [("POST", "uploads"), ("PUT", "uploads"), ("PUT", "manifests")])
@pytest.mark.parametrize("status", [401, 403])
def test_a_password_that_ends_in_a_push(
    cloud: Cloud, fake: FakeRegistry, pushed: Any, layer: Any, method: str, part: str, status: int
) -> None:
    fake.auth = "basic"
    cloud.give("first")
    expire_at(cloud, method, part, lambda: cloud.give("second"), status)
    image = pushed(layer(b"one"), layer(b"two"))
    with cloud.registry() as registry:
        push_image(registry, [Reference.parse(f"{fake.host}/a/b:1")], image, SilentReporter())
    assert "1" in fake.manifests["a/b"]
    assert cloud.asked == 2


@pytest.mark.parametrize("username", ["cloud", "<token>"])
def test_an_account_that_ends_at_the_token_server(
    cloud: Cloud, fake: FakeRegistry, pushed: Any, layer: Any, username: str
) -> None:
    fake.auth = "bearer"
    cloud.give("first", username)

    def end() -> None:
        fake.expire_tokens()
        cloud.give("second", username)

    expire_at(cloud, "PUT", "manifests", end)
    with cloud.registry() as registry:
        push_image(registry, [Reference.parse(f"{fake.host}/a/b:1")], pushed(layer(b"one")), SilentReporter())
    assert "1" in fake.manifests["a/b"]
    assert cloud.asked == 2


def test_a_helper_with_nothing_new_is_asked_twice_and_the_error_says_whose_account_it_is(
    cloud: Cloud, fake: FakeRegistry, pushed: Any, layer: Any
) -> None:
    fake.auth = "basic"
    cloud.give("first")
    fake.accounts = {"cloud": "other"}
    with cloud.registry() as registry, pytest.raises(AuthenticationError) as caught:
        push_image(
            registry, [Reference.parse(f"{fake.host}/a/b:1")], pushed(layer(b"one"), layer(b"two")), SilentReporter()
        )
    assert cloud.asked == 2
    assert caught.value.exit_code == 77
    assert "docker-credential-cloud" in str(caught.value.hint)
    for secret in ("first", base64.b64encode(b"cloud:first").decode()):
        assert secret not in f"{caught.value} {caught.value.hint} {caught.value!r} {caught.value.__cause__!r}"


def test_a_403_about_rights_is_told_at_once(cloud: Cloud, fake: FakeRegistry, pushed: Any, layer: Any) -> None:
    fake.auth = "basic"
    cloud.give("first")
    fake.plan = lambda seen: Fault(status=403, body=REFUSED) if seen.method == "POST" else None
    with cloud.registry() as registry, pytest.raises(AuthenticationError, match="403"):
        push_image(registry, [Reference.parse(f"{fake.host}/a/b:1")], pushed(layer(b"one")), SilentReporter())
    assert cloud.asked == 2
    assert not fake.manifests
