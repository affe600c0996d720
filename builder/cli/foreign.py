"""Words of other builders' command lines, and what is written here instead: data for errors and for a page.

Loaded only when a command line could not be read. Flags of kaniko's executor have a table of their own.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from typing import Literal

from builder.cli.human import plain
from builder.errors import UsageError
from builder.values import dataclass

Builder = Literal["docker build", "buildx", "buildah", "kaniko"]

_NEEDLESS = "leave it out: "


@dataclass(frozen=True, slots=True)
class Foreign:
    """Options of a builder, with their dashes, and ``here``: what to do instead, as a page has it."""

    builder: Builder
    options: tuple[str, ...]
    here: str


def _of(builder: Builder, names: str, here: str) -> Foreign:
    return Foreign(builder, tuple(names.split()), here)


_ATTESTATIONS = "leave it out: no attestations are made; tools for them read what is pushed, or `-o type=oci,tar=false`"
_NAMESPACES = "leave it out: `--isolation` says which namespaces a step has, `--network` its network"
_RIGHTS = "`RUN --security=insecure` in the Dockerfile, with `--allow security.insecure`, gives all rights there are"

OPTIONS = (
    _of("docker build", "--rm --force-rm", f"{_NEEDLESS}a step leaves no container behind"),
    _of(
        "docker build",
        "--load",
        "`pybuild -o type=docker,dest=- . | docker load`; without it the image is in the store",
    ),
    _of(
        "docker build", "--squash", f"{_NEEDLESS}each instruction has its own layer; heredocs join commands in one RUN"
    ),
    _of("docker build", "--compress", f"{_NEEDLESS}no context is sent anywhere"),
    _of("docker build", "--stream --experimental", f"{_NEEDLESS}there is no daemon"),
    _of("docker build", "-m", "`--memory SIZE`"),
    _of("docker build", "--memory-swap", "`--memory SIZE`; swap is not limited"),
    _of("docker build", "--cpu-period --cpu-quota --cpu-shares --cpuset-cpus --cpuset-mems", "`--cpus NUMBER`"),
    _of("docker build", "--cgroup-parent", "start pybuild in that cgroup; steps are below it"),
    _of("docker build", "--security-opt", _RIGHTS),
    _of("docker build", "--disable-content-trust", f"{_NEEDLESS}no signatures are looked at; name bases by digest"),
    _of("buildx", "--builder", f"{_NEEDLESS}pybuild itself builds"),
    _of("buildx", "--sbom --provenance --attest", _ATTESTATIONS),
    _of("buildx", "--print", "`--call outline` or `--call targets`"),
    _of("buildx", "--device", f"{_NEEDLESS}steps have the usual devices only"),
    _of(
        "buildx", "--policy --source-policy-file", "`--registry-map` and bases named by digest say what may be fetched"
    ),
    _of("buildx", "--detach --invoke --on --server-config", f"{_NEEDLESS}a build runs here, until it ends"),
    _of("buildx", "--bake-file --set", "targets in `pybuild.toml`"),
    _of("buildah", "--layers", f"{_NEEDLESS}results of steps are always kept; `--no-cache` executes everything again"),
    _of("buildah", "--tls-verify", "`--insecure-registry HOST`, which is for one registry"),
    _of("buildah", "--cert-dir", "`--registry-certificate HOST=FILE`, or a directory `certs.d/HOST`"),
    _of("buildah", "--pull-always", "`--pull`"),
    _of("buildah", "--pull-never", "`--pull=never`"),
    _of("buildah", "--arch --os --variant --all-platforms", "`--platform OS/ARCH[/VARIANT][,OS/ARCH]`"),
    _of("buildah", "--os-version --os-feature", "`pybuild mutate --set-platform` changes what an image says"),
    _of("buildah", "--manifest", "`-t NAME`; `--platform A,B` makes an index"),
    _of(
        "buildah", "--timestamp --rewrite-timestamp", "`--source-date-epoch SECONDS`, which clamps, or `--reproducible`"
    ),
    _of("buildah", "--omit-history", f"{_NEEDLESS}an image has a history; `--source-date-epoch` sets its times"),
    _of("buildah", "--identity-label", f"{_NEEDLESS}no label is added"),
    _of("buildah", "--ignorefile", "a file `DOCKERFILE.dockerignore` beside the Dockerfile"),
    _of("buildah", "-v --volume", "`RUN --mount=type=bind,from=NAME` with `--build-context NAME=DIR`, or `type=cache`"),
    _of("buildah", "--cap-add --cap-drop --group-add", _RIGHTS),
    _of("buildah", "--runtime --runtime-flag", "`--isolation oci` takes runc or crun"),
    _of("buildah", "--userns --userns-uid-map --userns-gid-map", "`--isolation userns`"),
    _of("buildah", "--userns-uid-map-user --userns-gid-map-group", "`--isolation userns`"),
    _of("buildah", "--pid --ipc --uts --cgroupns --no-hosts --no-hostname", _NAMESPACES),
    _of("buildah", "--storage-driver --storage-opt", "`--snapshotter`"),
    _of("buildah", "--runroot", "`--root DIR`; nothing else is kept anywhere"),
    _of("buildah", "--env", "`ENV` in the Dockerfile, or `pybuild mutate --env`"),
    _of("buildah", "--unsetenv --unsetlabel", "`pybuild mutate --unset`"),
    _of("buildah", "--from", "`ARG` before FROM and `--build-arg`, or `--build-context NAME=docker-image://REF`"),
    _of("buildah", "--build-arg-file", "`--build-arg` for each line, or `args` in `pybuild.toml`"),
    _of("buildah", "--http-proxy", "`--build-arg HTTP_PROXY=...`; the variables are not given to steps by themselves"),
    _of("buildah", "--retry --retry-delay", f"{_NEEDLESS}network errors are always retried"),
    _of("buildah", "--logfile --logsplit", "`2>FILE`"),
    _of("buildah", "--log-level", "`--debug`, or `--progress quiet`"),
    _of("buildah", "-D --disable-compression", "`--compression uncompressed`, or `gzip`, which is the usual"),
    _of("buildah", "--sign-by --signature-policy", "sign what `--digest-file` names, after the push"),
    _of("buildah", "--dns-option", f"{_NEEDLESS}`--dns` and `--dns-search` are what there is"),
    _of(
        "buildah",
        "--cache-to-ttl --save-stages --stage-labels",
        f"{_NEEDLESS}`--cache-to ...,mode=max` keeps all stages",
    ),
)
"""Of builders other than kaniko; an option that is ours does not count, whoever else has it."""

VALUES: dict[tuple[str, str], str] = {
    ("--isolation", "default"): "leave it out: auto is the usual",
    ("--isolation", "process"): "leave it out: auto is the usual",
    ("--isolation", "hyperv"): "leave it out: there are no Windows steps",
    ("--isolation", "rootless"): "`--isolation userns`, or auto, which is the usual",
    ("--network", "bridge"): "`--network default`, or `none`",
    ("--network", "private"): "`--network none`, or default",
    ("--network", "slirp4netns"): "`--network default`, or `none`",
    ("--network", "pasta"): "`--network default`, or `none`",
    ("--pull", "ifnewer"): "`--pull=always`: only what changed is fetched",
    ("--pull", "newer"): "`--pull=always`: only what changed is fetched",
    ("--pull", "ifmissing"): "`--pull=missing`",
    ("--format", "v2s2"): "`--format docker`",
    ("--format", "v1"): "`--format docker`",
    ("--progress", "rawjson"): "`--progress json`",
}
"""Values of options that are ours, which others take."""

REGISTRIES: dict[str, str] = {
    **dict.fromkeys(("--tls-verify", "--src-tls-verify", "--dest-tls-verify"), "`--insecure-registry HOST`"),
    **dict.fromkeys(("--insecure", "--skip-tls-verify", "--insecure-policy"), "`--insecure-registry HOST`"),
    **dict.fromkeys(("--cert-dir", "--src-cert-dir", "--dest-cert-dir"), "`--registry-certificate HOST=FILE`"),
    **dict.fromkeys(("--src-creds", "--dest-creds"), "`--creds REGISTRY=USER`"),
}
"""Options of other programs' commands for registries, which every command of ours may be given by mistake."""

