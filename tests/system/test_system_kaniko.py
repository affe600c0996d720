"""Builds with an executor's flags, pushed to a registry and compared with what our own command makes."""

from __future__ import annotations

import itertools
import json
import re
import shlex
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.support import githttp
from tests.support import registry as registries
from tests.support.certificates import make_authority
from tests.support.cli import CHECKOUT, digest_of, environment, pybuild, write_context
from tests.support.commands import run
from tests.support.images import read_image
from tests.support.need import need_root, need_tool
from tests.support.registry import TestRegistry
from tests.support.users import User

_NUMBERS = itertools.count()
DOCKERFILE = "FROM scratch AS first\nCOPY f /f\nFROM scratch\nARG A\nENV A=$A\nCOPY --from=first /f /g\nCOPY sub /sub\n"
FROM = "FROM scratch\nCOPY Dockerfile /\n"
EPOCH = {"SOURCE_DATE_EPOCH": "1700000000"}


@dataclass
class Place:
    """A context, a repository nobody else uses, and stores."""

    root: Path
    registry: TestRegistry
    repository: str

    @property
    def name(self) -> str:
        return f"{self.registry.host}/{self.repository}"

    def kaniko(
        self, *flags: str, store: str = "theirs", status: int = 0, stdin: Path | None = None, **variables: str | None
    ) -> subprocess.CompletedProcess[str]:
        return pybuild(
            *("kaniko", *flags),
            root=self.root / store,
            status=status,
            env={**EPOCH, **variables},
            cwd=self.root,
            stdin=stdin,
        )

    def native(self, *words: str) -> str:
        return digest_of(pybuild(*words, root=self.root / "ours", env=EPOCH, cwd=self.root))

    def pushed(self, tag: str) -> str:
        return self.registry.tags(self.repository)[tag]


@pytest.fixture
def place(tmp_path: Path, registry: TestRegistry) -> Place:
    write_context(tmp_path / "context", DOCKERFILE, {"f": "1", "sub/x": "2"})
    return Place(tmp_path, registry, f"kaniko/{next(_NUMBERS)}")


def test_the_same_image_under_every_destination(place: Place) -> None:
    flags = ("--context=dir://context", "--destination", f"{place.name}:1", "-d", f"{place.name}:2", "--build-arg=A=b")
    done = place.kaniko(*flags, "--label", "k=v", "--use-new-run", "--cleanup", "--snapshot-mode=redo")
    native = place.native("--build-arg", "A=b", "--label", "k=v", "./context")
    assert digest_of(done) == place.pushed("1") == place.pushed("2") == native
    assert f"the same as pybuild --build-arg A=... -t {place.name}:1 -t {place.name}:2 --push" in done.stderr


def test_what_is_shown_does_the_same(place: Place) -> None:
    done = place.kaniko("-c", "context", "-f", "context/Dockerfile", "-d", f"{place.name}:a", "--target", "first")
    (line,) = re.findall("the same as (.*)", done.stderr)
    command, *words = shlex.split(line)
    assert command == "pybuild"
    assert digest_of(pybuild(*words, root=place.root / "shown", env=EPOCH, cwd=place.root)) == place.pushed("a")


def archive(place: Place) -> Path:
    path = place.root / "c.tar.gz"
    with tarfile.open(path, "w:gz") as target:
        target.add(place.root / "context", arcname=".")
    return path


def test_archives(place: Place) -> None:
    path = archive(place)
    wanted = place.native("./context")
    assert digest_of(place.kaniko("-c", f"tar://{path}", "-d", f"{place.name}:1", store="a")) == wanted
    assert digest_of(place.kaniko("-c", "tar://stdin", "-d", f"{place.name}:2", store="b", stdin=path)) == wanted
    assert place.pushed("1") == place.pushed("2") == wanted
    done = place.kaniko("-c", "tar://nosuch.tgz", "--no-push", status=66)
    assert "cannot read nosuch.tgz" in done.stderr


