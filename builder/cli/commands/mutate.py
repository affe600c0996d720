"""``pybuild mutate``: an image's config and annotations changed, without a Dockerfile."""

from __future__ import annotations

import argparse
import os

from builder.cli.annotations import parse_annotation
from builder.cli.changes import add_target_options, finish
from builder.cli.levels import chosen_level
from builder.cli.parsing import Parser, base
from builder.cli.platforms import one_platform
from builder.cli.session import working
from builder.engine.times import epoch_seconds
from builder.errors import UsageError
from builder.images import mutating
from builder.images.mutating import Edit, Mutation

EXAMPLES = """
examples:
  pybuild mutate app:1 docker://registry.example/app:2 --label team=web --env LOG=debug
  pybuild mutate --entrypoint '["/app"]' --cmd '["serve"]' --user 1000 app:1 --tag app:2
  pybuild mutate --change 'HEALTHCHECK CMD wget -q localhost' --unset label=x docker-archive:a.tar docker-archive:b.tar
  pybuild mutate --annotation org.opencontainers.image.title=App --repo registry.example/app app:1

A command is a JSON array, or text for the image's shell, as in a Dockerfile; --entrypoint forgets the CMD that was
there, unless --cmd gives one. First goes what --unset names, then options are applied, then --change in order. Every
image of an index is changed, unless --platform chooses one. Layers stay; the history too, unless --history adds a line;
where nothing changes, the digest stays.
"""


def parser() -> Parser:
    """Return the grammar."""
    parser = base("pybuild mutate", "Change the config or the annotations of an image.", EXAMPLES)
    parser.add_argument("source", metavar="SRC", help="the image: anything convert reads")
    parser.add_argument("destination", metavar="DST", nargs="?", default="", help="anything convert writes")
    parser.add_argument("-t", "--tag", metavar="REF", action="append", default=[], help="keep it here under this name")
    parser.add_argument("--repo", metavar="REPOSITORY", default="", help="push it there by its digest, without a tag")
    parser.add_argument("--platform", metavar="OS/ARCH", help="of an index: change this image, and take it alone")
    what = parser.add_argument_group("what containers run")
    what.add_argument("--entrypoint", metavar="COMMAND", help="what is run")
    what.add_argument("--cmd", metavar="COMMAND", help="its arguments, or what is run without an entrypoint")
    what.add_argument("-e", "--env", metavar="K=V", action="append", default=[], help="set a variable")
    what.add_argument("-u", "--user", metavar="USER[:GROUP]", help="who runs it")
    what.add_argument("-w", "--workdir", metavar="DIR", help="where")
    what.add_argument("--expose", metavar="PORT[/PROTOCOL]", action="append", default=[], help="name a port")
    what.add_argument("--volume", metavar="DIR", action="append", default=[], help="name a volume")
    what.add_argument("--stop-signal", metavar="SIGNAL", help="what ends it")
    what.add_argument("--change", metavar="INSTRUCTION", action="append", default=[], help="a Dockerfile instruction")
    about = parser.add_argument_group("what is said about it")
    about.add_argument("-l", "--label", metavar="K[=V]", action="append", default=[], help="set a label")
    about.add_argument("--annotation", metavar="[TYPE:]K=V", action="append", default=[], help="of manifest or index")
    about.add_argument("--author", metavar="NAME", help="who made it")
    about.add_argument("--created", metavar="TIME", help="when: 2024-01-31T12:00:00Z, or unix seconds")
    about.add_argument("--source-date-epoch", metavar="SECONDS", default="", help="no time in it is later than this")
    about.add_argument("--history", metavar="TEXT", default="", help="add a line to the history")
    about.add_argument("--set-platform", metavar="OS/ARCH", help="say that the image is for this platform")
    parser.add_argument(
        "--unset",
        metavar="WHAT",
        action="append",
        default=[],
        help=f"take away {', '.join(mutating.WHOLE)}; or {', '.join(f'{one}=NAME' for one in mutating.ONE_OF)}",
    )
    add_target_options(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Carry it out and return the exit status."""
    from builder.image.reference import Reference
    from builder.images.choosing import choose
    from builder.images.locate import locate

    chosen_level(options, os.environ)
    mutation = _mutation(options)
    if not (options.destination or options.tag or options.repo):
        raise UsageError("where should the image go?", hint="name DST, or add --tag REF or --repo REPOSITORY")
    repository = Reference.parse(options.repo) if options.repo else None
    if repository is not None and (repository.digest or ":" in options.repo.rpartition("/")[2]):
        raise UsageError(f"--repo {options.repo}: a repository has no tag", hint="name DST for a tag")
    platforms = [one_platform(options.platform)] if options.platform else []
    with working(options) as env:
        artifact = choose(locate(options.source, env), platforms)
        done = mutating.mutate(artifact, mutation)
        to = [options.destination] if options.destination else []
        to += [f"store:{tag}" for tag in options.tag]
        if repository is not None:
            to.append(f"docker://{repository.name}@{done.artifact.digest}")
        return finish(options, artifact, done, env, to)


def _mutation(options: argparse.Namespace) -> Mutation:
    edit, forgotten = mutating.unset(options.unset)
    epoch = options.source_date_epoch
    return Mutation(
        edits=(edit, *_edits(options), *(mutating.instruction(text) for text in options.change)),
        annotations=tuple(one for text in options.annotation for one in parse_annotation(text)),
        forgotten=forgotten,
        platform=one_platform(options.set_platform) if options.set_platform else None,
        epoch=epoch_seconds("--source-date-epoch", epoch) if epoch else None,
        history=options.history,
    )


def _edits(options: argparse.Namespace) -> list[Edit]:
    single = {
        "entrypoint": mutating.set_entrypoint,
        "cmd": mutating.set_cmd,
        "user": mutating.set_user,
        "workdir": mutating.set_workdir,
        "stop_signal": mutating.set_stop_signal,
        "author": mutating.set_author,
        "created": mutating.set_created,
    }
    found = [make(value) for name, make in single.items() if (value := getattr(options, name)) is not None]
    if options.env:
        found.append(mutating.set_environment(_pairs("--env", options.env)))
    if options.label:
        labels = [text if "=" in text else f"{text}=" for text in options.label]
        found.append(mutating.set_labels(_pairs("--label", labels)))
    if options.expose:
        found.append(mutating.expose(options.expose))
    if options.volume:
        found.append(mutating.add_volumes(options.volume))
    return found


def _pairs(option: str, texts: list[str]) -> dict[str, str]:
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"{option} {text}: expected NAME=VALUE")
        found[name] = value
    return found
