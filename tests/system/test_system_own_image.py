"""pybuild's own image, built by pybuild from the Dockerfile of the checkout, and other images built in it.

The containers are runc's, as a pod has them: uid 1000, a root filesystem that is only read, a volume for the home.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import subprocess
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import registry as registries
from tests.support import tokenserver, users
from tests.support.cisystems import GitLab, Site, done, steps
from tests.support.cli import CHECKOUT, pybuild, write_context
from tests.support.commands import run
from tests.support.images import inflate, read_image
from tests.support.need import machine_cache, need_root, need_tool, public_directory
from tests.support.pods import CAPABILITIES
from tests.support.registry import TestRegistry
from tests.support.rootfs import once

LARGEST = 120 * 1000 * 1000
"""Bytes of all files in the image."""


@dataclass(frozen=True)
class OwnImage:
    """The image, unpacked; ``config`` is what its config says of containers."""

    root: Path
    tar: Path
    config: Mapping[str, Any]
    stored: int


def _wheels() -> Path:
    """Return a directory with what pip installs in the image, fetched once a machine."""
    python = users.public_python()
    wanted = [*users.requirements(), "hatchling>=1.27"]
    target = machine_cache() / f"own-image-wheels-{hashlib.sha256(repr(wanted).encode()).hexdigest()[:12]}"
    with once(target) as missing:
        if missing:
            unfinished = target.with_name(f"{target.name}.{os.getpid()}")
            run([python, "-m", "pip", "download", "--quiet", "--only-binary", ":all:", "--dest", unfinished, *wanted])
            unfinished.rename(target)
    return target


@pytest.fixture(scope="module")
def own_image(debian_layout: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnImage]:
    need_root("needs root: RUN with apt-get")
    # A store that stays: apt-get takes most of the time.
    store = machine_cache() / "own-image-store"
    with public_directory("own-image") as folder:
        (folder / "root").mkdir()
        pybuild(
            *(f"--build-context=debian:bookworm-slim=oci-layout://{debian_layout}:latest", "--tag=pybuild:own"),
            *(f"--build-context=wheels={_wheels()}", "--build-arg=PIP_NO_INDEX=1", "--isolation=root"),
            *("-o", f"type=tar,dest={folder}/root.tar", "-o", f"type=oci,dest={folder}/image.tar", CHECKOUT),
            root=store,
        )
        image = read_image(folder / "image.tar")
        # tar of the system: Python's does not know extended attributes.
        run(["tar", "-xf", folder / "root.tar", "--xattrs", "--xattrs-include=*", "-C", folder / "root"])
        stored = sum(one["size"] for one in image.manifest["layers"])
        yield OwnImage(folder / "root", folder / "root.tar", image.config["config"], stored)


@dataclass(frozen=True)
class Machine:
    """Where containers of the image run. ``home`` and ``workspace`` are volumes."""

    image: OwnImage
    folder: Path

    def run(
        self,
        *command: str | Path,
        hardened: bool = False,
        env: Mapping[str, str] | None = None,
        capabilities: Sequence[str] = CAPABILITIES,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run ``command`` in a container; a ``hardened`` one gives no privileges to anything in it."""
        config = self._config([str(one) for one in command], hardened, env or {}, capabilities)
        (self.folder / "config.json").write_text(json.dumps(config))
        name = f"pybuild-test-own-{os.getpid()}"
        program = [need_tool("runc"), "--root", self.folder / "runc", "run", "--bundle", self.folder, name]
        return run(program, check=check)

    def _config(
        self, command: Sequence[str], hardened: bool, env: Mapping[str, str], capabilities: Sequence[str]
    ) -> dict[str, Any]:
        own = self.image.config
        uid, _, gid = own["User"].partition(":")
        quiet = ["nosuid", "noexec", "nodev"]
        return {
            "ociVersion": "1.0.2",
            "root": {"path": str(self.image.root), "readonly": True},
            "process": {
                "user": {"uid": int(uid), "gid": int(gid)},
                "args": [*command],
                "env": [*own["Env"], *(f"{name}={value}" for name, value in env.items())],
                "cwd": own["WorkingDir"],
                "noNewPrivileges": hardened,
                "capabilities": {"bounding": [] if hardened else [*capabilities]},
            },
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
                {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": quiet},
                {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]},
                {"destination": "/sys", "type": "bind", "source": "/sys", "options": ["rbind", "ro"]},
                _bind(self.folder / "home", "/home/pybuild", "rw"),
                _bind(self.folder / "workspace", "/workspace", "rw"),
                *(_bind(Path(one), one, "ro") for one in ("/etc/hosts", "/etc/resolv.conf")),
            ],
            "linux": {
                "namespaces": [{"type": one} for one in ("pid", "ipc", "uts", "mount")],
                "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list"],
                "readonlyPaths": ["/proc/sys", "/proc/sysrq-trigger"],
            },
        }


