"""The command line's grammar: which commands there are, and the options of ``build``, checked for form only.

What a build's options mean together is ``builder.cli.requests``'s business; other commands have a module each in
``builder.cli.commands``, loaded when it is used. Mistakes are UsageError, with a suggestion.
"""

from __future__ import annotations

import argparse
import itertools
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, TypeGuard, cast

from builder.cli.levels import add_compat
from builder.cli.parsing import Parser, add_quiet, base, chosen_action, listing, pull_said, split_word, value_of
from builder.cli.registries import add_push_options, add_registry_options
from builder.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

NETWORKS = ("default", "none", "host")
PULL = ("auto", "always", "missing", "never")

GROUPS = {
    "build": {
        "build": "build an image; the word may be left out",
        "explain": "say which steps of a build are cached, and why the others are not",
        "kaniko": "build with the flags of kaniko's executor",
    },
    "registry": {
        "pull": "fetch images from registries into the store",
        "push": "push an image of the store, an archive or a layout",
        "copy": "copy an image between registries, layouts, archives and the store",
        "digest": "ask which digest a name has now",
        "tags": "list the tags of a repository",
        "manifest": "make, annotate and push a list of images for several platforms",
        "catalog": "list the repositories of a registry",
        "login": "try an account at a registry and keep it, or say which one is used",
        "logout": "forget the account of a registry",
    },
    "images": {
        "images": "list what is in the store",
        "tag": "give an image of the store more names",
        "rmi": "remove names and images from the store",
        "save": "write images as a docker-load tarball or OCI layout",
        "load": "bring images of an archive or layout into the store",
        "append": "put layers on top of an image, without a Dockerfile",
        "convert": "write an image in Docker's or OCI's format, or with its layers compressed otherwise",
        "mutate": "change the config or the annotations of an image, without a Dockerfile",
    },
    "looking": {
        "inspect": "show an image's config, manifest or index, or what refers to it",
        "history": "show the steps that made an image, and their sizes",
        "diff": "say where two images differ",
        "explore": "make a page of what is in an image, layer by layer",
        "validate": "read an image and check every digest in it",
    },
    "machine": {
        "config": "show what files and variables say of a build, and where each value comes from",
        "warm": "fetch base images into a store for builds that only read it",
        "cache": "show what the store holds, and remove what can go",
        "doctor": "try what RUN can use on this machine, and say what to change",
        "help": "explain a command, a topic, or the code of an error",
        "completion": "print what lets bash, zsh or fish complete a command line",
    },
}
"""Every command and what it does, as ``--help`` lists them; each but ``build`` has a module in ``cli/commands``."""

COMMANDS = {name: summary for group in GROUPS.values() for name, summary in group.items()}

_EXIT_STATUSES = """\
pybuild COMMAND --help says more about each, pybuild help lists topics.
Flags may be followed by =true or =false: --push=false overrides what a file says.

exit status: 0 done; of a failed RUN its own; 64 usage, 65 Dockerfile, 66 context, 67 image, 69 registry,
71 sandbox, 73 output or store, 75 try again, 77 credentials, 130 interrupted, 70 a bug of ours.
"""


class Command(Protocol):
    """A module of ``cli/commands``."""

    def parser(self) -> Parser:
        """Return the grammar."""
        ...

    def run(self, options: argparse.Namespace) -> int:
        """Carry it out and return the exit status."""
        ...


class CommandOfTwoWords(Protocol):
    """A module of ``cli/commands`` whose second word says what to do; ``options.action`` tells ``run`` which it was."""

    ACTIONS: Mapping[str, str]

    def parser(self, action: str) -> Parser:
        """Return the grammar of an action."""
        ...

    def run(self, options: argparse.Namespace) -> int:
        """Carry it out and return the exit status."""
        ...


def load(command: str) -> Command | CommandOfTwoWords:
    """Return the module of a command other than build."""
    import importlib

    return cast("Command | CommandOfTwoWords", importlib.import_module(f"builder.cli.commands.{command}"))


