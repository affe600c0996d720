"""Every key of a build: the option it stands for, what it may hold, and whether a project's file may say it.

A test compares the table with the parser of the command line, so an option without a key fails there.
"""

from __future__ import annotations

from typing import Literal

from builder.values import dataclass

Kind = Literal["text", "number", "flag", "texts", "pairs", "attributes"]
"""``number`` is a text that may be written as a number; ``pairs`` are a table of texts, or a list of ``NAME=VALUE``;
``attributes`` a list of tables, or of texts ``NAME=VALUE,...``."""

Project = Literal["yes", "inside", "no"]
"""Whether a project's file may say it: ``inside`` for what lies in the project only."""

ACCESS = "it would hand out what whoever builds it has"
ELSEWHERE = "it says where images and names come from"
SANDBOX = "it changes what keeps steps apart from this machine"
RESOURCES = "what a step may use up is up to this machine"
SHARED = "what is read from a cache is believed, and what is written to one is believed by others"
LEAVES = "it sends something out of the project"
TASTE = "it is up to whoever builds"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key of ``[build]`` and ``[target.NAME]``.

    ``dest`` is where the parser keeps the option. With ``merged`` entries of several places are put together, those
    with the same name counting once; other lists replace each other. ``why`` says why a project's file may not.
    """

    name: str
    option: str
    dest: str
    kind: Kind
    about: str
    project: Project = "no"
    why: str = ""
    choices: tuple[str, ...] = ()
    merged: bool = False

    @property
    def variable(self) -> str:
        """The environment variable that says the same; the context has none."""
        return f"PYBUILD_{self.dest.upper()}" if self.option.startswith("-") else ""

    @property
    def listed(self) -> bool:
        """Whether there may be several."""
        return self.kind in ("texts", "pairs", "attributes")


def _key(name: str, option: str, kind: Kind, about: str, **more: object) -> Key:
    dest = more.pop("dest", None) or option.lstrip("-").replace("-", "_").lower()
    return Key(name=name, option=option, dest=dest, kind=kind, about=about, **more)  # type: ignore[arg-type]  # the fields of Key


_WHAT = (
    _key("context", "CONTEXT", "text", "the directory to build from, or its URL", project="inside"),
    _key("dockerfile", "--file", "text", "the Dockerfile", project="inside"),
    _key("stage", "--target", "text", "the stage to build; the last one if it is not said", project="yes"),
    _key("args", "--build-arg", "pairs", "values of ARG", project="inside", merged=True),
    _key("contexts", "--build-context", "pairs", "named contexts", project="inside", merged=True),
    _key("platforms", "--platform", "texts", "the platforms to build for", project="yes"),
    _key("labels", "--label", "pairs", "labels of the image", project="yes", merged=True),
    _key("annotations", "--annotation", "pairs", "annotations of manifest or index", project="yes", merged=True),
    _key(
        *("base-annotations", "--no-base-annotations", "flag", "annotate the image with its base's name and digest"),
        dest="base_annotations",
        project="yes",
    ),
    _key("secrets", "--secret", "attributes", "what secret mounts give", why=ACCESS, merged=True),
)
_GRANTS = (
    _key("network", "--network", "text", "the network of RUN", why=SANDBOX, choices=("default", "none", "host")),
    _key("ssh", "--ssh", "texts", "agents and keys that ssh mounts give", why=ACCESS, merged=True),
    _key("allow", "--allow", "texts", "what RUN may ask for", why=SANDBOX),
    _key("add-host", "--add-host", "texts", "lines of /etc/hosts of RUN", why=ELSEWHERE, merged=True),
    _key("dns", "--dns", "texts", "name servers of RUN", why=ELSEWHERE),
    _key("dns-search", "--dns-search", "texts", "domains that RUN looks names up in", why=ELSEWHERE),
    _key("shm-size", "--shm-size", "number", "size of /dev/shm in RUN", why=RESOURCES),
    _key("ulimits", "--ulimit", "pairs", "limits of RUN", why=RESOURCES, merged=True),
    _key("memory", "--memory", "number", "memory of a step", why=RESOURCES),
    _key("cpus", "--cpus", "number", "processors of a step", why=RESOURCES),
)
_WHERE = (
    _key("tags", "--tag", "texts", "names of the image", project="yes"),
    _key("push", "--push", "flag", "push every tag", why=LEAVES),
    _key("push-foreign", "--push-foreign", "flag", "push layers that are not for redistribution too", why=LEAVES),
    _key("upload-chunk-size", "--upload-chunk-size", "number", "upload larger blobs in pieces", why=TASTE),
    _key("outputs", "--output", "attributes", "where the image goes", project="inside"),
    _key("format", "--format", "text", "the image's format", project="yes", choices=("docker", "oci")),
    _key("compression", "--compression", "text", "how layers are compressed", project="yes"),
    _key("compression-level", "--compression-level", "number", "how much they are", project="yes"),
    _key("force-compression", "--force-compression", "flag", "recompress the base's layers too", project="yes"),
    _key("iidfile", "--iidfile", "text", "a file for the image ID", project="inside"),
    _key("digest-file", "--digest-file", "text", "a file for the manifest digest", project="inside"),
    _key("metadata-file", "--metadata-file", "text", "a file that says how the build ended", project="inside"),
    _key("timings", "--timings", "text", "a file for a trace of the build", project="inside"),
)
_HOW = (
    _key("no-cache", "--no-cache", "flag", "execute everything again", project="yes"),
    _key("no-cache-filter", "--no-cache-filter", "texts", "execute these stages again", project="yes"),
    _key("cache-from", "--cache-from", "attributes", "caches to look results up in", why=SHARED),
    _key("cache-to", "--cache-to", "attributes", "caches to share results in", why=SHARED),
    _key(
        *("pull", "--pull", "text", "when to ask the registry for a base"),
        project="yes",
        choices=("auto", "always", "missing", "never"),
    ),
    _key("source-date-epoch", "--source-date-epoch", "number", "clamp times", project="yes"),
    _key("reproducible", "--reproducible", "flag", "the same bytes from every checkout", project="yes"),
    _key("compat", "--compat", "number", "the compatibility level of what is written", project="yes"),
    _key(
        *("isolation", "--isolation", "text", "the sandbox of RUN"),
        why=SANDBOX,
        choices=("auto", "root", "userns", "single", "chroot", "oci"),
    ),
    _key(
        *("snapshotter", "--snapshotter", "text", "how RUN gets a tree to write to"),
        why=SANDBOX,
        choices=("auto", "overlay", "fuse", "copy"),
    ),
    _key("ignore-user", "--ignore-user", "flag", "where there is one uid only, RUN as root", why=SANDBOX),
    _key("jobs", "--jobs", "number", "steps at a time", why=RESOURCES),
    _key("timeout", "--timeout", "number", "end a RUN that takes longer", why=RESOURCES),
    _key("offline", "--offline", "flag", "ask no registry and no server", why=ELSEWHERE),
    _key("authfile", "--authfile", "text", "a file of accounts", why=ACCESS),
    _key(
        *("progress", "--progress", "text", "how to show what happens"),
        why=TASTE,
        choices=("auto", "tty", "plain", "json", "quiet"),
    ),
)

KEYS = (*_WHAT, *_GRANTS, *_WHERE, *_HOW)
"""In the order of the help."""

BY_NAME = {one.name: one for one in KEYS}
BY_DEST = {one.dest: one for one in KEYS}

TABLES = {
    "root": ("store.root", ELSEWHERE),
    "store_ro": ("store.read-only", ELSEWHERE),
    "store_max_size": ("store.max-size", RESOURCES),
    "insecure_registry": ("registry.HOST.insecure", ELSEWHERE),
    "registry_mirror": ("registry.HOST.mirrors", ELSEWHERE),
    "registry_map": ("registries.map", ELSEWHERE),
    "registry_certificate": ("registry.HOST.ca", ELSEWHERE),
    "registry_client_cert": ("registry.HOST.client-cert", ACCESS),
}
"""Options whose setting has a place of its own, for every command, and never in a project's file."""

NOT_KEYS = {
    "help": "asks",
    "version": "asks",
    "check": "asks",
    "call": "asks",
    "debug": "for one call",
    "quiet": "for one call; progress has it too",
    "config": "names the file",
    "no_project_config": "about the files",
    "creds": "passwords do not belong into files of settings",
}
"""Options without a key, and why."""


def called_here(word: str) -> str:
    """Return the key that an option's name or its singular means, nothing if none is meant."""
    bare = word.strip("-").replace("_", "-")
    for one in KEYS:
        if bare in (one.option.strip("-"), one.name):
            return one.name
    return ""
