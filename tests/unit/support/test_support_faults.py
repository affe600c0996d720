"""The fault proxy's chance: the same seed is the same run, whatever the order of other requests."""

from __future__ import annotations

from random import Random

from tests.support.faultproxy import BESIDES, FAULTS, Chance, Fault, Seen

REQUESTS = [
    Seen("registry", method, f"/v2/a/{kind}/{name}", ())
    for method in ("GET", "HEAD", "PUT", "POST")
    for kind, name in (("blobs", "sha256:1"), ("blobs", "sha256:2"), ("manifests", "1"), ("blobs/uploads", ""))
]


def faults(seed: int, order: list[Seen]) -> dict[str, list[Fault | None]]:
    chance, found = Chance(seed, 0.5), {}
    for _ in range(3):
        for seen in order:
            found.setdefault(seen.key, []).append(chance(seen))
    return found


def test_a_seed_says_what_goes_wrong() -> None:
    shuffled = Random(1).sample(REQUESTS, len(REQUESTS))
    assert faults(5, REQUESTS) == faults(5, shuffled)
    assert faults(5, REQUESTS) != faults(6, REQUESTS)


def test_names_that_a_registry_makes_up_do_not_matter() -> None:
    one, other = (f"/v2/a/blobs/uploads/{name}?_state={name}&digest=sha256:1" for name in ("x", "y"))
    assert Seen("registry", "PUT", one, ()).key == Seen("registry", "PUT", other, ()).key
    assert Seen("registry", "PUT", one, ()).key != Seen("registry", "PATCH", one, ()).key


def test_every_fault_can_happen() -> None:
    token = ("Authorization", "Bearer x"), ("Range", "bytes=1-")
    possible = [Seen(one.origin, one.method, f"{one.path}?mount=sha256:1", token) for one in REQUESTS]
    possible.append(Seen("registry", "PATCH", "/v2/a/blobs/uploads/x", token))
    assert [name for name, fits in FAULTS.items() if not any(map(fits, possible))] == []
    assert not BESIDES & FAULTS.keys()