def _has_actions(module: Command | CommandOfTwoWords) -> TypeGuard[CommandOfTwoWords]:
    return hasattr(module, "ACTIONS")


def split_command(argv: Sequence[str]) -> tuple[str, list[str]]:
    """Return the command and the other arguments; global options may stand before it. Without one it is build.

    Raises UsageError for a word that is nearly a command and no file.
    """
    word, rest = split_word(argv)
    if word in COMMANDS:
        return word, rest
    if is_name(word) and not os.path.lexists(word):
        from builder.cli.foreign import COMMANDS as FOREIGN
        from builder.dockerfile.suggest import nearest

        close = nearest(word, COMMANDS)
        if (close or word in FOREIGN) and not _is_target(word, argv):
            hint = f"use {FOREIGN[word]}" if word in FOREIGN else f"did you mean pybuild {close}?"
            raise UsageError(f"there is neither a command nor a directory called {word}", hint=hint)
    return "build", list(argv)


def _is_described(options: argparse.Namespace) -> bool:
    from builder.cli.requests import described

    return described(options, os.environ) is not None


def _is_target(word: str, argv: Sequence[str]) -> bool:
    from builder.cli.config.names import may_be_target

    return may_be_target(word, os.environ, value_of("--config", argv) or None)


def parse(command: str, argv: Sequence[str]) -> argparse.Namespace:
    """Return the options of ``command``. Raises UsageError; ``--help`` and ``--version`` print and exit."""
    if command == "build":
        about = "Build a container image from a Dockerfile, without a daemon."
        return parse_build(build_parser("pybuild", about, _epilog()), argv)
    module = load(command)
    if command == "explain":
        return parse_build(cast(Command, module).parser(), argv)
    if _has_actions(module):
        action, rest = chosen_action(command, module.ACTIONS, argv)
        grammar = module.parser(action)
        shows = (command, action) == ("config", "show")
        options = parse_build(grammar, rest, alone=True) if shows else grammar.parse_args(rest)
        options.action = action
        return options
    return cast(Command, module).parser().parse_args(argv)


def parse_build(parser: Parser, argv: Sequence[str], *, alone: bool = False) -> argparse.Namespace:
    """Return the options of a build, not yet settled; ``alone``: it may have no context. Raises UsageError."""
    try:
        return _parse_build(parser, argv, alone=alone)
    except UsageError as error:
        from builder.cli.foreign import explained

        raise explained(error, argv, parser._option_string_actions) from error.__cause__


def _parse_build(parser: Parser, argv: Sequence[str], *, alone: bool) -> argparse.Namespace:
    following = [after for word, after in itertools.pairwise(argv) if word == "--pull" and after in PULL]
    parser.pull = following[0] if following else ""
    options = parser.parse_args([*map(pull_said, argv)])
    options.words = words = options.context
    options.context = words[0] if words else None
    options.argv, options.grammar = tuple(argv), parser
    if len(words) > 1 and not all(is_name(one) for one in words):
        first = words[0]
        if first != parser.pull and is_name(first) and not (os.path.lexists(first) or _is_target(first, argv)):
            told = f"there is neither a command nor a directory called {first}"
            raise UsageError(told, hint=f"see {parser.prog} --help")
        parser.error(f"unrecognized arguments: {' '.join(words[1:])}")
    if not (words or alone or _is_described(options)):
        from builder.cli.parsing import nothing_to_build

        raise nothing_to_build(argv)
    return options


def is_name(word: str) -> bool:
    """Say whether a word may be a target's name; other words are contexts."""
    return word[:1] not in (".", "-", "") and word.replace("-", "").replace("_", "").replace(".", "").isalnum()


def _epilog() -> str:
    width = max(map(len, COMMANDS))
    groups = [
        f"commands ({name}):\n{listing({f'{command:{width}}': summary for command, summary in group.items()})}"
        for name, group in GROUPS.items()
    ]
    return "\n\n".join([*groups, _EXIT_STATUSES])