def test_a_projects_file_changes_nothing(place: Place) -> None:
    """Nor do its mistakes, nor what it must not say."""
    wanted = place.native("./context")
    for text in ("[build]\nlabels = { x = 'y' }\nno-cache = true\n", "[build]\npush = true\n", "[[["):
        (place.root / "context/pybuild.toml").write_text(text)
        (place.root / "context/.dockerignore").write_text("pybuild.toml\n")
        done = place.kaniko("-c", "context", "-d", f"{place.name}:1")
        assert digest_of(done) == place.pushed("1") == wanted
        assert "context/pybuild.toml is not read" in done.stderr
    done = place.kaniko("-c", "context", "-d", f"{place.name}:1", "--", "--no-project-config=false", status=64)
    assert "not TOML" in done.stderr


def test_nothing_is_pushed_that_should_not_be(place: Place) -> None:
    place.kaniko("-c", "context", "-d", f"{place.name}:1", "--no-push", PYBUILD_PUSH="true")
    assert place.registry.tags(place.repository) == {}


def test_a_dry_run(place: Place) -> None:
    flags = ("-c", "context", "-d", f"{place.name}:1", "--digest-file", "new/digest", "--image-name-with-digest-file=n")
    done = place.kaniko(*flags, "--dryrun")
    assert "the same as pybuild explain ./context" in done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines() if line[:1] != " "] == ["MISS"] * 3
    assert place.registry.tags(place.repository) == {}
    assert not (place.root / "new").exists()
    assert not (place.root / "n").exists()
    place.kaniko(*flags)
    assert "MISS" not in place.kaniko(*flags, "--dryrun=true").stdout


def test_outputs_and_files(place: Place) -> None:
    done = place.kaniko(
        *("-c", "context", "-d", f"{place.name}:1", "-d", f"{place.name}:2", "--no-push", "--tar-path=o.tar"),
        *("--oci-layout-path", "layout", "--digest-file", "new/folder/digest"),
        *("--image-name-with-digest-file=names", "--image-name-tag-with-digest-file", "tagged"),
    )
    digest = digest_of(done)
    assert (place.root / "new/folder/digest").read_text() == digest
    assert (place.root / "names").read_text() == f"{place.name}@{digest}\n" * 2
    assert (place.root / "tagged").read_text() == f"{place.name}:1@{digest}\n{place.name}:2@{digest}\n"
    assert read_image(place.root / "layout").digest == digest
    with tarfile.open(place.root / "o.tar") as stored:
        manifest = json.loads(stored.extractfile("manifest.json").read())  # type: ignore[union-attr]  # it is a file
    assert manifest[0]["RepoTags"] == [f"{place.name}:1", f"{place.name}:2"]
    assert place.registry.tags(place.repository) == {}


def test_files_are_written_for_builds_that_succeed(place: Place) -> None:
    (place.root / "context/Dockerfile").write_text("FROM scratch\nCOPY nosuch /\n")
    done = place.kaniko("-c", "context", "-d", "a", "--no-push", "--image-name-with-digest-file=names", status=66)
    assert "nosuch" in done.stderr
    assert not (place.root / "names").exists()


def steps(done: subprocess.CompletedProcess[str]) -> tuple[int, int]:
    """Return how many steps were cached, and how many executed."""
    return done.stderr.count(" CACHED"), len(re.findall(r"^#\d+ DONE", done.stderr, re.MULTILINE))


def test_the_cache(place: Place) -> None:
    flags = ("-c", "context", "-d", f"{place.name}:1", "--cache=true", "--cache-ttl=24h")
    assert steps(place.kaniko(*flags, store="a")) == (0, 3)
    assert place.registry.tags(f"{place.repository}/cache")
    done = place.kaniko(*flags, "--no-push-cache", store="b")
    assert steps(done) == (3, 0)
    assert "--cache-ttl is left out: entries do not expire" in done.stderr
    assert steps(place.kaniko(*flags[:-2], "--cache=false", store="b")) == (0, 3)
    local = ("-c", "context", "--no-push", "--cache", "--cache-repo", f"oci:{place.root}/layers")
    assert steps(place.kaniko(*local, store="c")) == (0, 3)
    assert steps(place.kaniko(*local, store="d")) == (3, 0)


