"""``pybuild inspect``: what images, indexes and other artifacts say of themselves, wherever they are."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from builder.cli.answers import answer, answer_bytes, answer_json, answer_table
from builder.cli.human import human_size
from builder.cli.parsing import Parser, add_json, base
from builder.cli.platforms import platform_of
from builder.cli.registries import add_registry_options
from builder.cli.reporters import make_reporter
from builder.cli.session import environment
from builder.engine.machine import native_platform
from builder.errors import UsageError

if TYPE_CHECKING:
    from builder.engine.build import Environment
    from builder.image.artifact import Artifact
    from builder.image.platform import Platform
    from builder.image.reference import Reference
    from builder.images.inspecting import Names

EXAMPLES = """
examples:
  pybuild inspect app:1      # what docker image inspect shows
  pybuild inspect --format '{{json .Config.Env}}' app:1
  pybuild inspect --format '{{index .Config.Labels "org.opencontainers.image.revision"}}' docker://registry.example/app
  pybuild inspect --raw docker://registry.example/app:1 | sha256sum
  pybuild inspect --config --platform linux/arm64 oci-layout://out:1
  pybuild inspect --referrers registry.example/app:1      # signatures, SBOMs and other artifacts about it
"""

_TEXTS = ("Hostname", "Domainname", "User", "Image", "StopSignal", "WorkingDir")
_FLAGS = ("AttachStdin", "AttachStdout", "AttachStderr", "Tty", "OpenStdin", "StdinOnce", "ArgsEscaped")
_LISTS = ("Env", "Cmd", "Entrypoint", "OnBuild", "Shell")
_MAPS = ("ExposedPorts", "Volumes", "Labels")
_SETS = ("ExposedPorts", "Volumes")
"""Maps whose values are empty structs in Go, which print as such."""
_REFERRER_HEADER = ("DIGEST", "ARTIFACT TYPE", "SIZE")


def parser() -> Parser:
    """Return the grammar."""
    parser = base(
        "pybuild inspect",
        "Show what images, indexes and other artifacts say of themselves. Layers are not fetched.",
        EXAMPLES,
    )
    parser.add_argument(
        "image",
        metavar="IMAGE",
        nargs="+",
        help="a name (built or pulled here, else asked of its registry), docker://REF, store:REF, "
        "oci-layout://DIR[:TAG], oci-archive:FILE, docker-archive:FILE, or the path of a layout or archive",
    )
    parser.add_argument("--platform", metavar="OS/ARCH", help="which image of an index (default: this machine's)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--raw", action="store_true", help="the bytes of the manifest or index, and nothing else")
    what.add_argument("--manifest", action="store_true", help="the bytes of the platform's manifest")
    what.add_argument("--config", dest="show_config", action="store_true", help="the bytes of the image's config")
    what.add_argument(
        "-v", "--verbose", action="store_true", help="every manifest with its platform, as docker manifest inspect -v"
    )
    what.add_argument("--referrers", action="store_true", help="what refers to it in its registry")
    what.add_argument("-f", "--format", metavar="TEMPLATE", help="a Go template, or json")
    parser.add_argument("--artifact-type", metavar="TYPE", default="", help="only --referrers of this type")
    add_json(parser)
    add_registry_options(parser, settings_file=False)
    return parser


def run(options: argparse.Namespace) -> int:
    """Carry it out and return the exit status."""
    if (options.raw or options.manifest or options.show_config) and len(options.image) > 1:
        raise UsageError("the bytes of one image at a time", hint="ask for each on its own")
    if options.artifact_type and not options.referrers:
        raise UsageError("--artifact-type goes with --referrers")
    platform = platform_of(options)
    reporter = make_reporter(options.progress, sys.stderr)
    with environment(options, reporter, 1) as env:
        if options.raw or options.manifest or options.show_config:
            answer_bytes(_bytes(options, options.image[0], platform, env))
        elif options.referrers:
            _show_referrers(options, [_referrers(options, text, platform, env) for text in options.image])
        elif options.verbose:
            _show(options, [_verbose(text, env) for text in options.image])
        else:
            _show(options, [_described(text, platform, env) for text in options.image])
    return 0


def _show(options: argparse.Namespace, values: Sequence[object]) -> None:
    if options.format is not None:
        from builder.cli.template import render

        for value in values:
            text = render(options.format, as_record(value) if isinstance(value, dict) else value)
            answer_bytes((text + "\n").encode("utf-8", "replace"))
    elif options.verbose and len(values) == 1:
        answer_json(values[0])
    else:
        answer_json(list(values))


def _bytes(options: argparse.Namespace, text: str, platform: Platform | None, env: Environment) -> bytes:
    from builder.image.manifest import Manifest
    from builder.images.choosing import fitting
    from builder.images.locate import locate

    artifact = locate(text, env)
    if options.raw:
        return artifact.raw
    parsed = fitting(artifact, [platform] if platform else []).parsed()
    if isinstance(parsed, Manifest):
        return artifact.content.document(parsed.config) if options.show_config else artifact.raw
    image = artifact.image(platform or native_platform())
    return image.raw_config if options.show_config else image.raw_manifest


def _described(text: str, platform: Platform | None, env: Environment) -> dict[str, object]:
    from builder.images.choosing import fitting
    from builder.images.inspecting import describe
    from builder.images.locate import locate

    artifact = fitting(locate(text, env), [platform] if platform else [])
    return describe(artifact, platform or native_platform(), _names(text, artifact, env))


def _names(text: str, artifact: Artifact, env: Environment) -> Names:
    """Return the name that was asked for, and those the store has for the same."""
    from builder.image.reference import Reference
    from builder.images.inspecting import Names, names_of

    found = names_of(reference_of(text), artifact)
    records = [one for one in env.store.refs.records() if one.descriptor.digest == artifact.digest]
    named = [(Reference.parse(one.reference), one) for one in records if not one.reference.startswith("sha256:")]
    tags = [one.familiar for one, _ in named if one.tag is not None and one.digest is None]
    digests = [one for name, record in named if not record.built_here for one in names_of(name, artifact).digests]
    if not any(record.built_here for _, record in named):
        # From the registry itself; what was built here may never get there.
        digests = [*found.digests, *digests]
    return Names(tuple(dict.fromkeys([*found.tags, *tags])), tuple(dict.fromkeys(digests)))


def reference_of(text: str) -> Reference | None:
    """Return the reference in the words for a place, None for a file or an image ID."""
    from builder.image.reference import Reference
    from builder.images.places import is_path, parse_place

    place = parse_place(text)
    if place.kind in ("layout", "oci-archive", "docker-archive") or place.text.startswith("sha256:"):
        return None
    return None if not place.kind and is_path(place.text) else Reference.parse(place.text)


def _verbose(text: str, env: Environment) -> object:
    from builder.images.inspecting import verbose_value
    from builder.images.locate import locate

    reference = reference_of(text)
    return verbose_value(text if reference is None else str(reference), locate(text, env))


# --- referrers


def _referrers(
    options: argparse.Namespace, text: str, platform: Platform | None, env: Environment
) -> list[dict[str, object]]:
    from builder.images.inspecting import referrer_value
    from builder.images.locate import locate

    reference = reference_of(text)
    if reference is None:
        raise UsageError(f"{text} is in no registry, which alone knows what refers to it")
    artifact = locate(text, env, remote=True)
    digest = artifact.digest if platform is None else artifact.image(platform).digest
    found = env.registry().referrers(reference, digest, options.artifact_type)
    return [referrer_value(one) for one in found]


def _show_referrers(options: argparse.Namespace, values: Sequence[list[dict[str, object]]]) -> None:
    found = [one for value in values for one in value]
    if options.json:
        answer_json(found)
        return
    rows = [(str(one["Digest"]), str(one["ArtifactType"]), human_size(int(str(one["Size"])))) for one in found]
    if rows:
        answer_table(_REFERRER_HEADER, rows)
    else:
        answer("nothing refers to it")


# --- templates


def as_record(value: Mapping[str, object]) -> dict[str, object]:
    """Return the value of an image with the fields Docker's templates may name, empty ones of the kind they are."""
    from builder.cli.template import NilList, NilMap, Record

    if "RootFS" not in value:
        return Record(value)
    config: dict[str, object] = {**dict.fromkeys(_TEXTS, ""), **dict.fromkeys(_FLAGS, False), "Healthcheck": None}
    config |= _mapping(value["Config"])
    for name in _LISTS:
        config[name] = NilList() if config.get(name) is None else config[name]
    for name in _MAPS:
        config[name] = NilMap() if config.get(name) is None else config[name]
    for name in _SETS:
        config[name] = {key: Record() for key in _mapping(config[name])} or config[name]
    empty = {"Parent": "", "DockerVersion": "", "Variant": "", "OsVersion": "", "OsFeatures": NilList(), "Index": None}
    whole = {**empty, "VirtualSize": value["Size"], **value}
    return Record({**whole, "Config": Record(config), "RootFS": Record(_mapping(value["RootFS"]))})


def _mapping(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}