def build_parser(prog: str, about: str, epilog: str) -> Parser:
    """Return the grammar of a build, for the commands that take its options."""
    parser = base(prog, about, epilog)
    parser.add_argument(
        "context",
        metavar="CONTEXT",
        nargs="*",
        help="directory, git or http(s) URL, - for a tar on stdin, or the targets of pybuild.toml to build",
    )
    what = parser.add_argument_group("what to build")
    what.add_argument("-f", "--file", metavar="FILE", help="the Dockerfile, - for stdin (default: CONTEXT/Dockerfile)")
    what.add_argument("--target", metavar="STAGE", help="build this stage (default: the last)")
    what.add_argument("--build-arg", metavar="K[=V]", action="append", default=[], help="set an ARG")
    what.add_argument(
        "--build-context",
        metavar="NAME=WHERE",
        action="append",
        default=[],
        help="a named context: DIR, a git or http(s) URL, docker-image://REF, oci-layout://DIR or docker-archive:FILE",
    )
    what.add_argument(
        "--platform",
        metavar="OS/ARCH[,OS/ARCH]",
        action="append",
        default=[],
        help="the platforms to build for (default: this machine's); several make an index",
    )
    what.add_argument("--label", metavar="K[=V]", action="append", default=[], help="add a label")
    what.add_argument(
        "--annotation",
        metavar="[TYPE[PLATFORM]:]K=V",
        action="append",
        default=[],
        help="annotate the manifest, or what TYPE says: manifest, manifest-descriptor, index, index-descriptor",
    )
    what.add_argument(
        "--no-base-annotations",
        dest="base_annotations",
        action="store_false",
        help="do not annotate the image with its base's name and digest",
    )
    what.add_argument(
        "--secret",
        metavar="id=ID[,src=FILE|,env=NAME]",
        action="append",
        default=[],
        help="what RUN --mount=type=secret,id=ID gives, from a file or a variable",
    )
    _add_grants(parser.add_argument_group("what RUN gets"))
    look = parser.add_argument_group("instead of building")
    look.add_argument("--check", action="store_true", help="look for mistakes and bad habits; --call=check")
    look.add_argument(
        "--call",
        metavar="METHOD[,format=json]",
        default="build",
        help="check, outline (what a target can be given) or targets; findings of check end with 65",
    )
    where = parser.add_argument_group("where it goes (default: the store)")
    where.add_argument("-t", "--tag", metavar="REF", action="append", default=[], help="name the image")
    where.add_argument("--push", action="store_true", help="push every tag to its registry")
    add_push_options(where)
    where.add_argument(
        "-o",
        "--output",
        metavar="type=TYPE,dest=DEST",
        action="append",
        default=[],
        help="TYPE is docker, oci, tar, local or registry; dest=- is stdout",
    )
    where.add_argument("--format", choices=("docker", "oci"), default="oci", help="the image's format")
    where.add_argument(
        "--compression",
        metavar="HOW",
        default="",
        help="compress layers with gzip (default), gzip-single-member, zstd or not at all: uncompressed",
    )
    where.add_argument("--compression-level", metavar="N", default="", help="0-9 for gzip, 0-22 for zstd")
    where.add_argument(
        "--force-compression", action="store_true", default=None, help="recompress the layers of the base too"
    )
    where.add_argument("--iidfile", metavar="FILE", help="write the image ID")
    where.add_argument("--digest-file", metavar="FILE", help="write the manifest digest")
    where.add_argument("--timings", metavar="FILE", help="write what took how long, for Perfetto or chrome://tracing")
    where.add_argument("--metadata-file", metavar="FILE", help="write how the build ended, as JSON, also if it failed")
    _add_how(parser.add_argument_group("how to build"))
    _add_store(parser.add_argument_group("the store"))
    add_registry_options(parser)
    parser.add_argument(
        "--no-project-config",
        action="store_true",
        default=None,
        help="do not read the project's pybuild.toml or pyproject.toml",
    )
    return parser