def _bind(source: Path, place: str, how: str) -> dict[str, Any]:
    return {"destination": place, "type": "bind", "source": str(source), "options": ["rbind", how]}


@pytest.fixture
def machine(own_image: OwnImage) -> Iterator[Machine]:
    need_tool("runc")
    with public_directory("own-machine") as folder:
        for name in ("home", "workspace"):
            (folder / name).mkdir()
            os.chown(folder / name, 1000, 1000)
        yield Machine(own_image, folder)


def busybox_context(machine: Machine, rootfs: Path, dockerfile: str) -> None:
    folder = write_context(machine.folder / "workspace", f"FROM scratch\nADD rootfs.tar /\n{dockerfile}")
    with tarfile.open(folder / "rootfs.tar", "w") as archive:
        archive.add(rootfs, arcname=".")


def test_it_is_small_and_gives_no_rights(own_image: OwnImage) -> None:
    with tarfile.open(own_image.tar) as archive:
        members = archive.getmembers()
    assert sum(one.size for one in members) < LARGEST
    assert own_image.stored < LARGEST / 2
    assert own_image.config["User"] == "1000:1000"
    assert own_image.config["Entrypoint"] == ["pybuild"]
    assert [one.name for one in members if one.isfile() and one.mode & 0o6000] == []
    writable = [one.name for one in members if one.uid == 1000 or (one.mode & 0o002 and not one.issym())]
    assert sorted(name.strip("./") for name in writable) == ["home/pybuild", "tmp", "var/tmp", "workspace"]
    capable = {one.name for one in members if "SCHILY.xattr.security.capability" in one.pax_headers}
    assert sorted(name.rpartition("/")[2] for name in capable) == ["newgidmap", "newuidmap"]


def test_it_tells_what_it_is_made_of(own_image: OwnImage) -> None:
    """Scanners read the packages there, and licences want their texts to come along."""
    described = {one.name for one in (own_image.root / "var/lib/dpkg/status.d").iterdir()}
    assert {"libc6", "python3.11-minimal", "git", "libssl3"} <= described
    without = [name for name in described if not (own_image.root / "usr/share/doc" / name).exists()]
    assert without == []


def test_no_library_is_missing(machine: Machine) -> None:
    programs = "$(find /usr /opt -name '*.so*' -type f) /usr/bin/git /usr/bin/newuidmap"
    script = f"for one in {programs}; do /lib64/ld-linux-*.so.2 --list $one; done 2>&1 | grep 'not found' | sort -u"
    said = machine.run("sh", "-c", script).stdout
    # What Python's modules for these would need; nothing here imports them.
    spared = (
        "libsqlite3",
        "libreadline",
        "libncurses",
        "libpanel",
        "libtinfo",
        "libgdbm",
        "libdb-5",
        "libnsl",
        "libtirpc",
    )
    assert [line for line in said.splitlines() if not any(one in line for one in spared)] == []


def test_it_starts_and_has_what_scripts_of_ci_systems_use(machine: Machine) -> None:
    assert machine.run("pybuild", "--version").stdout.startswith("pybuild ")
    count = "import ssl; print(len(ssl.create_default_context().get_ca_certs()))"
    script = f"printf %s secret | tr a-z A-Z; git --version; id -u; python3 -c '{count}'"
    secret, uid, authorities = [*machine.run("sh", "-ec", script).stdout.split("\n")[:-1]]
    assert secret.startswith("SECRETgit version 2.")
    assert uid == "1000"
    assert int(authorities) > 100
    compiled = machine.run("python3", "-c", "import ssl; print(ssl.__cached__)")
    assert (machine.image.root / compiled.stdout.strip().lstrip("/")).exists()


