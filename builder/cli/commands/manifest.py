"""``pybuild manifest``: lists of images for several platforms, made as ``docker manifest`` makes them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from builder.cli.answers import answer, answer_bytes, answer_json
from builder.cli.parsing import Parser, add_json, base
from builder.cli.registries import add_registry_options
from builder.cli.session import looking
from builder.engine.machine import available_cpus
from builder.errors import BuilderError, ImageError, UsageError

if TYPE_CHECKING:
    from builder.engine.build import Environment
    from builder.image.artifact import Artifact
    from builder.image.reference import Reference

ACTIONS = {
    "create": "make a list of images, kept here until it is pushed",
    "annotate": "say for which platform an image of a list is",
    "inspect": "show a list, or a manifest",
    "push": "push a list, and its images where they are missing",
    "rm": "remove lists that are kept here",
}

_EXAMPLES = {
    "create": """
examples:
  pybuild manifest create registry.example/app:1 registry.example/app:1-amd64 registry.example/app:1-arm64
  pybuild manifest create --amend registry.example/app:1 oci-layout://out:1-riscv64
""",
    "annotate": """
examples:
  pybuild manifest annotate registry.example/app:1 registry.example/app:1-arm --arch arm --variant v7
""",
    "inspect": """
examples:
  pybuild manifest inspect registry.example/app:1
  pybuild manifest inspect -v registry.example/app:1 registry.example/app:1-arm64
""",
    "push": """
examples:
  pybuild manifest push --purge registry.example/app:1
""",
    "rm": """
examples:
  pybuild manifest rm registry.example/app:1
""",
}

_MEMBER = "a reference in a registry, store:REF, oci-layout://DIR[:TAG], oci-archive:FILE or docker-archive:FILE"
_ARCHITECTURES = (
    *("386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64", "ppc64le"),
    *("riscv64", "s390x", "wasm"),
)
_SYSTEMS = (
    *("aix", "android", "darwin", "dragonfly", "freebsd", "illumos", "ios", "js", "linux", "netbsd", "openbsd"),
    *("plan9", "solaris", "wasip1", "windows"),
)


def parser(action: str) -> Parser:
    """Return the grammar of an action."""
    parser = base(f"pybuild manifest {action}", ACTIONS[action].capitalize() + ".", _EXAMPLES[action])
    if action == "inspect":
        parser.add_argument("names", metavar="[LIST] MANIFEST", nargs="+", help="a list kept here, or a manifest")
        parser.add_argument("-v", "--verbose", action="store_true", help="with layers and platforms")
    elif action == "rm":
        parser.add_argument("names", metavar="LIST", nargs="+")
    else:
        parser.add_argument("list", metavar="LIST", help="the list's name, which is where it is pushed to")
    if action == "create":
        parser.add_argument("names", metavar="MANIFEST", nargs="+", help=_MEMBER)
        parser.add_argument("-a", "--amend", action="store_true", help="add to a list that is there")
    elif action == "annotate":
        parser.add_argument("name", metavar="MANIFEST", help="as it was given to create")
        for option, what in (("arch", "architecture"), ("os", "operating system"), ("variant", "variant")):
            parser.add_argument(f"--{option}", metavar=option.upper(), default="", help=f"the {what}")
        parser.add_argument("--os-version", metavar="VERSION", default="", help="the operating system's version")
        parser.add_argument(
            "--os-features", metavar="NAME[,NAME]", action="append", default=[], help="what it must be able to do"
        )
    elif action == "push":
        parser.add_argument("-p", "--purge", action="store_true", help="remove the list from here afterwards")
    if action in ("create", "inspect", "push"):
        parser.add_argument("--insecure", action="store_true", help="as --insecure-registry for the registries named")
        add_registry_options(parser)
    if action in ("create", "push", "rm"):
        add_json(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Carry it out and return the exit status."""
    act: Callable[[argparse.Namespace, Environment], int] = {
        "create": _create,
        "annotate": _annotate,
        "inspect": _inspect,
        "push": _push,
        "rm": _rm,
    }[options.action]
    if options.action == "inspect" and len(options.names) > 2:
        raise UsageError("a list and one of its manifests at most", hint="see pybuild manifest inspect --help")
    if getattr(options, "insecure", False):
        options.insecure_registry = [*options.insecure_registry, *_registries(options)]
    with looking(options, available_cpus()) as env:
        return act(options, env)


def _registries(options: argparse.Namespace) -> list[str]:
    """Return the registries that the command line names."""
    from builder.image.reference import Reference

    names = [*getattr(options, "names", []), *filter(None, [getattr(options, "list", "")])]
    full = [_member_name(one) for one in names]
    return [Reference.parse(one).registry for one in full if not _is_place(one)]


def _list_name(text: str) -> Reference:
    """Return a list's name. Raises ReferenceSyntaxError, UsageError for one with a digest."""
    from builder.image.reference import Reference

    try:
        reference = Reference.parse(text)
    except ImageError as error:
        error.message = f"error parsing name for manifest list {text}: {error.message}"
        raise
    if reference.digest is not None:
        problem = f"{text}: a list gets a name and a tag, its digest is what it is"
        raise UsageError(problem, hint="leave @sha256:... out")
    return reference


def _is_place(name: str) -> bool:
    return "://" in name or name.startswith(("oci:", "oci-archive:", "docker-archive:", "store:"))


