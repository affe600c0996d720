"""The law of the cache: a change reaches exactly the steps that depend on it, and one without meaning reaches none.

Projects and changes are generated from a seed that every failure names. Each changed project is built twice, in a store
that knows the original and in an empty one: the first build executes what the model says and nothing else, and both
give the same image. Commands are not run: what stands in for one leaves a file that depends on all that the command can
observe, so that any part that a key forgets shows in the image.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from builder.engine.explaining import Explanation, explain
from builder.engine.request import BuildRequest, EpochChoice
from builder.events import VertexCompleted
from builder.image.platform import Platform
from tests.support import images
from tests.support.builds import NATIVE, Built, Recording, Workshop
from tests.support.mutations import Change, Project, age, change_meaning, change_nothing, generate, predict
from tests.support.observing import install, token_in

PROJECTS, CHANGES = 7, 7
MANY_PROJECTS, MANY_CHANGES = 110, 20
"""The latter ones times each other are more than 2,000."""


@pytest.fixture(autouse=True)
def _observing(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory, where there is such: thousands of stores come and go."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="pybuild-test-", dir=memory) as made:
        yield Path(made)


@pytest.fixture(scope="module")
def layouts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions of an image, for two architectures each: ``VERSION-ARCHITECTURE``."""
    top = tmp_path_factory.mktemp("layouts")
    for version in range(2):
        layer = images.layer(images.directory("base"), images.file("base/version", str(version)))
        for architecture in ("amd64", "arm64"):
            images.write_layout(top / f"{version}-{architecture}", [layer], architecture=architecture)
    return top


@dataclass
class Place:
    """A directory with a project's context and Dockerfile, and the options of its builds."""

    directory: Path
    layouts: Path
    jobs: int = 2

    def options(self, project: Project) -> dict[str, Any]:
        base = self.layouts / f"{project.base}-{project.architecture}"
        return {
            "platforms": (Platform.parse(f"linux/{project.architecture}"),),
            "contexts": {"base": f"oci-layout://{base}:latest"},
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

    def explain(self, project: Project, store: Path, chance: random.Random) -> dict[int, Explanation]:
        """Return the explanations of the steps by their numbers."""
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
        return {uid: one for one in found if (uid := token_in(one.vertex.name)) is not None}


def steps_of(built: Built) -> dict[int, bool]:
    """Return the steps that the build looked at; True for those that it executed."""
    done = [one for one in built.seen.events if isinstance(one, VertexCompleted)]
    return {uid: not one.cached for one in done if (uid := token_in(one.name)) is not None}


def keys_of(store: Path) -> set[str]:
    """Return the keys of all recorded results."""
    return {one.name for one in (store / "selectors").rglob("*") if one.is_file()}


def executed(built: Built) -> set[int]:
    return {uid for uid, run in steps_of(built).items() if run}


def seeds(count: int, full: bool, many: int) -> Iterator[int]:
    """Return the seeds of projects; CACHE_MUTATIONS_SEED names a single one, to look at it again."""
    only = os.environ.get("CACHE_MUTATIONS_SEED")
    yield from [int(only)] if only else range(many if full else count)


def tell(explained: dict[int, Explanation]) -> str:
    return "\n".join(
        f"{uid}: {one.cause} [{'; '.join(map(str, one.changes))}] below {one.below!r}" for uid, one in explained.items()
    )


def judge_explanation(change: Change, explained: dict[int, Explanation], expected: set[int], looked: set[int]) -> None:
    """Fail unless each executed step is a miss, and those that the change was made to are told so."""
    misses = {uid for uid, one in explained.items() if one.cause != "hit"}
    assert expected <= misses, tell(explained)
    assert not {uid for uid in misses if explained[uid].cause in ("asked", "gone")}, tell(explained)
    for uid in change.touched & looked if change.told else ():
        texts = [str(one) for one in explained[uid].changes]
        assert any(change.told in text for text in texts), f"{uid} lacks {change.told!r}\n{tell(explained)}"
    if (change.scope or change.files or change.base or change.platform) and expected:
        texts = [str(one) for uid in expected for one in explained[uid].changes]
        assert any(change.told in text for text in texts), f"nothing tells {change.told!r}\n{tell(explained)}"


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
            explained = place.explain(change.project, warm, chance)
            assert keys_of(warm) == before, about
            fresh = place.build(change.project, cold, chance)
            rebuilt = place.build(change.project, warm, chance)
            looked = set(steps_of(fresh))
            expected = predict(project, change) & looked
            assert executed(rebuilt) == expected, about
            assert rebuilt.digest == fresh.digest, about
            assert expected == set() or keys_of(cold) - before, about
            try:
                judge_explanation(change, explained, expected, looked)
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
    """Each change comes with another place, other times, another home, umask and number of jobs."""
    for seed in seeds(PROJECTS, full, MANY_PROJECTS // 4):
        chance = random.Random(seed)
        project = generate(chance)
        known = work / f"known-{seed}"
        first = Place(work / "first", layouts)
        first.build(project, known, chance)
        before = keys_of(known)
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
