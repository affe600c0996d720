"""The command line's grammar: which options there are, and their values as plain text checked for form.

What they mean together is ``builder.cli.requests``'s business. Mistakes are UsageError, with a suggestion.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from typing import NoReturn

from builder import __version__
from builder.dockerfile.suggest import nearest
from builder.errors import UsageError

COMMANDS = ("build", "push", "save", "validate", "doctor")
PROGRESS = ("auto", "tty", "plain", "json", "quiet")
NETWORKS = ("default", "none", "host")
PULL = ("auto", "always", "missing", "never")

_GLOBAL_WITH_VALUE = ("--root", "--progress")
_GLOBAL_FLAGS = ("--debug",)

_EPILOG = """\
commands:
  pybuild [build] [OPTIONS] CONTEXT   build an image
  pybuild push REF                    push an image built here to the registry in its name
  pybuild save REF -o FILE            write an image built here as a docker-load tarball or OCI layout
  pybuild validate REF|FILE|DIR       read an image and check every digest in it
  pybuild doctor                      try what RUN can use on this machine, and say what to change

exit status: 0 done; of a failed RUN its own; 64 usage, 65 Dockerfile, 66 context, 67 image, 69 registry,
71 sandbox, 73 output or store, 75 try again, 77 credentials, 130 interrupted, 70 a bug of ours.
"""


class _Parser(argparse.ArgumentParser):
    pull = ""
    """What follows a bare --pull, if it looks like its value."""

    def error(self, message: str) -> NoReturn:
        hint = f"see {self.prog} --help"
        unknown = message.partition("unrecognized arguments: ")[2].split(" ")[0].partition("=")[0]
        if unknown.startswith("--"):
            close = nearest(unknown, self._option_string_actions)
            hint = f"did you mean {close}?" if close else hint
        elif unknown and self.pull:
            hint = f"write --pull={self.pull}"
        raise UsageError(message, hint=hint)


def split_command(argv: Sequence[str]) -> tuple[str, list[str]]:
    """Return the command and the other arguments; global options may stand before it. Without one it is build."""
    index = 0
    while index < len(argv):
        word = argv[index]
        if word in _GLOBAL_WITH_VALUE:
            index += 2
        elif word in _GLOBAL_FLAGS or word.startswith(tuple(f"{one}=" for one in _GLOBAL_WITH_VALUE)):
            index += 1
        else:
            break
    if index < len(argv) and argv[index] in COMMANDS:
        return argv[index], [*argv[:index], *argv[index + 1 :]]
    return "build", list(argv)


def value_of(option: str, argv: Sequence[str]) -> str:
    """Return the last value of an option in words that were not parsed, perhaps because they cannot be; or nothing."""
    value = ""
    for word, following in zip(argv, [*argv[1:], ""], strict=True):
        if word == option:
            value = following
        elif word.startswith(f"{option}="):
            value = word.partition("=")[2]
    return value


def parse(command: str, argv: Sequence[str]) -> argparse.Namespace:
    """Return the options of ``command``. Raises UsageError; ``--help`` and ``--version`` print and exit."""
    parser = {"build": _build, "push": _push, "save": _save, "validate": _validate, "doctor": _doctor}[command]()
    following = [after for word, after in itertools.pairwise(argv) if word == "--pull" and after in PULL]
    parser.pull = following[0] if following else ""
    # A bare --pull means always; argparse would take the next word, which is the context.
    return parser.parse_args(["--pull=always" if word == "--pull" else word for word in argv])


def _base(prog: str, description: str, epilog: str | None = None) -> _Parser:
    parser = _Parser(
        prog=prog,
        description=description,
        epilog=epilog,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"pybuild {__version__}")
    group = parser.add_argument_group("global options")
    group.add_argument("--root", metavar="DIR", help="the store (default: $PYBUILD_ROOT, then the user's cache folder)")
    group.add_argument("--progress", choices=PROGRESS, default="auto", help="how to show what happens, on stderr")
    group.add_argument("--debug", action="store_true", help="show tracebacks and log messages")
    return parser


def _build() -> _Parser:
    parser = _base("pybuild", "Build a container image from a Dockerfile, without a daemon.", _EPILOG)
    parser.add_argument("context", metavar="CONTEXT", help="directory, git or http(s) URL, or - for a tar on stdin")
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
    what.add_argument("--platform", metavar="OS/ARCH", help="the platform to build for (default: this machine's)")
    what.add_argument("--label", metavar="K[=V]", action="append", default=[], help="add a label")
    what.add_argument("--annotation", metavar="K=V", action="append", default=[], help="annotate the manifest")
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
    where.add_argument(
        "-o",
        "--output",
        metavar="type=TYPE,dest=DEST",
        action="append",
        default=[],
        help="TYPE is docker, oci, tar, local or registry; dest=- is stdout",
    )
    where.add_argument("--format", choices=("docker", "oci"), default="oci", help="the image's format")
    where.add_argument("--iidfile", metavar="FILE", help="write the image ID")
    where.add_argument("--digest-file", metavar="FILE", help="write the manifest digest")
    where.add_argument("--metadata-file", metavar="FILE", help="write how the build ended, as JSON, also if it failed")
    how = parser.add_argument_group("how to build")
    how.add_argument("--no-cache", action="store_true", help="execute everything again")
    how.add_argument(
        "--pull",
        metavar="[=WHEN]",
        choices=PULL,
        default="auto",
        help="when to ask the registry for a base: always (also without a value), missing, never, "
        "or auto, which is once an hour",
    )
    how.add_argument("--source-date-epoch", metavar="SECONDS", help="clamp times (default: $SOURCE_DATE_EPOCH)")
    how.add_argument(
        "--reproducible", action="store_true", help="the same bytes from every checkout: set times and modes"
    )
    isolations = ("auto", "root", "userns", "single", "chroot", "oci")
    how.add_argument("--isolation", choices=isolations, default="auto", help="sandbox of RUN")
    snapshotters = ("auto", "overlay", "fuse", "copy")
    how.add_argument("--snapshotter", choices=snapshotters, default="auto", help="how RUN gets a tree to write to")
    how.add_argument(
        "--ignore-user", action="store_true", help="where there is one uid only, RUN as root instead of refusing USER"
    )
    how.add_argument("--jobs", metavar="N", help="steps at a time (default: the CPUs this process may use)")
    how.add_argument("--timeout", metavar="SECONDS", help="end a RUN that takes longer")
    return parser


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


def _push() -> _Parser:
    parser = _base("pybuild push", "Push an image built here under its name.")
    parser.add_argument("reference", metavar="REF", nargs="+")
    return parser


def _save() -> _Parser:
    parser = _base("pybuild save", "Write an image built here to a file.")
    parser.add_argument("reference", metavar="REF")
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="- is stdout")
    parser.add_argument("--type", choices=("docker", "oci"), default="docker", help="docker-load tarball or OCI layout")
    return parser


def _validate() -> _Parser:
    parser = _base("pybuild validate", "Read an image whole and check every digest, size and history entry.")
    parser.add_argument("image", metavar="REF|FILE|DIR", help="an image built here, an archive or an OCI layout")
    return parser


def _doctor() -> _Parser:
    parser = _base("pybuild doctor", "Try every way to isolate a RUN, and what else it can use, on this machine.")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="for people or for programs")
    return parser
