"""Every flag that kaniko's executor documents, and what becomes of it: data for the command, its help and its page.

The flags are those of the original's last release and of its maintained fork. ``scripts/docs`` puts the table into
``docs/kaniko.md``.
"""

from __future__ import annotations

from typing import Literal

from builder.values import dataclass

Kind = Literal["text", "texts", "switch"]
"""One value, of which the last counts; several values; true or false."""

Fate = Literal["renamed", "translated", "always", "ignored", "refused"]
"""Passed on under ``option``; worked out; so or not needed in every build; left out with a notice; an error."""


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag without its dashes. ``here`` says in words what it is here: for the page, a notice or an error's hint.

    ``fate`` is that of a flag which is given, of a switch that is ``speaking``. ``option`` is ours for a renamed one.
    """

    name: str
    kind: Kind
    fate: Fate
    here: str
    short: str = ""
    option: str = ""
    speaking: bool = True
    metavar: str = "VALUE"


def _renamed(name: str, kind: Kind, option: str, metavar: str = "VALUE", here: str = "") -> Flag:
    return Flag(name, kind, "renamed", here or f"`{option} {metavar}`", option=option, metavar=metavar)


def _always(name: str, here: str, kind: Kind = "switch") -> Flag:
    return Flag(name, kind, "always", here)


_CLEAN = "a build writes to its store and its outputs only"
_RETRIES = "network errors are always retried, for up to two minutes"
_HELPERS = (
    "name helpers in Docker's `config.json` (`credHelpers`), which is read as Docker does; GitLab's account is used"
)
_FETCH = "fetch the archive first, and build with `--context tar://FILE`"

_WHAT = (
    Flag(
        "context",
        "text",
        "translated",
        "the last word: `dir://DIR` is `DIR`, `tar://FILE` is `- < FILE`, `tar://stdin` is `-`, `https://...` stays; "
        "`git://HOST/PATH#REF#COMMIT` is `https://HOST/PATH?keep-git-dir=true&submodules=false#COMMIT`, or `#REF`; "
        "of `gs://`, `s3://` and Azure's blobs, fetch the archive first",
        short="c",
        metavar="WHERE",
    ),
    Flag(
        "context-sub-path",
        "text",
        "translated",
        "a part of the last word: `DIR/PATH`, or `#REF:PATH` of a repository; refused for archives; "
        "without `dir://` or `git://` it means nothing, as there",
        metavar="PATH",
    ),
    Flag(
        "dockerfile",
        "text",
        "translated",
        "`-f FILE`: looked for in the current directory first, then in the context",
        short="f",
        metavar="FILE",
    ),
    _renamed("target", "text", "--target", "STAGE"),
    Flag("build-arg", "texts", "translated", "`--build-arg K=V`; `K` alone is the variable, or empty", metavar="K[=V]"),
    _renamed("label", "texts", "--label", "K=V"),
    _renamed("annotation", "texts", "--annotation", "K=V"),
    _renamed("custom-platform", "text", "--platform", "OS/ARCH"),
    _renamed("secret", "texts", "--secret", "id=ID,src=FILE"),
    Flag(
        "git",
        "text",
        "translated",
        "`branch=B` is `#B`; submodules are fetched with `recurse-submodules=true`; `depth` and `single-branch` "
        "are not needed; `insecure-skip-tls=true` is refused",
        metavar="KEY=VALUE,...",
    ),
    Flag("bucket", "text", "refused", _FETCH, short="b", metavar="BUCKET"),
)

_OUTPUT = (
    Flag("destination", "texts", "translated", "`-t REF --push`", short="d", metavar="REF"),
    Flag("no-push", "switch", "translated", "`--push=false`: the image stays in the store under its tags"),
    Flag("tar-path", "text", "translated", "`-o type=docker,dest=FILE`", metavar="FILE"),
    Flag("oci-layout-path", "text", "translated", "`-o type=oci,tar=false,dest=DIR`", metavar="DIR"),
    Flag("digest-file", "text", "translated", "`--digest-file FILE`", metavar="FILE"),
    Flag(
        "image-name-with-digest-file",
        "text",
        "translated",
        "written when the build is done, a line `NAME@DIGEST` for each destination; `--metadata-file` has both",
        metavar="FILE",
    ),
    Flag(
        "image-name-tag-with-digest-file",
        "text",
        "translated",
        "written when the build is done, a line `NAME:TAG@DIGEST` for each destination",
        metavar="FILE",
    ),
    _renamed(
        "image-format", "text", "--format", "docker|oci", "`--format docker|oci`; the usual is `oci`, not the base's"
    ),
    _renamed("compression", "text", "--compression", "gzip|zstd"),
    Flag("compression-level", "text", "translated", "`--compression-level N`; `-1` is the usual one", metavar="N"),
    Flag("reproducible", "switch", "renamed", "`--reproducible`", option="--reproducible"),
    _always("force-build-metadata", "metadata is always written"),
)

_CACHE = (
    Flag(
        "cache",
        "switch",
        "translated",
        "`--cache-from REPO --cache-to type=registry,ref=REPO,mode=max,ignore-error=true`; `--cache=false` is "
        "`--no-cache`. Without the flag a build has its own store, if that outlives the job",
    ),
    Flag(
        "cache-repo",
        "text",
        "translated",
        "the `REPO` of `--cache`; without it, `/cache` below the first destination; `oci:DIR` is `type=local`",
        metavar="REPO",
    ),
    Flag("no-push-cache", "switch", "translated", "no `--cache-to`"),
    Flag("cache-run-layers", "switch", "translated", "always; `=false` is `--no-cache`"),
    _always("cache-copy-layers", "results of COPY are always kept, by the content of what is copied"),
    _always("compressed-caching", "memory does not grow with the size of layers"),
    Flag(
        "cache-ttl",
        "text",
        "ignored",
        "entries do not expire while they are read: `pybuild cache prune --remote REPO --max-age 14d` removes old ones",
        metavar="TIME",
    ),
    Flag(
        "cache-dir",
        "text",
        "ignored",
        "base images come from the store: `pybuild warm` fills one, `--store-ro DIR` reads it",
        metavar="DIR",
    ),
)

_REGISTRY = (
    Flag("insecure", "switch", "translated", "`--insecure-registry HOST` for each destination and the cache"),
    Flag("skip-tls-verify", "switch", "translated", "the same"),
    Flag(
        "insecure-pull",
        "switch",
        "translated",
        "`--insecure-registry HOST` for each registry that the Dockerfile names, and mirrors; an error where the "
        "Dockerfile cannot be read beforehand",
    ),
    Flag("skip-tls-verify-pull", "switch", "translated", "the same"),
    _renamed("insecure-registry", "texts", "--insecure-registry", "HOST"),
    _renamed("skip-tls-verify-registry", "texts", "--insecure-registry", "HOST"),
    Flag(
        "registry-mirror",
        "texts",
        "translated",
        "`--registry-mirror HOST[/PATH]`, with `--skip-default-registry-fallback` "
        "`--registry-map docker.io=HOST[/PATH]`",
        metavar="HOST[/PATH]",
    ),
    Flag(
        "registry-map",
        "texts",
        "translated",
        "`--registry-map FROM=TO --registry-map FROM=FROM`, because `FROM` is not asked here unless it is named",
        metavar="FROM=TO[;FROM=TO]",
    ),
    Flag("skip-default-registry-fallback", "switch", "translated", "maps as they are, and mirrors as maps"),
    _renamed("registry-certificate", "texts", "--registry-certificate", "HOST=FILE"),
    _renamed("registry-client-cert", "texts", "--registry-client-cert", "HOST=CERT,KEY"),
    Flag("credential-helpers", "texts", "ignored", _HELPERS, metavar="NAME"),
    Flag("azure-container-registry-config", "text", "ignored", _HELPERS, metavar="FILE"),
    _always("push-retry", _RETRIES, "text"),
    _always("image-fs-extract-retry", _RETRIES, "text"),
    _always("image-download-retry", _RETRIES, "text"),
    Flag(
        "push-ignore-immutable-tag-errors",
        "switch",
        "ignored",
        "a tag that cannot be moved is fine if it leads to the same image, and an error if not",
    ),
    Flag(
        "skip-push-permission-check",
        "switch",
        "ignored",
        "the registry is asked at the start; one that cannot be reached then is asked again at the end",
    ),
)

_HOW = (
    Flag("single-snapshot", "switch", "ignored", "each instruction has its own layer; the files are the same"),
    _always("snapshot-mode", "contents decide, and never times alone", "text"),
    _always("use-new-run", "contents decide, and never times alone"),
    Flag(
        "ignore-path",
        "texts",
        "ignored",
        "what a RUN writes is in the image; `RUN --mount=type=tmpfs,target=PATH` keeps a directory out",
        metavar="PATH",
    ),
    _always("ignore-var-run", "what lies in pybuild's own container is never in an image"),
    Flag(
        "skip-unused-stages",
        "switch",
        "ignored",
        "stages that the target does not need are never built; name one with `--target`",
        speaking=False,
    ),
    _always("force", "pybuild does not care whether it is in a container"),
    _always("cleanup", _CLEAN),
    _always("pre-cleanup", _CLEAN),
    _always("preserve-context", "a build changes nothing in its context"),
    Flag("materialize", "switch", "refused", "`pybuild -o type=local,dest=DIR` writes the files of an image"),
    Flag(
        "dryrun",
        "switch",
        "translated",
        "`pybuild explain`: says which steps would be executed, and why; nothing is built, pushed or written",
    ),
    Flag(
        "kaniko-dir",
        "text",
        "translated",
        "accounts are read from `DIR/.docker/config.json`, if it is there",
        metavar="DIR",
    ),
    Flag(
        "verbosity",
        "text",
        "translated",
        "`debug` and `trace` are `--debug`; `warn` and less are `--progress quiet`",
        short="v",
        metavar="LEVEL",
    ),
    Flag("log-format", "text", "translated", "`json` is `--progress json`", metavar="text|color|json"),
    _always("log-timestamp", "the times of steps are always shown"),
)

GROUPS = {
    "what is built": _WHAT,
    "where it goes": _OUTPUT,
    "the cache": _CACHE,
    "registries": _REGISTRY,
    "how": _HOW,
}
FLAGS = {flag.name: flag for group in GROUPS.values() for flag in group}

OLD = {
    "tarPath": "tar-path",
    "snapshotMode": "snapshot-mode",
    "customPlatform": "custom-platform",
    "whitelist-var-run": "ignore-var-run",
}
"""Spellings that executors still take."""

SUBCOMMANDS = {
    "version": "pybuild --version",
    "login": "pybuild login -u USER --password-stdin REGISTRY",
    "push": "pybuild push FILE REF",
    "bake": "targets in pybuild.toml, one pybuild build for each",
    "help": "pybuild kaniko --help",
    "completion": "pybuild completion SHELL",
}
"""Words after the executor's name that are no flags, and what is written here."""
