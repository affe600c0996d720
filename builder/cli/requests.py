"""From the command line's words to a BuildRequest; everything impossible is refused here, before any work."""

from __future__ import annotations

import argparse
import functools
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from builder.api.checks import refuse_mismatches
from builder.cli.compressing import choice, refuse_zstd
from builder.cli.dockerproxies import proxy_arguments
from builder.cli.levels import chosen_level
from builder.cli.options import NETWORKS, is_name
from builder.cli.outputs import outputs
from builder.cli.parsing import pull_said, wants_project
from builder.engine.machine import available_cpus, native_platform
from builder.engine.request import BuildRequest, CompressionChoice, EpochChoice
from builder.engine.services import SECRET_LIMIT, SecretReader
from builder.errors import BuilderError, ContextError, UsageError
from builder.image.annotations import Annotation
from builder.image.platform import Platform
from builder.image.reference import Reference
from builder.settings import Project, find_project, settings_files

PLATFORM_VARIABLE = "DOCKER_DEFAULT_PLATFORM"
POLICY_VARIABLE = "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY"


def make_request(options: argparse.Namespace, environment: Mapping[str, str]) -> BuildRequest:
    """Return the request. Raises UsageError, ReferenceSyntaxError."""
    try:
        return _request(options, environment)
    except BuilderError as error:
        if hasattr(options, "places"):
            from builder.cli.config.checking import blame

            blame(error, options.places)
        raise


def _request(options: argparse.Namespace, environment: Mapping[str, str]) -> BuildRequest:
    if options.context == "":
        raise UsageError("the build context is empty", hint="name a directory, e.g. .")
    if environment.get(POLICY_VARIABLE):
        hint = "unset it; --registry-map and bases named by digest say what may be fetched"
        raise UsageError(f"${POLICY_VARIABLE}: policies of sources are not looked at, and so protect nobody", hint=hint)
    native = native_platform()
    tags = tuple(dict.fromkeys(_tag(text) for text in options.tag))
    if options.file == "-" and options.context == "-":
        raise UsageError(
            "the Dockerfile and the build context cannot both come from standard input",
            hint="name one of them: pybuild -f Dockerfile - or pybuild -f - DIR",
        )
    compression = choice(
        "--compression", options.compression, options.compression_level, options.force_compression, CompressionChoice()
    )
    found = outputs(options.output, tags, push=options.push, usual=compression)
    refuse_zstd(options.format, compression, found)
    platforms = _platforms(options.platform) or _usual_platforms(environment) or (native,)
    annotations = _annotations(options.annotation)
    arguments = _build_args(options.build_arg, environment)
    request = BuildRequest(
        context=options.context,
        platforms=platforms,
        build_platform=native,
        dockerfile=options.file,
        tags=tags,
        outputs=found,
        compression=compression,
        level=chosen_level(options, environment),
        target=options.target,
        build_args=arguments,
        labels=_labels(options.label),
        annotations=annotations,
        base_annotations=options.base_annotations,
        contexts=_contexts(options.build_context),
        image_format=options.format,
        pull="missing" if options.offline and options.pull == "auto" else options.pull,
        offline=options.offline,
        no_cache=options.no_cache,
        fresh_stages=tuple(name for text in options.no_cache_filter for name in text.split(",") if name),
        network=_network(options.network, environment),
        isolation=options.isolation,
        snapshotter=options.snapshotter,
        ignore_user=options.ignore_user,
        push_foreign=options.push_foreign,
        jobs=_number("--jobs", options.jobs) if options.jobs else available_cpus(),
        timeout=_seconds(options.timeout) if options.timeout else None,
        epoch=EpochChoice(options.source_date_epoch, environment.get("SOURCE_DATE_EPOCH"), options.reproducible),
        secrets=dict(_secret(text, environment) for text in options.secret),
        stdin=sys.stdin.buffer if "-" in (options.file, options.context) else None,
        environment=environment,
        **_grants(options, environment),
        **_caches(options, arguments),
    )
    refuse_mismatches(request)
    return request


