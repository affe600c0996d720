"""The CI recipes of docs/caching.md and the files in docs/ci, executed as they stand: only host names and the systems'
variables are ours. The files are what the schemas of the systems allow, too.

Of each: a protected build writes the cache; a merge request on a fresh machine finds everything there and writes
nothing, whatever it changes; and with its own account it could not write if it tried.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import registry as registries
from tests.support import tokenserver
from tests.support.cisystems import ALL, GitHub, GitLab, Kubernetes, Site, Tekton, done, exercise, steps, warnings
from tests.support.cli import CHECKOUT
from tests.support.commands import run
from tests.support.need import need
from tests.support.registry import TestRegistry
from tests.support.tokenserver import TokenServer

PAGE = (CHECKOUT / "docs/caching.md").read_text()
FILES = {
    "GitLab CI": "docs/ci/gitlab-ci.yml",
    "GitHub Actions": "docs/ci/github-workflow.yml",
    "Tekton": "docs/ci/tekton-task.yaml",
    "Kubernetes Jobs": "docs/ci/kubernetes-job.yaml",
}
CHECKS = {
    "GitLab CI": ("check-jsonschema", "--builtin-schema", "vendor.gitlab-ci"),
    "GitHub Actions": ("check-jsonschema", "--builtin-schema", "vendor.github-workflows"),
    "Tekton": ("check-jsonschema", "--schemafile", CHECKOUT / "testdata/schemas/tekton-task.json"),
    "Kubernetes Jobs": ("kubernetes-validate", "--strict"),
}


def recipes(page: str) -> dict[str, Any]:
    """Return the YAML blocks by their headings. Each must be there, and be one."""
    part = page.partition("\n## Recipes\n")[2].partition("\n## ")[0]
    found = {}
    for section in part.split("\n### ")[1:]:
        (text,) = re.findall(r"^```yaml\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
        found[section.partition("\n")[0]] = yaml.safe_load(text)
    return found


def files() -> dict[str, Any]:
    """Return the files by the systems they are for."""
    return {system: yaml.safe_load((CHECKOUT / name).read_text()) for system, name in FILES.items()}


def test_every_recipe_is_executed_here() -> None:
    assert recipes(PAGE).keys() == SYSTEMS.keys()
    assert {f"docs/ci/{one.name}" for one in (CHECKOUT / "docs/ci").iterdir()} == {*FILES.values()}
    assert PAGE.count("```yaml") == len(SYSTEMS)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestRegistry, TokenServer]]:
    folder = tmp_path_factory.mktemp("recipes")
    with tokenserver.serve(folder / "tokens") as tokens, registries.serve(folder / "r", token=tokens) as registry:
        yield registry, tokens


@pytest.fixture
def site(served: tuple[TestRegistry, TokenServer], tmp_path: Path, request: pytest.FixtureRequest) -> Site:
    registry, tokens = served
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[-60:].strip("-")
    made = Site(registry, tokens, tmp_path, f"{name}/app", f"{name}/app/cache")
    made.change("1")
    return made


SYSTEMS: dict[str, Any] = {
    "GitLab CI": GitLab,
    "GitHub Actions": GitHub,
    "Tekton": Tekton,
    "Kubernetes Jobs": Kubernetes,
}


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_file_is_what_its_system_understands(system: str, tmp_path: Path) -> None:
    program, *words = CHECKS[system]
    checker = Path(sys.executable).with_name(str(program))
    need(checker.exists(), f"needs {program}, of the development tools")
    given = tmp_path / "given.yaml"
    for text in ((CHECKOUT / FILES[system]).read_text(), yaml.safe_dump(recipes(PAGE)[system], sort_keys=False)):
        given.write_text(text if system != "GitHub Actions" or "jobs" in text else _workflow(text))
        run([checker, *words, given])


def _workflow(job: str) -> str:
    """Return a workflow of a recipe that is a job without a machine."""
    return yaml.safe_dump({"on": "push", "jobs": {"image": {"runs-on": "ubuntu-24.04", **yaml.safe_load(job)}}})


@pytest.mark.parametrize("origin", ["page", "file"])
@pytest.mark.parametrize("system", SYSTEMS)
def test_merge_requests_read_and_protected_branches_write(site: Site, system: str, origin: str) -> None:
    job = SYSTEMS[system]((recipes(PAGE) if origin == "page" else files())[system])
    exercise(site, job)
    before, mark = site.entries(), site.registry.mark()
    site.change("of a stranger")
    tried = job.intruder(site, "z")
    assert site.entries() == before
    assert not [one for one in site.writes(mark) if "/manifests/" in one]
    assert "will not be written" in tried.stderr or tried.returncode != 0


@pytest.mark.parametrize("origin", ["page", "file"])
def test_the_scheduled_job_prunes_the_cache(site: Site, origin: str) -> None:
    recipe = (recipes(PAGE) if origin == "page" else files())["GitLab CI"]
    job = GitLab(recipe)
    done(job(site, "protected", "a"))
    kept = site.entries()
    said = done(job(site, "schedule", "b"))
    assert warnings(said) == []
    assert site.entries() == kept
    (words,) = recipe["prune-cache"]["script"]
    recipe["prune-cache"]["script"] = [words.replace("--max-age 30d", "--max-age 0s")]
    done(GitLab(recipe)(site, "schedule", "c"))
    assert kept - site.entries(), "its account may write"


MUTANTS = [
    ("GitLab CI", '--cache-from "$CACHE" -t "$CI_REGISTRY_IMAGE/mr', '-t "$CI_REGISTRY_IMAGE/mr'),
    ("GitLab CI", ' --cache-to "type=registry,ref=$CACHE,mode=max,ignore-error=true" -t', " -t"),
    ("GitLab CI", '--cache-from "$CACHE" -t', '--cache-to "$CACHE" --cache-from "$CACHE" -t'),
    ("GitLab CI", "CACHE_USER: cache-writer, ", ""),
    ("GitHub Actions", '"push true"', '"push false"'),
    ("GitHub Actions", '"$GITHUB_EVENT_NAME $GITHUB_REF_PROTECTED" = ', '"push" != '),
    ("GitHub Actions", 'pybuild --cache-from "$IMAGE/cache"', "pybuild"),
    ("GitHub Actions", "(--push --cache-to", "(--cache-to"),
    ("GitHub Actions", "packages: write }      #", "packages: read }      #"),
    ("GitHub Actions", "persist-credentials: false", "persist-credentials: true"),
    ("Tekton", 'default: "false"', 'default: "true"'),
    ("Tekton", "mode=max,ignore-error=true", "mode=maximum"),
    ("Tekton", 'set -- --cache-from "$CACHE"', "set --"),
    ("Kubernetes Jobs", "args: [--cache-from, $(CACHE), ", "args: ["),
    ("Kubernetes Jobs", "ref=$(CACHE),", "ref=$(IMAGE)-cache,"),
]


@pytest.mark.parametrize(("system", "old", "new"), MUTANTS, ids=range(len(MUTANTS)))
def test_a_recipe_that_is_wrong_is_found_out(site: Site, system: str, old: str, new: str) -> None:
    """What the test above holds for right must not be right whatever the page says."""
    assert old in PAGE
    with pytest.raises((AssertionError, FileNotFoundError)):
        exercise(site, SYSTEMS[system](recipes(PAGE.replace(old, new))[system]))


def test_kanikos_cache_repo(site: Site) -> None:
    """One repository for several projects, by the words of the table."""
    (line,) = [line for line in PAGE.splitlines() if "--cache=true --cache-repo REPO`" in line]
    words = re.findall("`([^`]+)`", line)[1].replace("REPO", f"{site.registry.host}/{site.cache}").split()
    secret = site.login("a", "builder", {f"{site.project}*": ALL})
    for number, text in enumerate(("one", "two")):
        site.change(text)
        assert steps(done(site.run(f"m{number}", [*words, "."], secret))) == (0, 2)
    for number, text in enumerate(("one", "two")):
        site.change(text)
        assert steps(done(site.run(f"n{number}", [*words, "."], secret))) == (2, 0)
    assert len(site.entries()) == 2