COMMANDS: dict[str, str] = {
    "buildx": "pybuild build",
    "bud": "pybuild build",
    "build-using-dockerfile": "pybuild build",
    "bake": "targets in pybuild.toml, pybuild build NAME",
    "executor": "pybuild kaniko",
    "warmer": "pybuild warm",
    "imagetools": "pybuild inspect, or pybuild manifest",
    "image": "pybuild images, inspect, tag, rmi, save or load",
    "builder": "pybuild cache",
    "buildctl": "pybuild build",
    "du": "pybuild cache",
    "prune": "pybuild cache prune",
    "system": "pybuild cache",
    "info": "pybuild doctor",
    "version": "pybuild --version",
    "rm": "pybuild rmi",
    "import": "pybuild load",
    "export": "pybuild save, or pybuild -o type=tar,dest=FILE",
    "commit": "pybuild append",
    "from": "pybuild pull",
    "run": "docker run, after a push or -o type=docker: pybuild starts no containers",
    **{name: f"docker {name}: pybuild has no containers" for name in ("exec", "ps", "start", "stop", "logs")},
    "search": "pybuild catalog, or pybuild tags",
    "list": "pybuild tags",
}
"""Commands of others; a directory of that name is a context all the same."""


def found(option: str, known: Collection[str]) -> Foreign | None:
    """Return what is known of an option that is not ours."""
    if option in known:
        return None
    for one in OPTIONS:
        if option in one.options:
            return one
    return next((one for one in of_kaniko(known) if option in one.options), None)


def of_kaniko(known: Collection[str]) -> Iterator[Foreign]:
    """Yield what an executor has and we have not."""
    from builder.cli.kaniko.flags import FLAGS, OLD

    for flag in FLAGS.values():
        old = (f"--{name}" for name, new in OLD.items() if new == flag.name)
        names = (f"--{flag.name}", *old, *([f"-{flag.short}"] if flag.short else []))
        names = tuple(name for name in names if name not in known)
        if names:
            needless = flag.fate in ("always", "ignored")
            yield Foreign("kaniko", names, f"{_NEEDLESS}{flag.here}" if needless else flag.here)


def for_registries(option: str) -> str:
    """Return the way out for an option by which others reach a registry, in any command; or nothing."""
    return plain(REGISTRIES.get(option, ""))


def explained(error: UsageError, argv: Sequence[str], known: Collection[str]) -> UsageError:
    """Return the mistake in words of another builder, if that is what it was; else ``error``."""
    for word, following in itertools.pairwise([*argv, ""]):
        if word == "--":
            break
        name, equals, value = word.partition("=")
        value = value if equals else following
        if name in known and (name, value) in VALUES:
            return UsageError(f"{name} {value} is another builder's", hint=_instead(VALUES[name, value]))
        if not name.startswith("-") or name in known:
            continue
        one = found(name, known)
        if one is not None:
            hint = _instead(one.here)
            if one.builder == "kaniko":
                # The table tells more than fits here.
                hint = f"{hint.split('; ')[0]}; or let pybuild kaniko take all flags of an executor"
            return UsageError(f"{name} is an option of {one.builder}", hint=hint)
    return error


def _instead(here: str) -> str:
    return plain(here if here.startswith("leave it out") else f"instead: {here}")