def _add_store(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--store-ro",
        metavar="DIR",
        help="another store, which is only read: what pybuild warm made, for example (default: $PYBUILD_STORE_RO)",
    )
    group.add_argument(
        "--offline", action="store_true", help="ask no registry and no server; what is not in the stores is an error"
    )
    group.add_argument(
        "--store-max-size",
        metavar="SIZE",
        help="trim the store to this after builds: 20g, 15%%, 15%%,20g or none "
        "(default: $PYBUILD_STORE_MAX_SIZE, the settings, then 20%% of the file system, at most 50g)",
    )


def _add_grants(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--network", choices=NETWORKS, help="network of RUN (default: $PYBUILD_NETWORK, then the host's)"
    )
    group.add_argument(
        "--ssh",
        metavar="ID[=SOCKET|KEY,KEY]",
        action="append",
        default=[],
        help="the agent of RUN --mount=type=ssh,id=ID (default: $SSH_AUTH_SOCK), or files of keys for a new one",
    )
    group.add_argument(
        "--allow", metavar="NAME", action="append", default=[], help="let RUN ask for security.insecure or network.host"
    )
    group.add_argument("--add-host", metavar="HOST:IP", action="append", default=[], help="a line of /etc/hosts")
    group.add_argument("--dns", metavar="IP", action="append", default=[], help="a name server, not the host's")
    group.add_argument(
        "--dns-search", metavar="DOMAIN", action="append", default=[], help="a domain to look names up in"
    )
    group.add_argument("--shm-size", metavar="SIZE", help="size of /dev/shm (default: 64m)")
    group.add_argument("--ulimit", metavar="NAME=SOFT[:HARD]", action="append", default=[], help="e.g. nofile=1024")
    group.add_argument("--memory", metavar="SIZE", help="memory of a step, where there is a cgroup v2 to use")
    group.add_argument("--cpus", metavar="NUMBER", help="CPUs of a step, where there is a cgroup v2 to use")


def _add_how(group: argparse._ArgumentGroup) -> None:
    add_quiet(group)
    group.add_argument("--no-cache", action="store_true", help="execute everything again")
    group.add_argument(
        "--no-cache-filter",
        metavar="STAGE[,STAGE]",
        action="append",
        default=[],
        help="execute these stages again: names, or numbers from 0",
    )
    group.add_argument(
        "--cache-from",
        metavar="type=TYPE,ref=REF",
        action="append",
        default=[],
        help="look results up there too: TYPE is registry (the default, REF alone will do), local (src=DIR) or inline",
    )
    group.add_argument(
        "--cache-to",
        metavar="type=TYPE,ref=REF",
        action="append",
        default=[],
        help="share results there: registry, local (dest=DIR) or inline; mode=max has those of all stages, "
        "ignore-error=true makes failures warnings",
    )
    group.add_argument(
        "--pull",
        metavar="[=WHEN]",
        choices=PULL,
        default="auto",
        help="when to ask the registry for a base: always (also without a value or with true), missing, never, "
        "or auto, which is once an hour",
    )
    group.add_argument("--source-date-epoch", metavar="SECONDS", help="clamp times (default: $SOURCE_DATE_EPOCH)")
    group.add_argument(
        "--reproducible", action="store_true", help="the same bytes from every checkout: set times and modes"
    )
    add_compat(group)
    isolations = ("auto", "root", "userns", "single", "chroot", "oci")
    group.add_argument("--isolation", choices=isolations, default="auto", help="sandbox of RUN")
    group.add_argument(
        "--snapshotter",
        choices=("auto", "overlay", "fuse", "copy"),
        default="auto",
        help="how RUN gets a tree to write to",
    )
    group.add_argument(
        "--ignore-user", action="store_true", help="where there is one uid only, RUN as root instead of refusing USER"
    )
    group.add_argument("--jobs", metavar="N", help="steps at a time (default: the CPUs this process may use)")
    group.add_argument("--timeout", metavar="SECONDS", help="end a RUN that takes longer")
