"""Which ways are tried for whom, and what is said when none works."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from builder.errors import SandboxError
from builder.run.namespaces import IdMaps, free_range, has_id, subordinate_range
from builder.run.probe import Attempt, Facts, Refusal, attempts, filesystem_type, refused

ROOT = Facts(uid=0, gid=0, name="root", uid_map="0 0 4294967295\n", gid_map="0 0 4294967295\n")
ALICE = Facts(
    uid=1000,
    gid=1001,
    name="alice",
    subuid="bob:100000:65536\nalice:165536:65536\n",
    subgid="1000:265536:70000\n",
    newuidmap="/usr/bin/newuidmap",
    newgidmap="/usr/bin/newgidmap",
)


def modes(isolation: str, facts: Facts) -> list[str]:
    return [attempt.mode for attempt in attempts(isolation, facts)]


def test_root_prefers_no_user_namespace() -> None:
    first, second = attempts("auto", ROOT)
    assert first == Attempt("root")
    assert second == Attempt("userns", IdMaps(((0, 0, 4294967295),), ((0, 0, 4294967295),)))
    assert (first.view, second.view[:4]) == ("root", "map-")


def test_root_of_a_container_maps_what_it_has() -> None:
    inside = replace(ROOT, uid_map="0 100000 65536\n", gid_map="0 1000 1\n1 100000 65536\n")
    assert attempts("userns", inside)[0].maps == IdMaps(((0, 0, 65536),), ((0, 0, 1), (1, 1, 65536)))


def test_root_of_a_container_goes_on_without_namespaces_and_is_told() -> None:
    inside = replace(ROOT, container="/.dockerenv")
    assert modes("auto", inside) == ["root", "userns", "chroot"]
    last = attempts("auto", inside)[-1]
    assert last.warning.endswith("no /proc, no /sys and are not isolated from this container")
    assert last.view == "root"


def test_chroot_is_never_chosen_elsewhere_and_can_be_asked_for() -> None:
    assert "chroot" not in modes("auto", ROOT)
    assert "chroot" not in modes("auto", replace(ALICE, container="/.dockerenv"))
    (asked,) = attempts("chroot", ROOT)
    assert asked.warning.endswith("not isolated from this machine")
    with pytest.raises(SandboxError, match="isolation=chroot needs root"):
        attempts("chroot", ALICE)


def test_a_user_with_subordinate_ids() -> None:
    first, second = attempts("auto", ALICE)
    assert first.maps == IdMaps(((0, 1000, 1), (1, 165536, 65536)), ((0, 1001, 1), (1, 265536, 70000)))
    assert second.mode == "single"


@pytest.mark.parametrize(
    ("facts", "problem"),
    [
        (replace(ALICE, subuid="bob:1:65536\n"), 'no range for user "alice" in /etc/subuid'),
        (replace(ALICE, subgid=""), 'no range for user "alice" in /etc/subgid'),
        (replace(ALICE, subuid="alice:100000:65535\nalice:x:1\nalice\n"), "in /etc/subuid"),
        (replace(ALICE, newgidmap=None), "not installed"),
    ],
)
def test_a_user_without(facts: Facts, problem: str) -> None:
    (attempt,) = attempts("auto", facts)
    assert attempt.mode == "single"
    assert problem in attempt.warning
    assert "usermod --add-subuids" in attempt.warning
    with pytest.raises(SandboxError, match=r"range|installed"):
        attempts("userns", facts)


def test_ids_of_others_are_not_given_away() -> None:
    """What a message says is typed as it stands; a range that two users have lets one be the other in containers."""
    assert free_range("", "") == "100000-165535"
    assert free_range("a:1000:10\nb:x:1\n", "#\n") == "100000-165535"
    assert free_range("a:100000:65536\nb:300000:65536\n", "a:100000:400000\n") == "500000-565535"
    (attempt,) = attempts("auto", replace(ALICE, subuid="bob:100000:65536\n", subgid="bob:100000:65536\n"))
    assert attempt.warning.endswith("usermod --add-subuids 165536-231071 --add-subgids 165536-231071 alice")


def test_what_is_asked_for_is_all_that_is_tried() -> None:
    assert modes("root", ROOT) == ["root"]
    assert modes("userns", ALICE) == ["userns"]
    assert modes("single", ALICE) == ["single"]
    assert attempts("single", ALICE)[0].warning == ""
    with pytest.raises(SandboxError, match="needs root"):
        attempts("root", ALICE)
    with pytest.raises(SandboxError, match="is not one of"):
        attempts("magic", ROOT)


def test_ranges() -> None:
    assert subordinate_range("a:1:65536\na:9:70000\n", "a", 5) == (9, 70000)
    assert subordinate_range("5:7:65536\n", "a", 5) == (7, 65536)
    assert subordinate_range("#a:7:65536\na:-1:65536\n", "a", 5) is None
    assert has_id(((0, 1000, 1), (1, 5, 10)), 10)
    assert not has_id(((0, 1000, 1), (1, 5, 10)), 11)


MOUNTS = """\
21 1 8:1 / / rw - ext4 /dev/vda rw
22 21 0:5 / /proc rw - proc proc rw
30 21 0:40 / /data/with\\040space rw shared:1 - overlay overlay rw
31 21 0:41 / /data rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/x", "ext4"), ("/data", "tmpfs"), ("/database", "ext4"), ("/data/with space/x", "overlay"), ("/proc/1", "proc")],
)
def test_filesystem_type(path: str, kind: str) -> None:
    assert filesystem_type(path, MOUNTS) == kind


@pytest.mark.parametrize(
    ("refusals", "store", "message", "hint"),
    [
        ([Refusal("root", "mount overlay", 22)], "/data/with space/s", "is on overlayfs", "--root DIR"),
        ([Refusal("root", "mount overlay", 22)], "/data/s", "on tmpfs (root: mount overlay: EINVAL)", "5.11"),
        (
            [Refusal("root", "unshare mount namespace", 1), Refusal("userns", "unshare user namespace", 1)],
            "/s",
            "cannot create a user namespace (root: unshare mount namespace: EPERM; userns: unshare",
            "Kubernetes",
        ),
        ([Refusal("single", "the worker did not start")], "/s", "cannot be isolated", "as root"),
    ],
)
def test_refusals(refusals: list[Refusal], store: str, message: str, hint: str) -> None:
    error = refused(refusals, Path(store), MOUNTS)
    assert message in error.message
    assert hint in (error.hint or "")
