"""The texts of ``pybuild help TOPIC``: what a person needs before the pages of the documentation, in a screen each."""

from __future__ import annotations

from collections.abc import Mapping

from builder.values import dataclass


@dataclass(frozen=True, slots=True)
class Topic:
    """A short text about one thing, as a terminal shows it."""

    summary: str
    text: str


TOPICS: Mapping[str, Topic] = {
    "start": Topic(
        "build, push, look, repair",
        """\
A directory with a Dockerfile is all that is needed; there is no daemon.

  pybuild -t app:1 .                           build; it is in the store then
  pybuild -t registry.example/app:1 --push .   build and push
  pybuild -o type=docker,dest=app.tar .        a tarball for docker load
  pybuild images                               what is in the store
  pybuild explain .                            which steps are cached, or not
  pybuild doctor                               what RUN can use here

When something fails, the message ends with a code such as PB6401:
pybuild help PB6401 tells the cause and the way out.""",
    ),
    "context": Topic(
        "where the files come from",
        """\
The last word is the build context: what COPY and ADD can read.

  pybuild .                                    a directory
  pybuild https://git.example/app.git#main     a repository, at a branch
  pybuild https://git.example/app.git#main:d   a directory of it
  pybuild https://files.example/app.tar.gz     an archive
  pybuild - < context.tar.gz                   an archive on standard input
  pybuild -f - . < Dockerfile                  only the Dockerfile from there

.dockerignore keeps files out; DOCKERFILE.dockerignore beside the Dockerfile
takes its place. --build-context NAME=DIR gives COPY --from=NAME more files.""",
    ),
    "outputs": Topic(
        "where an image goes",
        """\
Without an option an image stays in the store, under its tags.

  -t REGISTRY/NAME:TAG --push        push every tag
  -o type=docker,dest=FILE           a tarball for docker load and podman load
  -o type=oci,dest=FILE              an archive of an OCI layout
  -o type=oci,tar=false,dest=DIR     the layout as a directory
  -o type=local,dest=DIR             the files of the image
  -o type=tar,dest=-                 the files, as a tar on standard output

Outputs may be repeated. The line on standard output is NAME:TAG@DIGEST, or
nothing if an output goes there; --iidfile, --digest-file and --metadata-file
write results to files. docs/outputs.md has every attribute.""",
    ),
    "cache": Topic(
        "why a step is executed, and sharing results",
        """\
A step is looked up in the store by what it is and by what it reads; names,
times and machines do not count.

  pybuild explain .                  which steps are cached, and what changed
  --no-cache                         execute everything
  --no-cache-filter STAGE            execute one stage
  --pull                             ask for newer base images first
  --cache-from REGISTRY/NAME         read results of other machines
  --cache-to type=registry,ref=REGISTRY/NAME,mode=max
                                     write them

Who may write a cache decides what images are made of: jobs of merge requests
should only read it. docs/caching.md has recipes.""",
    ),
    "store": Topic(
        "where everything is kept",
        """\
The store is the first of --root, $PYBUILD_ROOT, $XDG_CACHE_HOME/pybuild,
~/.cache/pybuild and /var/tmp/pybuild-UID that is yours and can be written.
It may be deleted whenever no build runs.

  pybuild cache                      what it holds
  pybuild cache prune --max-age 7d   remove what was not used for a week
  pybuild images                     images, by name
  pybuild warm --store DIR REF       fill one for builds with --store-ro DIR

Builds trim it to 20 % of the file system, at most 50 GiB; --store-max-size
says otherwise.""",
    ),
    "registries": Topic(
        "accounts, certificates, mirrors",
        """\
Accounts are read from where Docker and Podman keep them.

  pybuild login -u USER --password-stdin REGISTRY < FILE
  pybuild login --check REGISTRY/NAME      say which account is used, and try it
  --creds REGISTRY=USER                    for one command; asks the password
  PYBUILD_CREDS='REGISTRY=USER:PASSWORD'   the same, for CI
  --registry-certificate HOST=FILE         an authority of your own
  --insecure-registry HOST                 any certificate, or plain http
  --registry-mirror URL                    ask it before docker.io
  --registry-map FROM=TO                   ask another one instead
  --offline                                ask nobody

Registries on this machine are tried in plain http. docs/registries.md says
how each of them is used, and pybuild.toml can hold all but the accounts.""",
    ),
    "secrets": Topic(
        "passwords and keys for RUN",
        """\
A secret is in no layer, no history, no log and no cache key.

  pybuild --secret id=npm,src=token.txt .      from a file
  pybuild --secret id=npm,env=NPM_TOKEN .      from a variable
  RUN --mount=type=secret,id=npm ...           the file /run/secrets/npm
  RUN --mount=type=secret,id=npm,env=TOKEN     a variable

  pybuild --ssh default .                      the agent of $SSH_AUTH_SOCK
  pybuild --ssh git=/ci/deploy_key .           an agent with that key
  RUN --mount=type=ssh git clone ...           in the Dockerfile

Build arguments are not secret: they stand in the history of the image.""",
    ),
    "platforms": Topic(
        "images for other processors",
        """\
  pybuild --platform linux/amd64,linux/arm64 -t REGISTRY/NAME:TAG --push .

builds for both, and makes an index. Steps that are the same for both are done
once. RUN for another processor needs a handler of the kernel's (binfmt_misc)
or a program such as qemu-aarch64-static on PATH; COPY and the like need
nothing. FROM --platform=$BUILDPLATFORM compiles on this machine's processor.
$DOCKER_DEFAULT_PLATFORM is used where --platform is not given.""",
    ),
    "rootless": Topic(
        "builds without root",
        """\
A Dockerfile without RUN needs no rights at all. RUN needs one of

  - root, also that of a container
  - user namespaces and ranges in /etc/subuid and /etc/subgid (package uidmap)
  - user namespaces alone: one uid only, so RUN as another user is refused;
    --ignore-user runs it as root

pybuild doctor tries each, and says what to change where none works.""",
    ),
    "reproducible": Topic(
        "the same bytes every time",
        """\
  --source-date-epoch SECONDS   no time is later (default: $SOURCE_DATE_EPOCH)
  --reproducible                set times and modes of files too, so that two
                                checkouts give the same image
  --compat N                    keep the bytes of a release
  pybuild diff A B              say where two images differ

What a RUN does differently each time stays different. Name bases by digest.""",
    ),
    "config": Topic(
        "pybuild.toml and variables",
        """\
Options can stand in pybuild.toml: a project's, in or above the context; the
user's in ~/.config/pybuild; the machine's in /etc/pybuild. The command line
counts most, then variables (--build-arg is PYBUILD_BUILD_ARG), then files.
A flag that one of them sets is taken back with =false: --push=false.

  [target.api]
  context = "api"
  tags = ["registry.example/api:1"]

  pybuild build api                  build a target
  pybuild config show --origin api   what holds for it, and who says so

A project's file may not grant anything: secrets, networks, registries,
outputs elsewhere. docs/configuration.md has every key.""",
    ),
    "progress": Topic(
        "what a build shows",
        """\
Everything but the result goes to standard error.

  --progress auto       a live view on a terminal, lines elsewhere
  --progress plain      lines
  --progress json       one JSON object a line, for programs
  --progress quiet, -q  warnings and errors only
  --debug               log messages and tracebacks too

$PYBUILD_PROGRESS says the same for every build; $NO_COLOR is respected.""",
    ),
    "exit-status": Topic(
        "what the number at the end means",
        """\
  0    done
  N    a RUN failed: the status of its command
  64   the command line or a setting     69   a registry
  65   the Dockerfile                    71   the sandbox of RUN
  66   the context, or a file in it      73   an output, or the store
  67   an image                          75   try again: it may work next time
  70   a bug of ours                     77   credentials or rights
  130  interrupted

--metadata-file FILE tells more, also when a build fails.""",
    ),
    "others": Topic(
        "words of docker build, buildah and kaniko",
        """\
Most options of docker build and buildx mean the same here. One that does not
exist is an error that says what to write: try pybuild --load .

  docker build -t app .           pybuild -t app .
  docker buildx build --load .    pybuild -o type=docker,dest=- . | docker load
  buildah bud --layers .          pybuild .
  /kaniko/executor FLAGS          pybuild kaniko FLAGS

docs/foreign.md and docs/kaniko.md list them all.""",
    ),
}
