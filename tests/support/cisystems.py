"""CI systems, as far as a machine without them can be one: they run recipes on machines that share only a registry."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from builder import __version__
from tests.support.cli import CHECKOUT, write_context
from tests.support.registry import TestRegistry
from tests.support.tokenserver import TokenServer

PULL, ALL = {"pull"}, {"pull", "push", "delete"}
Event = Literal["merge request", "protected", "schedule"]
_WHEEL = f"https://files.example/pybuild_oci-{__version__}-py3-none-any.whl"
PREPARATIONS = (f"pipx install {_WHEEL}", "sudo sysctl -q -w kernel.apparmor_restrict_unprivileged_userns=0")
"""Steps of a workflow that prepare a machine of GitHub's; here it is prepared."""


(HOME,) = re.findall(r"^ENV .* HOME=(\S+)", (CHECKOUT / "Dockerfile").read_text(), re.MULTILINE)
"""Of the user in the image: the store is there."""


# --- a registry that knows who may do what, machines, and what became of a job


@dataclass
class Site:
    """One project: its sources, its cache, its accounts, and as many machines as it likes."""

    registry: TestRegistry
    tokens: TokenServer
    root: Path
    project: str
    cache: str

    @property
    def context(self) -> Path:
        return self.root / "context"

    def account(self, name: str, rights: Mapping[str, set[str]]) -> str:
        """Make an account; return its password."""
        self.tokens.add_account(name, f"secret of {name}", {**rights})
        return f"secret of {name}"

    def change(self, text: str) -> None:
        write_context(self.context, "FROM scratch\nCOPY f /f\nCOPY --link f /g\n", {"f": text})

    def run(
        self, machine: str, commands: str | Sequence[str], variables: Mapping[str, str], shell: Sequence[str] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run a script, or pybuild with arguments, on a machine that has nothing but what the recipe gives it."""
        home = self.root / machine
        (home / "bin").mkdir(parents=True, exist_ok=True)
        program = home / "bin/pybuild"
        program.write_text(f'#!/bin/sh\nPYTHONPATH={CHECKOUT} exec {sys.executable} -m builder.cli.main "$@"\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        own = {"PATH": f"{program.parent}:/usr/bin:/bin", "HOME": str(home), "PYBUILD_ROOT": str(home / "store")}
        words = [*shell, commands] if isinstance(commands, str) else [program, *commands]
        return subprocess.run(
            words, env={**own, **variables}, cwd=self.context, capture_output=True, text=True, check=False
        )

    def login(self, machine: str, name: str, rights: Mapping[str, set[str]]) -> dict[str, str]:
        """Return the secret that a cluster mounts: Docker's file with one account."""
        word = b64encode(f"{name}:{self.account(name, rights)}".encode()).decode()
        path = self.root / machine / ".docker/config.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"auths": {self.registry.host: {"auth": word}}}))
        return {"DOCKER_CONFIG": str(path.parent)}

    def entries(self) -> set[str]:
        return set(self.registry.tags(self.cache))

    def writes(self, since: int) -> list[str]:
        """Return the requests that changed the cache."""
        found = [one for one in self.registry.requests(since) if one.path.startswith(f"/v2/{self.cache}/")]
        return [f"{one.method} {one.path}" for one in found if one.method not in ("GET", "HEAD") and one.status < 400]


def steps(done: subprocess.CompletedProcess[str]) -> tuple[int, int]:
    """Return how many steps were found, and how many executed."""
    return len(re.findall(r"^#\d+ CACHED$", done.stderr, re.MULTILINE)), len(
        re.findall(r"^#\d+ DONE ", done.stderr, re.MULTILINE)
    )


def warnings(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return what was warned about, but for where login keeps a password."""
    found = re.findall(r"^.*warn.*$", done.stderr, re.MULTILINE | re.IGNORECASE)
    return [line for line in found if "the password is in" not in line]


Job = Callable[[Site, Event, str], subprocess.CompletedProcess[str]]


def exercise(site: Site, job: Job) -> None:
    """Let a project live for two commits and two merge requests. Raises AssertionError for a recipe that is wrong."""
    assert steps(done(job(site, "protected", "a"))) == (0, 2)
    first = site.entries()
    assert first, "a protected branch writes the cache"
    assert site.registry.tags(site.project), "and pushes the image"
    mark = site.registry.mark()
    found = done(job(site, "merge request", "b"))
    assert steps(found) == (2, 0), "a merge request reads it"
    assert warnings(found) == []
    site.change("2")
    assert steps(done(job(site, "merge request", "c"))) == (0, 2)
    assert (site.writes(mark), site.entries()) == ([], first), "and does not write it"
    assert steps(done(job(site, "protected", "d"))) == (0, 2)
    assert site.entries() > first
    assert steps(done(job(site, "protected", "e"))) == (2, 0)
    assert steps(done(job(site, "merge request", "f"))) == (2, 0)


def done(ended: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    assert ended.returncode == 0, f"{ended.args}\n{ended.stdout}{ended.stderr}"
    assert "Traceback" not in ended.stderr, ended.stderr
    return ended


# --- the systems


class GitLab:
    """Picks the jobs of a pipeline by their rules and runs them as a runner does: one script, ended by an error."""

    def __init__(self, recipe: Mapping[str, Any]) -> None:
        self._jobs = {name: one for name, one in recipe.items() if "script" in one}
        stages = recipe.get("stages", ["build", "test", "deploy"])
        assert {self._job(name).get("stage", "test") for name in self._jobs} <= {*stages}

    def __call__(self, site: Site, event: Event, machine: str) -> subprocess.CompletedProcess[str]:
        site.cache = f"{site.project.partition('/')[0]}/app-cache"
        own = self._predefined(site, event)
        (name,) = [name for name in self._jobs if self._runs(name, own)]
        return self._start(site, name, own, machine)

    def intruder(self, site: Site, machine: str) -> subprocess.CompletedProcess[str]:
        """A merge request brings the script of protected branches along; their variables it does not get."""
        own = self._predefined(site, "merge request")
        return self._start(site, "build-image-protected", {**own, "CI_COMMIT_REF_SLUG": "mine"}, machine)

    def _predefined(self, site: Site, event: Event) -> dict[str, str]:
        image = f"{site.registry.host}/{site.project}"
        variables = {
            "CI_REGISTRY": site.registry.host,
            "CI_REGISTRY_IMAGE": image,
            "CI_JOB_TOKEN": site.account("gitlab-ci-token", {site.project: ALL, f"{site.project}/*": ALL}),
            "CACHE_READ_TOKEN": site.account("cache-reader", {site.cache: PULL}),
        }
        secret = site.account("cache-writer", {site.cache: ALL})
        if event == "merge request":
            return {**variables, "CI_PIPELINE_SOURCE": "merge_request_event", "CI_MERGE_REQUEST_IID": "7"}
        source = "push" if event == "protected" else "schedule"
        protected = {"CI_COMMIT_REF_PROTECTED": "true", "CI_COMMIT_REF_SLUG": "main", "CACHE_WRITE_TOKEN": secret}
        return {**variables, **protected, "CI_PIPELINE_SOURCE": source}

    def _job(self, name: str) -> dict[str, Any]:
        own = self._jobs[name]
        below = self._job(own["extends"]) if "extends" in own else {}
        return {**below, **own, "variables": {**below.get("variables", {}), **own.get("variables", {})}}

    def _runs(self, name: str, variables: Mapping[str, str]) -> bool:
        (rule,) = self._job(name)["rules"]
        met = []
        for part in rule["if"].split(" && "):
            variable, sign, value = re.fullmatch(r'\$(\w+) (==|!=) "(\w*)"', part).groups()
            met.append((variables.get(variable) == value) == (sign == "=="))
        return all(met)

    def _start(
        self, site: Site, name: str, variables: Mapping[str, str], machine: str
    ) -> subprocess.CompletedProcess[str]:
        job = self._job(name)
        assert job["image"]["name"].startswith("registry.example/")
        given = dict(variables)
        for key, value in job["variables"].items():
            text = value.replace("/team/", f"/{site.project.partition('/')[0]}/")
            given[key] = re.sub(r"\$(\w+)", lambda one: given.get(one[1], ""), text)
        return site.run(machine, "\n".join([*job["before_script"], *job["script"]]), given, ["bash", "-e", "-c"])


class GitHub:
    """Replaces the expressions of a job and runs the steps that are scripts."""

    def __init__(self, recipe: Mapping[str, Any]) -> None:
        """A recipe is a whole workflow, with all it takes to prepare a machine, or a job of one."""
        self._job = recipe["jobs"]["image"] if "jobs" in recipe else recipe
        self._rights = ALL if recipe["permissions"] == {"contents": "read", "packages": "write"} else PULL
        self._preparations = PREPARATIONS if "jobs" in recipe else PREPARATIONS[:1]

    def __call__(self, site: Site, event: Event, machine: str) -> subprocess.CompletedProcess[str]:
        actor, rights = ("bob", PULL) if event == "merge request" else ("ann", self._rights)
        known = {
            "vars.REGISTRY": site.registry.host,
            "github.repository": site.project,
            "github.actor": actor,
            "secrets.GITHUB_TOKEN": site.account(actor, {f"{site.project}*": rights}),
        }
        pushed = {"GITHUB_EVENT_NAME": "push", "GITHUB_REF_PROTECTED": "true"}
        asked = {"GITHUB_EVENT_NAME": "pull_request", "GITHUB_REF_PROTECTED": "false"}
        return self._start(site, known, pushed if actor == "ann" else asked, machine)

    def intruder(self, site: Site, machine: str) -> subprocess.CompletedProcess[str]:
        """A pull request says that it is none; its token is what it is."""
        known = {"vars.REGISTRY": site.registry.host, "github.repository": site.project, "github.actor": "bob"}
        known["secrets.GITHUB_TOKEN"] = site.account("bob", {f"{site.project}*": PULL})
        return self._start(site, known, {"GITHUB_EVENT_NAME": "push", "GITHUB_REF_PROTECTED": "true"}, machine)

    def _start(
        self, site: Site, known: Mapping[str, str], variables: Mapping[str, str], machine: str
    ) -> subprocess.CompletedProcess[str]:
        checkout, *before, step = self._job["steps"]
        assert checkout["uses"].partition("@")[0] == "actions/checkout"
        assert checkout["with"] == {"persist-credentials": False}, "or COPY . finds the token in .git/config"
        assert [one["run"] for one in before] == [*self._preparations]
        env = {
            name: re.sub(r"\$\{\{ ([\w.]+) \}\}", lambda one: known[one[1]], value)
            for name, value in step["env"].items()
        }
        script = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c"]
        return site.run(machine, step["run"], {**env, **variables, "GITHUB_SHA": "c0ffee"}, script)


class Tekton:
    """Replaces the variables of a task and runs its step's script, with the secret of a service account."""

    def __init__(self, recipe: Mapping[str, Any]) -> None:
        self._task = recipe

    def __call__(self, site: Site, event: Event, machine: str) -> subprocess.CompletedProcess[str]:
        given = {"write-cache": "true"} if event == "protected" else {}
        ended = self._start(site, event, given, machine)
        assert (site.root / machine / "digest").read_text().startswith("sha256:")
        return ended

    def intruder(self, site: Site, machine: str) -> subprocess.CompletedProcess[str]:
        """A pipeline of a merge request sets the parameter."""
        return self._start(site, "merge request", {"write-cache": "true"}, machine)

    def _start(
        self, site: Site, event: Event, given: Mapping[str, str], machine: str
    ) -> subprocess.CompletedProcess[str]:
        spec = self._task["spec"]
        (step,) = spec["steps"]
        params = {one["name"]: one["default"] for one in spec["params"] if "default" in one}
        params |= {"image": f"{site.registry.host}/{site.project}:1", "cache": f"{site.registry.host}/{site.cache}"}
        params |= given
        assert params.keys() == {one["name"] for one in spec["params"]}
        values = {f"params.{name}": value for name, value in params.items()}
        values |= {f"workspaces.{one['name']}.path": str(site.context) for one in spec["workspaces"]}
        values |= {f"results.{one['name']}.path": str(site.root / machine / one["name"]) for one in spec["results"]}

        def replaced(text: str) -> str:
            return re.sub(r"\$\(([\w.-]+)\)", lambda one: values[one[1]], text)

        assert replaced(step["workingDir"]) == str(site.context)
        mounted(step.get("volumeMounts", []), spec.get("volumes", []))
        env = {one["name"]: replaced(one["value"]) for one in step["env"]}
        secret = site.login(machine, *team(site, event))
        # As Tekton writes it: a script without a first line of its own.
        return site.run(machine, f"set -e\n{replaced(step['script'])}", {**env, **secret}, ["sh", "-c"])


class Kubernetes:
    """Starts the container of a Job as a kubelet does; untrusted ones without ``--cache-to``, as the page says."""

    def __init__(self, recipe: Mapping[str, Any]) -> None:
        self._pod = recipe["spec"]["template"]["spec"]

    def __call__(self, site: Site, event: Event, machine: str) -> subprocess.CompletedProcess[str]:
        return self._start(site, event, machine, write=event == "protected")

    def intruder(self, site: Site, machine: str) -> subprocess.CompletedProcess[str]:
        """An untrusted namespace keeps the option."""
        return self._start(site, "merge request", machine, write=True)

    def _start(self, site: Site, event: Event, machine: str, *, write: bool) -> subprocess.CompletedProcess[str]:
        (container,) = self._pod["containers"]
        places = mounted(container["volumeMounts"], self._pod["volumes"])
        if container.get("securityContext", {}).get("readOnlyRootFilesystem"):
            assert {HOME, "/tmp"} <= places, "nothing else can be written"
        (volume,) = [one for one in self._pod["volumes"] if "secret" in one]
        (mount,) = [one for one in container["volumeMounts"] if one["name"] == volume["name"]]
        (item,) = volume["secret"]["items"]
        assert item["path"] == "config.json"
        secret = site.login(machine, *team(site, event))["DOCKER_CONFIG"]
        here = {"registry.example/team/app": f"{site.registry.host}/{site.project}", mount["mountPath"]: secret}
        env = {}
        for one in container["env"]:
            text = one["value"]
            for old, new in here.items():
                text = text.replace(old, new)
            env[one["name"]] = text
        words = [re.sub(r"\$\((\w+)\)", lambda one: env[one[1]], word) for word in container["args"]]
        assert words[-1] == "https://git.example/team/app.git"
        words[-1] = "."
        if not write:
            place = words.index("--cache-to")
            del words[place : place + 2]
        return site.run(machine, words, env)


def mounted(mounts: Sequence[Mapping[str, Any]], volumes: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return where volumes are mounted, each of them, and the home of the image's user if any is to be written."""
    assert {one["name"] for one in mounts} == {one["name"] for one in volumes}
    places = {one["mountPath"] for one in mounts}
    assert HOME in places or not any("emptyDir" in one for one in volumes)
    return places


def team(site: Site, event: Event) -> tuple[str, dict[str, set[str]]]:
    """Return whose secret a pod has: that of untrusted builds pushes images, but into no cache."""
    if event == "protected":
        return "builder", {f"{site.project}*": ALL}
    return "untrusted", {site.cache: PULL, site.project: ALL}
