"""The law of the cache: a change reaches exactly the steps that depend on it, and one without meaning reaches none.

Projects and changes are generated from a seed that every failure names. Each changed project is built twice, in a store
that knows the original and in an empty one: the first build executes what the model says and nothing else, and both
give the same image. Commands are not run: what stands in for one leaves a file that depends on all that the command can
observe, so that any part that a key forgets shows in the image.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from builder.engine.comparing import BASE
from builder.engine.components import PARENT
from builder.engine.explaining import Explanation, explain
from builder.engine.request import BuildRequest, EpochChoice
from builder.events import VertexCompleted
from builder.image.platform import Platform
from tests.support import images
from tests.support.builds import NATIVE, Built, Recording, Workshop, hash_first, pack_at_once
from tests.support.mutations import (
    Change,
    Project,
    age,
    change_meaning,
    change_nothing,
    generate,
    own_reasons,
    predict,
)
from tests.support.observing import install, token_in

PROJECTS, CHANGES = 7, 7
MANY_PROJECTS, MANY_CHANGES = 110, 20
"""The latter ones times each other are more than 2,000."""


@pytest.fixture(autouse=True, params=[hash_first, pack_at_once])
def _observing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    request.param(monkeypatch)


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory, where there is such: thousands of stores come and go."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="pybuild-test-", dir=memory) as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture(scope="module")
def layouts() -> Iterator[Path]:
    """Two versions of an image for two architectures, which have the same layers. Everyone may read them."""
    with tempfile.TemporaryDirectory(prefix="pybuild-test-") as made:
        top = Path(made)
        top.chmod(0o755)
        for version in range(2):
            layer = images.layer(images.directory("base"), images.file("base/version", str(version)))
            manifests = []
            for architecture in ("amd64", "arm64"):
                images.write_layout(top / str(version), [layer], architecture=architecture)
                [manifest] = json.loads((top / str(version) / "index.json").read_text())["manifests"]
                manifests.append(manifest | {"platform": {"os": "linux", "architecture": architecture}})
            write_index(top / str(version), manifests)
        yield top


def write_index(layout: Path, manifests: list[dict[str, Any]]) -> None:
    """Let the name ``latest`` of a layout lead to an image for several platforms."""
    kind = "application/vnd.oci.image.index.v1+json"
    index = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": manifests}).encode()
    digest = hashlib.sha256(index).hexdigest()
    (layout / "blobs/sha256" / digest).write_bytes(index)
    named = {"org.opencontainers.image.ref.name": "latest"}
    top = {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(index), "annotations": named}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": [top]}))


Explained = dict[int, list[Explanation]]
"""Explanations of steps by their numbers, one for each platform where these differ."""


@dataclass
class Place:
    """A directory with a project's context and Dockerfile, and the options of its builds."""

    directory: Path
    layouts: Path
    jobs: int = 2

    def options(self, project: Project) -> dict[str, Any]:
        return {
            "platforms": tuple(Platform.parse(f"linux/{one}") for one in project.architectures),
            "contexts": {"base": f"oci-layout://{self.layouts / str(project.base)}:latest"},
            "build_args": project.build_args,
            "hosts": project.hosts,
            "secrets": {"secret": lambda: project.secret},
            "jobs": self.jobs,
        }

    def shop(self, project: Project, store: Path, chance: random.Random) -> Workshop:
        """Write the project; the context's times are of this moment's choice."""
        context = self.directory / "context"
        if context.exists():
            shutil.rmtree(context)
        context.mkdir(parents=True)
        project.write(context)
        age(context, chance)
        return Workshop(store, context)

    def build(self, project: Project, store: Path, chance: random.Random) -> Built:
        shop = self.shop(project, store, chance)
        return shop.build(project.dockerfile(), epoch=project.epoch, **self.options(project))

    def explain(self, project: Project, store: Path, chance: random.Random) -> Explained:
        shop = self.shop(project, store, chance)
        dockerfile = self.directory / "Dockerfile.test"
        dockerfile.write_text(project.dockerfile())
        request: dict[str, Any] = {
            "context": str(shop.context),
            "build_platform": NATIVE,
            "dockerfile": str(dockerfile),
            "epoch": EpochChoice(given=str(project.epoch)),
            **self.options(project),
        }
        with shop.environment(Recording()) as env:
            found = explain(BuildRequest(**request), env)
        explained: Explained = {}
        for one in found:
            if (uid := token_in(one.vertex.name)) is not None:
                explained.setdefault(uid, []).append(one)
        return explained


def steps_of(built: Built) -> dict[int, bool]:
    """Return the steps that the build looked at; True for those that it executed, for whichever platform."""
    found: dict[int, bool] = {}
    for one in built.seen.events:
        if isinstance(one, VertexCompleted) and (uid := token_in(one.name)) is not None:
            found[uid] = found.get(uid, False) or not one.cached
    return found


def keys_of(store: Path) -> set[str]:
    """Return the keys of all recorded results."""
    return {one.name for one in (store / "selectors").rglob("*") if one.is_file()}


def keys_made_as(uid: int, place: Place, project: Project, chance: random.Random) -> set[str]:
    """Let another user build a project with a store and files of their own; return the keys."""
    shutil.rmtree(place.directory, ignore_errors=True)
    place.directory.mkdir()
    os.chown(place.directory, uid, uid)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            place.build(project, place.directory / "store", chance)
            status = 0
        finally:
            if status:
                traceback.print_exc()
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "see what was printed"
    return keys_of(place.directory / "store")


def executed(built: Built) -> set[int]:
    return {uid for uid, run in steps_of(built).items() if run}


