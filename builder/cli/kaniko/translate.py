"""From an executor's command line to ours: the same build, pushed to the same places. Pure, but for looking at files.

What the flags become is in ``flags``; here is how. The result is words, so that a person can be shown them.
"""

from __future__ import annotations

import itertools
import os
import shlex
from collections.abc import Mapping

from builder.cli.human import plain
from builder.cli.kaniko.flags import FLAGS, Flag
from builder.cli.kaniko.given import Given
from builder.cli.kaniko.reach import registry_words
from builder.cli.kaniko.source import Source, hidden, source
from builder.cli.parsing import wants_project
from builder.errors import UsageError
from builder.image.reference import Reference
from builder.settings import find_project
from builder.values import dataclass

_HOME = "/kaniko"
"""Where executors live, and people put accounts for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Equivalent:
    """Our words for a build, or with ``dry`` for ``explain``. ``stdin`` is a file for standard input, empty for the one
    there is.

    ``environment`` is set before; ``notices`` tell what was left out. ``names`` and ``tagged`` are files for the name
    of each destination with the digest.
    """

    words: tuple[str, ...]
    dry: bool = False
    stdin: str = ""
    environment: Mapping[str, str]
    notices: tuple[str, ...] = ()
    destinations: tuple[Reference, ...] = ()
    names: str = ""
    tagged: str = ""

    @property
    def shown(self) -> str:
        """The command as a person would write it, without passwords and values of build arguments."""
        given = "".join(f"{name}={shlex.quote(_shown_value(name, value))} " for name, value in self.environment.items())
        words = (_shown_word(*pair) for pair in itertools.pairwise(("", *self.words)))
        command = shlex.join(["pybuild", *(["explain"] if self.dry else []), *words])
        return given + command + (f" < {shlex.quote(self.stdin)}" if self.stdin else "")


def _shown_word(before: str, word: str) -> str:
    option, equals, value = word.partition("=")
    if before == "--build-arg":
        return f"{option}=..."
    if before == "--creds":
        return "..."
    if equals and option in ("--build-arg", "--creds"):  # only words that follow -- are written so
        return f"{option}={_shown_word(option, value)}"
    return hidden(word)


def _shown_value(name: str, value: str) -> str:
    return "..." if name == "PYBUILD_CREDS" else value


def equivalent(given: Given, environment: Mapping[str, str]) -> Equivalent:
    """Return what to run instead. Raises UsageError for what cannot be had here, ReferenceSyntaxError."""
    for flag in FLAGS.values():
        if flag.fate == "refused" and _speaks(flag, given):
            raise UsageError(f"--{flag.name} is not for pybuild", hint=plain(flag.here))
    _refuse_impossible(given)
    destinations = tuple(dict.fromkeys(Reference.parse(text) for text in given.texts("destination")))
    found = source(given, environment)
    dry = given.on("dryrun")
    unread, notice = _project(given, environment, found)
    words = (
        *unread,
        *_what(given, environment, found),
        *([] if dry else _where(given)),
        *_cache(given, destinations),
        *registry_words(given, destinations, found),
        *_renamed(given),
        *_how(given),
        *given.own,
        found.context,
    )
    return Equivalent(
        words=words,
        dry=dry,
        stdin=found.stdin,
        environment=_environment(given, environment),
        notices=(*found.notices, *notice, *_left_out(given)),
        destinations=destinations,
        names="" if dry else given.text("image-name-with-digest-file"),
        tagged="" if dry else given.text("image-name-tag-with-digest-file"),
    )


def _speaks(flag: Flag, given: Given) -> bool:
    """Say whether a flag is given and, if it is a switch, asks for something."""
    return given.has(flag.name) and (flag.kind != "switch" or given.on(flag.name) == flag.speaking)


def _left_out(given: Given) -> tuple[str, ...]:
    return tuple(
        f"--{flag.name} is left out: {plain(flag.here)}"
        for flag in FLAGS.values()
        if flag.fate == "ignored" and _speaks(flag, given)
    )


def _refuse_impossible(given: Given) -> None:
    destinations, push = given.has("destination"), not (given.on("no-push") or given.on("dryrun"))
    if push and not destinations:
        raise UsageError("--destination is missing", hint="add --destination REGISTRY/NAME:TAG, or --no-push")
    for name in ("image-name-with-digest-file", "image-name-tag-with-digest-file"):
        if given.text(name) and not destinations:
            raise UsageError(f"--{name} needs a --destination, whose name it is")
    for name in ("digest-file", "image-name-with-digest-file", "image-name-tag-with-digest-file"):
        if "://" in given.text(name):
            raise UsageError(
                f"--{name} {given.text(name)}: a file is written here", hint="send it on with curl or gsutil"
            )
    if given.on("cache") and not given.has("cache-repo") and not destinations and not given.on("no-push-cache"):
        raise UsageError("--cache needs to know where", hint="add --cache-repo REPOSITORY")
    if len(set(given.texts("target"))) > 1:
        raise UsageError("--target is given for several stages", hint="build one after the other; equal steps are hits")


def _project(given: Given, environment: Mapping[str, str], found: Source) -> tuple[list[str], list[str]]:
    """Return the option and the notice that leave a project's file out: an executor's flags say all there is.

    Who asks for the file after ``--`` gets it.
    """
    asked = any(word.partition("=")[0] == _UNREAD for word in given.own)
    if asked or not found.local or not wants_project(None, environment):
        return [], []
    project = find_project(found.context)
    if project is None:
        return [], []
    place = os.path.relpath(project.file)
    return [_UNREAD], [f"{place} is not read: an executor does not know it; -- {_UNREAD}=false reads it"]


_UNREAD = "--no-project-config"


# --- the parts


def _what(given: Given, environment: Mapping[str, str], found: Source) -> list[str]:
    words = ["-f", found.dockerfile] if found.dockerfile else []
    for text in given.texts("build-arg"):
        # Without a value it is the variable's, and empty where there is none; ours would leave it alone.
        words += ["--build-arg", text if "=" in text else f"{text}={environment.get(text, '')}"]
    return words


def _where(given: Given) -> list[str]:
    words = [word for text in given.texts("destination") for word in ("-t", text)]
    words.append("--push=false" if given.on("no-push") else "--push")
    if given.text("tar-path"):
        words += ["-o", _attributes("type=docker", f"dest={given.text('tar-path')}")]
    if given.text("oci-layout-path"):
        words += ["-o", _attributes("type=oci,tar=false", f"dest={given.text('oci-layout-path')}")]
    if given.text("digest-file"):
        words += ["--digest-file", given.text("digest-file")]
    if given.text("compression-level", "-1") != "-1":
        words += ["--compression-level", given.text("compression-level")]
    return words


def _attributes(fixed: str, last: str) -> str:
    """Return attributes as CSV: one with a comma or a quote is quoted."""
    if "," in last or '"' in last:
        last = '"' + last.replace('"', '""') + '"'
    return f"{fixed},{last}"


def _cache(given: Given, destinations: tuple[Reference, ...]) -> list[str]:
    if not given.on("cache"):
        return ["--no-cache"] if given.has("cache") else []
    # An executor that keeps no results of RUN executes every one.
    words = [] if given.on("cache-run-layers", usual=True) else ["--no-cache"]
    repository = cache_repository(given, destinations)
    if not repository:
        return words
    if repository.startswith("oci:"):
        directory = repository.removeprefix("oci:").removeprefix("//")
        reading, writing = f"type=local,src={directory}", f"type=local,dest={directory},mode=max,ignore-error=true"
    else:
        reading, writing = repository, f"type=registry,ref={repository},mode=max,ignore-error=true"
    return [*words, "--cache-from", reading, *([] if given.on("no-push-cache") else ["--cache-to", writing])]


def cache_repository(given: Given, destinations: tuple[Reference, ...]) -> str:
    """Return where an executor keeps its cache: where it is told to, or beside the first destination."""
    return given.text("cache-repo") or (f"{destinations[0].name}/cache" if destinations else "")


def _renamed(given: Given) -> list[str]:
    words: list[str] = []
    for flag in FLAGS.values():
        if flag.fate != "renamed" or not given.has(flag.name):
            continue
        if flag.kind == "switch":
            words += [flag.option if given.on(flag.name) else f"{flag.option}=false"]
        else:
            values = given.texts(flag.name) if flag.kind == "texts" else given.texts(flag.name)[-1:]
            words += [word for value in values if value for word in (flag.option, value)]
    return words


def _how(given: Given) -> list[str]:
    level = given.text("verbosity", "info")
    if level in ("trace", "debug"):
        return ["--debug", *(["--progress", "json"] if given.text("log-format") == "json" else [])]
    if level in ("warn", "warning", "error", "fatal", "panic"):
        return ["--progress", "quiet"]
    if level != "info":
        raise UsageError(f"--verbosity {level}: there is no such level", hint="one of trace, debug, info, warn, error")
    return ["--progress", "json"] if given.text("log-format") == "json" else []


def _environment(given: Given, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that let a build find the accounts that an executor would."""
    folder = os.path.join(given.text("kaniko-dir", _HOME), ".docker")
    if "DOCKER_CONFIG" not in environment and os.path.isfile(os.path.join(folder, "config.json")):
        return {"DOCKER_CONFIG": folder}
    if given.texts("credential-helpers") and "gitlab" not in given.texts("credential-helpers"):
        return {}
    return _gitlab_account(environment)


def _gitlab_account(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the account that GitLab gives its jobs, for those that have no other."""
    registry, user, password = (environment.get(f"CI_REGISTRY{part}", "") for part in ("", "_USER", "_PASSWORD"))
    others = ("PYBUILD_CREDS", "DOCKER_AUTH_CONFIG", "REGISTRY_AUTH_FILE")
    home = environment.get("DOCKER_CONFIG") or os.path.join(environment.get("HOME", "/"), ".docker")
    known = any(environment.get(name) for name in others) or os.path.isfile(os.path.join(home, "config.json"))
    if known or not (registry and user and password) or "\n" in registry + user + password:
        return {}
    return {"PYBUILD_CREDS": f"{registry}={user}:{password}"}