def test_variables_are_an_executors(place: Place) -> None:
    place.kaniko("-c", "context", "-d", f"{place.name}:1", KANIKO_NO_PUSH="true")
    assert place.registry.tags(place.repository) == {}
    config = place.root / "k/.docker/config.json"
    config.parent.mkdir(parents=True)
    config.write_text("{}")
    done = place.kaniko("-c", "context", "-d", f"{place.name}:1", KANIKO_DIR=f"{place.root}/k", DOCKER_CONFIG=None)
    assert f"the same as DOCKER_CONFIG={place.root}/k/.docker pybuild -t" in done.stderr
    assert place.pushed("1") == digest_of(done)


def test_repositories(place: Place, tmp_path: Path) -> None:
    """One commit, its branch, a part of it, with the accounts that an executor takes; ``.git`` is there, as there."""
    dockerfile = "FROM scratch\nCOPY .git/HEAD f /\n"
    folder = githttp.repository(write_context(tmp_path / "served/r.git", dockerfile, {"f": "1", "s/Dockerfile": FROM}))
    commit = run(["git", "-C", folder, "rev-parse", "HEAD"]).stdout.strip()
    with githttp.serve(tmp_path / "served", "me:s3cret") as (host, _):
        token = {"GIT_PULL_METHOD": "http", "GIT_USERNAME": "me", "GIT_PASSWORD": "s3cret"}
        found = {}
        for number, mark in enumerate(("", "#refs/heads/main", f"#refs/heads/main#{commit}")):
            done = place.kaniko("-c", f"git://{host}/r.git{mark}", "-d", f"{place.name}:{number}", store="g", **token)
            assert "s3cret" not in done.stderr + done.stdout
            found[number] = place.pushed(str(number))
        assert found[0] == found[1]
        done = place.kaniko("-c", f"git://me:s3cret@{host}/r", "--git=branch=main", "--no-push", GIT_PULL_METHOD="http")
        assert digest_of(done) == found[0]
        part = place.kaniko("-c", f"git://{host}/r.git", "--context-sub-path=s", "--no-push", **token)
        assert digest_of(part) != found[0]
        assert place.kaniko("-c", f"git://{host}/nosuch.git", "--no-push", status=(66, 75), **token)


def test_errors_keep_their_status_and_secrets_stay_hidden(place: Place) -> None:
    assert "hint: add --destination" in place.kaniko("-c", "context", status=64).stderr
    done = place.kaniko("-c", "context", "--no-push", "--build-arg", "TOKEN=s3cret")
    assert "--build-arg TOKEN=... --push=false ./context" in done.stderr
    assert "s3cret" not in done.stderr
    quiet = place.kaniko("-c", "context", "--no-push", "--verbosity=error", "--single-snapshot")
    assert (
        quiet.stderr
        == "warning: --single-snapshot is left out: each instruction has its own layer; the files are the same\n"
    )