@pytest.mark.parametrize("hardened", [False, True], ids=["pod", "hardened"])
def test_another_image_is_built_in_it(
    machine: Machine, busybox_rootfs: Path, registry: TestRegistry, hardened: bool
) -> None:
    own = "" if hardened else "USER 1000\nRUN id -u >/tmp/user\n"
    busybox_context(machine, busybox_rootfs, f"RUN id -u >/who && chown 7:8 /who\n{own}")
    name = f"{registry.host}/own/{'hardened' if hardened else 'pod'}:1"

    done = machine.run(
        "pybuild", "-t", name, "--push", "-o", "type=oci,dest=/home/pybuild/app.tar", ".", hardened=hardened
    )

    mode = "single" if hardened else ""
    assert (f"--isolation={mode}" in done.stderr) if mode else "warning" not in done.stderr
    image = read_image(machine.folder / "home/app.tar")
    assert f"@{image.digest}" in done.stdout
    repository = name.partition("/")[2].removesuffix(":1")
    assert registry.tags(repository) == {"1": image.digest}
    files = {}
    for layer in image.layers:
        with tarfile.open(fileobj=io.BytesIO(inflate(layer))) as archive:
            files |= {one.name.strip("./"): one for one in archive.getmembers()}
    assert (files["who"].uid, files["who"].gid) == (7, 8)
    if not hardened:
        assert files["tmp/user"].uid == 1000


def test_git_contexts_are_cloned(machine: Machine) -> None:
    write_context(machine.folder / "home/source", "FROM scratch\nCOPY f /f\n", {"f": "x"})
    run(["chown", "-R", "1000:1000", machine.folder / "home/source"])
    commands = "cd source && git init -q -b main && git add . && git -c user.name=a -c user.email=a@b commit -qm 1"
    machine.run("sh", "-ec", f"cd && {commands}")
    refused = machine.run("pybuild", "https://localhost:1/team/app.git#main", check=False)
    assert "git ls-remote" in refused.stderr
    assert "unable to access" in refused.stderr, "git has its helper for https"


def test_the_kubernetes_job_of_the_docs_runs(machine: Machine, busybox_rootfs: Path, registry: TestRegistry) -> None:
    """Its container, with its user and the capabilities it may have; only names, and where the sources are, differ."""
    pod = yaml.safe_load((CHECKOUT / "docs/ci/kubernetes-job.yaml").read_text())["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert (
        f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}" == machine.image.config["User"]
    )
    own = f"{registry.host}/job/app"
    env = {one["name"]: one["value"].replace("registry.example/team/app", own) for one in container["env"]}
    words = [re.sub(r"\$\((\w+)\)", lambda found: env[found[1]], word) for word in container["args"]]
    assert words.pop() == "https://git.example/team/app.git"
    busybox_context(machine, busybox_rootfs, "RUN id -u >/who && chown 7:8 /who\nUSER 1000\nRUN id -u >/tmp/user\n")
    allowed = [f"CAP_{name}" for name in container["securityContext"]["capabilities"]["add"]]

    done = machine.run("pybuild", *words, ".", env=env, capabilities=allowed)

    assert "warning" not in done.stderr
    assert registry.tags("job/app").keys() == {"1"}
    assert registry.tags("job/app/cache")


@dataclass
class SiteInImage(Site):
    """A project whose jobs run in containers of the image, with the only shell that it has."""

    machine: Machine

    @property
    def context(self) -> Path:
        return self.machine.folder / "workspace"

    def run(
        self, machine: str, commands: str | Sequence[str], variables: Mapping[str, str], shell: Sequence[str] = ()
    ) -> subprocess.CompletedProcess[str]:
        del machine, shell
        assert isinstance(commands, str)
        return self.machine.run("sh", "-e", "-c", commands, env=variables, check=False)


def test_the_jobs_of_gitlab_run_in_it(machine: Machine, tmp_path: Path) -> None:
    """busybox's shell is enough for the scripts of docs/ci, and accounts are kept where the image has its home."""
    job = GitLab(yaml.safe_load((CHECKOUT / "docs/ci/gitlab-ci.yml").read_text()))
    with tokenserver.serve(tmp_path / "tokens") as tokens, registries.serve(tmp_path / "r", token=tokens) as registry:
        site = SiteInImage(registry, tokens, tmp_path, "gitlab/app", "", machine)
        site.change("1")
        assert steps(done(job(site, "protected", "a"))) == (0, 2)
        assert site.entries()
        assert steps(done(job(site, "merge request", "b"))) == (2, 0)
        assert registry.tags("gitlab/app").keys() == {"main"}
        assert registry.tags("gitlab/app/mr").keys() == {"7"}
    assert (machine.folder / "home/.docker/config.json").stat().st_mode & 0o777 == 0o600