def _platforms(texts: Sequence[str]) -> tuple[Platform, ...]:
    if not texts:
        return ()
    from builder.cli.platforms import several_platforms

    return tuple(dict.fromkeys(one for text in texts for one in several_platforms(text)))


def _usual_platforms(environment: Mapping[str, str]) -> tuple[Platform, ...]:
    """Return what Docker's variable says, for those who have set it."""
    text = environment.get(PLATFORM_VARIABLE, "")
    try:
        return _platforms([text] if text else ())
    except BuilderError as error:
        raise UsageError(f"${PLATFORM_VARIABLE}: {error.message}", hint=error.hint) from error


def _annotations(texts: Sequence[str]) -> tuple[Annotation, ...]:
    if not texts:
        return ()
    from builder.cli.annotations import parse_annotation

    return tuple(one for text in texts for one in parse_annotation(text))


def _grants(options: argparse.Namespace, environment: Mapping[str, str]) -> dict[str, Any]:
    """Return what RUN is given beyond the usual. Most builds give nothing, and import nothing."""
    names = ("ssh", "allow", "add_host", "dns", "dns_search", "shm_size", "ulimit", "memory", "cpus")
    if not any(getattr(options, name) for name in names):
        return {}
    from builder.cli import granting

    return {
        "ssh": granting.agents(options.ssh, environment),
        "allow": granting.permissions(options.allow),
        "hosts": granting.hosts(options.add_host),
        "shm_size": granting.shm_size(options.shm_size),
        "ulimits": granting.ulimits(options.ulimit),
        "provision": granting.provision(options.memory, options.cpus, options.dns, options.dns_search),
    }


def _caches(options: argparse.Namespace, arguments: Mapping[str, str]) -> dict[str, Any]:
    """Return the shared caches. Most builds name none, and import nothing."""
    inline = arguments.get("BUILDKIT_INLINE_CACHE", "").lower() in ("1", "t", "true")
    targets = [*options.cache_to, *(["type=inline"] if inline and "type=inline" not in options.cache_to else ())]
    if not (options.cache_from or targets):
        return {}
    from builder.cli import caching

    return {"cache_from": caching.sources(options.cache_from), "cache_to": caching.targets(targets)}


def _tag(text: str) -> Reference:
    reference = Reference.parse(text)
    if reference.digest is not None:
        problem = f"--tag {text}: an image gets a name and a tag, its digest is what it is"
        raise UsageError(problem, hint="leave @sha256:... out")
    return reference