def test_a_file_that_is_mounted_is_written_to(place: Place) -> None:
    """As /dev/termination-log is in pods: it can be neither removed nor replaced."""
    need_root("needs root: a mount")
    for name in ("behind", "log of it"):
        (place.root / name).write_text("of an earlier container, longer than a digest " * 9)
    program = f"{shlex.quote(sys.executable)} -m builder.cli.main"
    script = f"""
    mount --bind behind 'log of it'
    {program} kaniko -c context --no-push --digest-file 'log of it' -- --metadata-file 'log of it.json'
    {program} -o type=oci,dest='log of it' context >/dev/null
    tar -tf 'log of it' >/dev/null
    {program} --digest-file 'log of it' context
    """
    done = subprocess.run(
        [need_tool("unshare"), "--mount", "sh", "-e", "-c", script],
        env=environment(place.root / "store", EPOCH), cwd=place.root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert (place.root / "behind").read_text() == first == second
    assert not (place.root / "log of it").read_text().startswith("sha256:")


def test_a_file_in_a_folder_of_others_is_written_to(place: Place, plain_user: User) -> None:
    need_root("needs root: files of others")
    folder = plain_user.home / "of-root"
    folder.mkdir(mode=0o755)
    (folder / "log").write_text("of an earlier container, longer than a digest " * 9)
    (folder / "log").chmod(0o666)
    context = write_context(plain_user.home / "context", "FROM scratch\nCOPY f /\n", {"f": "1"})
    done = plain_user.pybuild("kaniko", "-c", str(context), "--no-push", "--digest-file", str(folder / "log"))
    assert (folder / "log").read_text() == done.stdout.strip()


def test_steps_of_run(place: Place, busybox_image: str) -> None:
    """On a registry's base, through a map and a mirror; a step that fails ends the command with its own status."""
    need_root("needs root: RUN")
    text = "FROM base.example/busybox:latest\nRUN mkdir /made && echo 1 >/made/f && rm -rf /made/nosuch\nRUN exit 7\n"
    write_context(place.root / "run", text.replace("RUN exit 7\n", ""))
    maps = ("--registry-map", f"base.example={place.registry.host};base.example=127.0.0.1:1")
    done = place.kaniko("-c", "run", "-d", f"{place.name}:1", *maps, "--skip-default-registry-fallback")
    ours = ("--registry-map", f"base.example={place.registry.host}")
    assert digest_of(done) == place.pushed("1") == place.native(*ours, "./run")
    write_context(place.root / "run", text)
    done = place.kaniko("-c", "run", "-d", f"{place.name}:2", *maps, status=7)
    assert "2" not in place.registry.tags(place.repository)


def test_certificates(place: Place) -> None:
    authority = make_authority(place.root / "authority")
    with registries.serve(place.root / "tls", tls=authority.server(["localhost", "127.0.0.1"])) as registry:
        flags = ("-c", "context", "-d", f"{registry.host}/app:1", "--push-retry=0")
        refused = place.kaniko(*flags, status=(69, 75))
        assert "certificate" in refused.stderr
        digest = digest_of(place.kaniko(*flags, "--registry-certificate", f"{registry.host}={authority.ca_file}"))
        assert registry.tags("app") == {"1": digest}
        again = place.kaniko("-c", "context", "-d", f"{registry.host}/other:1", "--skip-tls-verify")
        assert registry.tags("other") == {"1": digest_of(again)}
        write_context(place.root / "on", f"FROM {registry.host}/app:1\nCOPY Dockerfile /\n")
        place.kaniko("-c", "on", "--no-push", store="fresh", status=(69, 75))
        place.kaniko("-c", "on", "--no-push", "--insecure-pull", store="fresh")


def test_the_job_of_the_page(place: Place) -> None:
    """As it stands, with the account that GitLab gives its jobs and no other; the second machine finds the cache."""
    page = (CHECKOUT / "docs/kaniko.md").read_text()
    (block,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    ((command,),) = (job["script"] for job in yaml.safe_load(block).values())
    program = place.root / "bin/pybuild"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nPYTHONPATH={CHECKOUT} exec {sys.executable} -m builder.cli.main "$@"\n')
    program.chmod(0o755)
    with registries.serve(place.root / "gitlab", htpasswd={"gitlab-ci-token": "s3cret"}) as registry:
        for number, (cached, executed) in enumerate(((0, 3), (3, 0))):
            variables = {
                "PATH": f"{program.parent}:/usr/bin:/bin",
                "HOME": str(place.root / f"home{number}"),
                "PYBUILD_ROOT": str(place.root / f"store{number}"),
                "CI_PROJECT_DIR": str(place.root / "context"),
                "CI_REGISTRY": registry.host,
                "CI_REGISTRY_IMAGE": f"{registry.host}/team/app",
                "CI_REGISTRY_USER": "gitlab-ci-token",
                "CI_REGISTRY_PASSWORD": "s3cret",
                "CI_COMMIT_SHA": f"c0ffee{number}",
            }
            done = subprocess.run(
                ["sh", "-e", "-c", command], env=variables, cwd=place.root, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
            assert "s3cret" not in done.stdout + done.stderr
            assert steps(done) == (cached, executed)
            assert registry.tags("team/app")[f"c0ffee{number}"] == digest_of(done)