def _member_name(text: str) -> str:
    """Return a member's name in full: the reference, or the place with its whole path."""
    from builder.image.reference import Reference
    from builder.images.places import parse_place

    place = parse_place(text)
    match place.kind:
        case "registry":
            return str(Reference.parse(place.text))
        case "store":
            return f"store:{Reference.parse(place.text).familiar}"
        case "layout":
            return f"oci:{Path(place.text).absolute()}"
        case "oci-archive" | "docker-archive":
            return f"{place.kind}:{Path(place.text).absolute()}"
    if place.text.startswith(("/", "./", "../")):
        path = Path(place.text).absolute()
        raise UsageError(f"{text} does not say what it is", hint=f"oci-layout://{path}, or docker-archive:{path}")
    return str(Reference.parse(place.text))


# --- actions


def _create(options: argparse.Namespace, env: Environment) -> int:
    from builder.images.lists import create

    reference = _list_name(options.list)
    made = create(env, reference, list(map(_member_name, options.names)), amend=options.amend)
    if options.json:
        answer_json({"name": str(reference), "manifests": [{"Ref": one.name, **one.entry()} for one in made.members]})
    else:
        answer(f"Created manifest list {reference}")
    return 0


def _annotate(options: argparse.Namespace, env: Environment) -> int:
    from builder.images.lists import annotate, existing

    reference, name = _list_name(options.list), _member_name(options.name)
    changes: dict[str, str | Sequence[str]] = {
        "os": options.os,
        "architecture": options.arch,
        "variant": options.variant,
        "os.version": options.os_version,
        "os.features": [one for text in options.os_features for one in text.split(",") if one],
    }
    if existing(env, reference).member(name) is not None:
        _check(options)
    annotate(env, reference, name, {key: value for key, value in changes.items() if value})
    return 0


def _check(options: argparse.Namespace) -> None:
    """Refuse words that no platform has. Raises UsageError."""
    if (options.os and options.os not in _SYSTEMS) or (options.arch and options.arch not in _ARCHITECTURES):
        raise UsageError(
            f"manifest entry for image has unsupported os/arch combination: {options.os}/{options.arch}",
            hint="write them as Go does: linux, windows...; amd64, arm64, arm, s390x...",
        )


def _push(options: argparse.Namespace, env: Environment) -> int:
    from builder.images.lists import existing, moved, push, remove

    reference = _list_name(options.list)
    found = existing(env, reference)
    digest = push(env, found)
    copied = [f"{reference.name}@{one.descriptor.digest}" for one in moved(found)]
    if options.purge:
        remove(env, reference)
    if options.json:
        answer_json({"name": str(reference), "digest": str(digest), "pushed": copied})
        return 0
    for one in copied:
        answer(f"Pushed ref {one} with digest: {one.partition('@')[2]}")
    answer(str(digest))
    return 0


def _rm(options: argparse.Namespace, env: Environment) -> int:
    """Remove what can be removed; what cannot is one error at the end."""
    from builder.images.lists import remove

    removed: list[str] = []
    errors: list[BuilderError] = []
    for text in options.names:
        try:
            reference = _list_name(text)
            remove(env, reference)
            removed.append(str(reference))
        except ImageError as error:
            errors.append(error)
    if options.json:
        answer_json({"removed": removed})
    if errors:
        raise ImageError("\n".join(error.message for error in errors), hint=errors[0].hint)
    return 0


# --- inspect


def _inspect(options: argparse.Namespace, env: Environment) -> int:
    from builder.image.reference import Reference
    from builder.images.inspecting import manifest_entry
    from builder.images.lists import artifact_of, existing, find, list_bytes

    *lists, text = options.names
    name = _member_name(text)
    if lists:
        found = existing(env, _list_name(lists[0]))
        member = found.member(name)
        if member is None:
            offered = ", ".join(one.name for one in found.members[:10])
            raise ImageError(f"No such manifest: {name}", hint=f"{found.reference.familiar} has {offered}")
        entry = manifest_entry(member.name, member.described(), member.raw)
        _show(entry if options.verbose else json.loads(member.raw))
        return 0
    kept = None if _is_place(name) else find(env, Reference.parse(name))
    if kept is None:
        _show_found(options, name, artifact_of(env, name))
    elif options.verbose:
        _show([manifest_entry(one.name, one.described(), one.raw) for one in kept.members])
    else:
        answer_bytes(list_bytes(kept.media_type, [one.entry() for one in kept.members]) + b"\n")
    return 0


def _show_found(options: argparse.Namespace, name: str, artifact: Artifact) -> None:
    """Show what is in a registry or a file: a manifest as it is, of an index what a list made here would have."""
    from builder.image.manifest import Manifest
    from builder.images.inspecting import verbose_value
    from builder.images.lists import entries_of, list_bytes

    if options.verbose:
        _show(verbose_value(name, artifact))
    elif isinstance(artifact.parsed(), Manifest):
        _show(json.loads(artifact.raw))
    else:
        answer_bytes(list_bytes(artifact.root.media_type, entries_of(artifact)) + b"\n")


def _show(value: Mapping[str, object] | Sequence[object]) -> None:
    answer_bytes(json.dumps(value, indent="\t", ensure_ascii=False).encode("utf-8", "replace") + b"\n")