def seeds(count: int, full: bool, many: int) -> Iterator[int]:
    """Return the seeds of projects; CACHE_MUTATIONS_SEED names a single one, to look at it again."""
    only = os.environ.get("CACHE_MUTATIONS_SEED")
    yield from [int(only)] if only else range(many if full else count)


def tell(explained: Explained) -> str:
    return "\n".join(
        f"{uid}: {one.cause} [{'; '.join(map(str, one.changes))}] below {one.below!r}"
        for uid, several in explained.items()
        for one in several
    )


def judge_explanation(
    original: Project, change: Change, explained: Explained, expected: set[int], *, checkout: bool
) -> None:
    """Fail unless each executed step is a miss that is told by all that differs in it, and by nothing else.

    In another ``checkout`` a step that was changed may be a new one: who is to know that it was another there?
    """
    missed = {uid: found for uid, several in explained.items() if (found := [one for one in several if missing(one)])}
    assert expected <= set(missed), tell(explained)
    reasons = own_reasons(original, change)
    for uid, several in missed.items():
        names = {one.component for explanation in several for one in explanation.changes}
        texts = [str(one) for explanation in several for one in explanation.changes]
        about = f"step {uid}: {names} for {reasons.get(uid)}\n{tell(explained)}"
        causes = {one.cause for one in several}
        if uid in change.new:
            assert causes == {"never"}, about
            continue
        if checkout and uid in change.touched and causes == {"never"}:
            continue
        assert causes <= {"changed", "parent"}, about
        own = reasons[uid]
        assert all(any(name.startswith(one) for name in names) for one in own), about
        if uid in change.touched:
            assert any(re.search(change.told, text) for text in texts), about
        else:
            follows = {one for one in names if one in (PARENT, BASE) or one.startswith(("file ", "files of "))}
            assert all(any(name.startswith(one) for one in own) for name in names - follows), about
            follows = {one.removeprefix("file ") for one in names if re.match("file [^/]", one)}
            assert all(any(name.startswith(one) for name in change.files) for one in follows), about
    if (change.files or change.base) and expected:
        texts = [str(one) for uid in expected for explanation in explained[uid] for one in explanation.changes]
        assert any(re.search(change.told, text) for text in texts), f"nothing tells {change.told!r}\n{tell(explained)}"


def missing(one: Explanation) -> bool:
    return one.cause != "hit"


def test_a_change_reaches_what_depends_on_it(work: Path, layouts: Path, full: bool) -> None:
    count = 0
    for seed in seeds(PROJECTS, full, MANY_PROJECTS):
        chance = random.Random(seed)
        project = generate(chance)
        known, place = work / f"known-{seed}", Place(work / "place", layouts)
        original = place.build(project, known, chance)
        assert all(steps_of(original).values())
        assert executed(place.build(project, known, chance)) == set()
        before = keys_of(known)
        for number in range(MANY_CHANGES if full else CHANGES):
            change = change_meaning(chance, project)
            about = (
                f"seed {seed}, change {number}: {change.name}\n{project.dockerfile()}---\n{change.project.dockerfile()}"
            )
            warm, cold = work / "warm", work / "cold"
            shutil.copytree(known, warm, symlinks=True)
            # Where a project lies makes it another one to explanations, as on another machine.
            checkout = Place(work / "checkout", layouts)
            there = chance.choice([place, checkout])
            explained = there.explain(change.project, warm, chance)
            assert keys_of(warm) == before, about
            fresh = place.build(change.project, cold, chance)
            rebuilt = place.build(change.project, warm, chance)
            looked = set(steps_of(fresh))
            expected = predict(project, change) & looked
            assert executed(rebuilt) == expected, about
            assert rebuilt.digest == fresh.digest, about
            assert expected == set() or keys_of(cold) - before, about
            try:
                judge_explanation(project, change, explained, expected, checkout=there is checkout)
            except AssertionError as error:
                raise AssertionError(f"{about}\n{error}") from error
            shutil.rmtree(warm)
            shutil.rmtree(cold)
            count += 1
        shutil.rmtree(known)
    assert count


def test_what_means_nothing_reaches_no_step(
    work: Path, layouts: Path, full: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each change comes with another place, other times and owners, another home, umask and number of jobs.

    Root tries another user, too.
    """
    for seed in seeds(PROJECTS, full, MANY_PROJECTS // 4):
        chance = random.Random(seed)
        project = generate(chance)
        known = work / f"known-{seed}"
        first = Place(work / "first", layouts)
        first.build(project, known, chance)
        before = keys_of(known)
        if os.geteuid() == 0:
            assert keys_made_as(1234, Place(work / "user", layouts), project, chance) == before, f"seed {seed}"
        for number in range(CHANGES):
            way, changed = change_nothing(chance, project)
            about = f"seed {seed}, change {number}: {way}\n{project.dockerfile()}---\n{changed.dockerfile()}"
            other = Place(work / "other" / str(number), layouts, jobs=chance.randint(1, 4))
            monkeypatch.setenv("HOME", str(work / f"home-{number}"))
            umask = os.umask(chance.choice([0o077, 0o022, 0o002]))
            try:
                assert executed(other.build(changed, known, chance)) == set(), about
                assert keys_of(known) == before, about
                # A machine that knows nothing finds the same keys: they can be shared.
                elsewhere = work / "elsewhere"
                other.build(changed, elsewhere, chance)
                assert keys_of(elsewhere) == before, about
            finally:
                os.umask(umask)
            shutil.rmtree(elsewhere)
        shutil.rmtree(known)