def _number(option: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 4 or not 0 < int(text) <= 1024:
        raise UsageError(f"{option} {text}: expected a whole number from 1 to 1024")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise UsageError(f"--timeout {text}: expected a number of seconds")
    return value


def _pair(option: str, text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(f"{option} {text}: expected NAME=VALUE")
    return key, value


def _pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    return dict(_pair(option, text) for text in texts)


def _network(given: str | None, environment: Mapping[str, str]) -> str:
    """Return the network of RUN; a site that wants none by default says so in the environment."""
    name = given or environment.get("PYBUILD_NETWORK") or "default"
    if name not in NETWORKS:
        raise UsageError(f"PYBUILD_NETWORK={name}: expected one of {', '.join(NETWORKS)}")
    return name


def _labels(texts: Sequence[str]) -> dict[str, str]:
    """Return labels as Docker reads them: without ``=`` the value is empty."""
    return _pairs("--label", [text if "=" in text else f"{text}=" for text in texts])


def _build_args(texts: Sequence[str], environment: Mapping[str, str]) -> dict[str, str]:
    found = proxy_arguments(environment)
    for text in texts:
        name, equals, value = text.partition("=")
        if not name:
            raise UsageError(f"--build-arg {text}: expected NAME or NAME=VALUE")
        if equals:
            found[name] = value
        elif name in environment:
            found[name] = environment[name]
    return found


def _contexts(texts: Sequence[str]) -> dict[str, str]:
    contexts = _pairs("--build-context", texts)
    for name, where in contexts.items():
        if not where:
            raise UsageError(
                f"--build-context {name}=: say where it is", hint=f"e.g. {name}=DIR, or {name}=docker-image://REF"
            )
        if where.startswith("oci-layout:") and not where.startswith("oci-layout://"):
            raise UsageError(f"--build-context {name}={where}: a layout is named with oci-layout://DIR")
        if where.startswith("docker-image://") and where != "docker-image://scratch":
            Reference.parse(where.removeprefix("docker-image://"))
    return contexts


def _secret(text: str, environment: Mapping[str, str]) -> tuple[str, SecretReader]:
    fields = _pairs("--secret", text.split(","))
    identity = fields.pop("id", "")
    kind = fields.pop("type", "env" if "env" in fields else "file")
    source = fields.pop("src", fields.pop("source", ""))
    name = fields.pop("env", "")
    if fields or not identity or kind not in ("file", "env") or (source and name):
        raise UsageError(f"--secret {text}: expected id=ID,src=FILE or id=ID,env=NAME")
    if name or kind == "env":
        return identity, functools.partial(_secret_variable, name or source or identity, environment)
    if not source and identity in environment:
        return identity, functools.partial(_secret_variable, identity, environment)
    path = Path(source or identity)
    if not path.exists():
        raise ContextError(f"--secret {text}: there is no file {path}")
    return identity, functools.partial(_secret_file, path)


def _secret_variable(name: str, environment: Mapping[str, str]) -> bytes:
    if name not in environment:
        raise UsageError(f"--secret: the environment variable {name} is not set")
    return os.fsencode(environment[name])


def _secret_file(path: Path) -> bytes:
    try:
        with open(path, "rb") as stream:
            return stream.read(SECRET_LIMIT + 1)
    except OSError as error:
        raise ContextError(f"cannot read the secret {path}: {error.strerror}") from error


# --- what files and variables say


def given_words(options: argparse.Namespace) -> dict[str, object]:
    """Return what the words of a build say, without what they leave to be as usual."""
    parser = options.grammar
    for action in parser._actions:
        action.default = argparse.SUPPRESS
    return dict(vars(parser.parse_args([*map(pull_said, options.argv)])))


def settle(options: argparse.Namespace, environment: Mapping[str, str]) -> list[argparse.Namespace]:
    """Return the options of each build that was asked for, with what files and variables say. Raises UsageError.

    Where there is no such file nor variable this is a few looks at the file system.
    """
    found = described(options, environment)
    if found is None:
        if len(options.words) > 1:
            options.grammar.error(f"unrecognized arguments: {' '.join(options.words[1:])}")
        return [options]
    from builder.cli.config.settling import settled

    return settled(options, environment, *found)


def described(
    options: argparse.Namespace, environment: Mapping[str, str]
) -> tuple[tuple[Path, ...], list[Project]] | None:
    """Return the files that may say something of a build, None if nothing says anything."""
    words = options.words
    starts = ["."] if all(is_name(one) for one in words) else []
    starts += words[:1] if len(words) == 1 and os.path.isdir(words[0]) else []
    wanted = wants_project(options.no_project_config, environment)
    found = [one for start in starts if wanted and (one := find_project(start)) is not None]
    projects = found[:1] if found[1:] == found[:1] else found
    files = settings_files(options.config, environment)
    said = any(name.startswith("PYBUILD_") and name not in _READ_ELSEWHERE for name in environment)
    return (files, projects) if files or projects or said else None


_READ_ELSEWHERE = frozenset(
    f"PYBUILD_{name}"
    for name in (
        *("ROOT", "CONFIG", "CREDS", "STORE_RO", "STORE_MAX_SIZE", "NETWORK", "COMPAT", "PROGRESS"),
        *("NO_PROJECT_CONFIG", "INSECURE_REGISTRY", "REGISTRY_MIRROR", "REGISTRY_MAP"),
        *("REGISTRY_CERTIFICATE", "REGISTRY_CLIENT_CERT"),
    )
)
"""Variables that need nothing of ``builder.cli.config`` where nothing else does."""
