"""The command line: what a build is given, and what other commands are told."""

from __future__ import annotations

from builder.catalog.kinds import Kind

KINDS = (
    Kind(
        code="PB6417",
        title="The build context is not given",
        errors=("UsageError",),
        texts=(
            "only one layer can come from standard input",
            "the build context is empty",
            "the Dockerfile and the build context cannot both come from standard input",
        ),
        cause="The context is empty, or standard input would have to be two things at a time.",
        way_out="Name a directory: `pybuild .`. Only one of `-f -` and `-` can read standard input.",
    ),
    Kind(
        code="PB6418",
        title="--build-context is wrong",
        errors=("UsageError",),
        texts=(
            "--build-context {name}=: say where it is",
            "--build-context {name}={where}: a layout is named with oci-layout://DIR",
        ),
        cause="A named context needs a place: a directory, an archive, a URL, an image or a layout.",
        way_out="Write `NAME=DIR`, `NAME=docker-image://REF`, `NAME=oci-layout://DIR` or `NAME=docker-archive:FILE`.",
    ),
    Kind(
        code="PB6419",
        title="--secret is wrong",
        errors=("UsageError",),
        texts=(
            "--secret {text}: expected id=ID,src=FILE or id=ID,env=NAME",
            "--secret: the environment variable {name} is not set",
        ),
        cause="A secret has an id and comes from a file or from a variable, which has to be set.",
        way_out="Write `--secret id=ID,src=FILE` or `--secret id=ID,env=NAME`.",
    ),
    Kind(
        code="PB6420",
        title="A secret cannot be used",
        errors=("UsageError",),
        texts=(
            "the secret {name} is no text for a header",
            "secret {id} is larger than {limit} KiB",
            "secret {id}: it holds a NUL byte, which no variable can",
        ),
        cause="A secret is at most 500 KiB. As a variable it can hold no NUL byte, and in a header of http only one "
        "line of ASCII.",
        way_out="Mount large or binary secrets as a file (`target=`); check that the file holds what you think (a line "
        "break at its end is fine).",
    ),
    Kind(
        code="PB6421",
        title="A RUN needs a secret or an agent that was not given",
        errors=("MissingSecretError",),
        texts=(
            "secret {id}: not found",
            "SSH agent {id}: not found",
        ),
        cause="The Dockerfile says `RUN --mount=type=secret` or `type=ssh` with `required`, and the command line "
        "gives none of that id.",
        way_out="Add `--secret id=ID,src=FILE` or `--ssh ID`; the id is the one in the Dockerfile.",
    ),
    Kind(
        code="PB6422",
        title="--ssh is wrong",
        errors=("UsageError",),
        texts=(
            "--ssh {text}: expected ID or ID=SOCKET or ID=KEY[,KEY...]",
            "--ssh {id} is given twice",
            "--ssh {text}: SSH_AUTH_SOCK is not set",
            "--ssh {text}: either one socket of an agent, or files of keys",
        ),
        cause="An id is given twice, there is no agent to take it from, or sockets and keys are mixed.",
        way_out="`--ssh default` takes the agent at `$SSH_AUTH_SOCK`, `--ssh ID=SOCKET` another, `--ssh "
        "ID=KEY[,KEY...]` starts one with these keys.",
    ),
    Kind(
        code="PB6423",
        title="There is no such permission",
        errors=("UsageError",),
        texts=("--allow {text}: there is no such permission",),
        cause="`--allow` gives rights that a Dockerfile asks for: `security.insecure` and `network.host`.",
        way_out="Correct the name, or leave it out if the Dockerfile does not need it.",
    ),
    Kind(
        code="PB6424",
        title="The network of steps is described wrongly",
        errors=("UsageError",),
        texts=(
            "{option} {text}: {address} is not an IP address",
            "--dns-search {text}: not a domain",
            "--add-host {text}: expected NAME:ADDRESS",
            "PYBUILD_NETWORK={name}: expected one of {networks}",
        ),
        cause="`--add-host`, `--dns`, `--dns-search` or `$PYBUILD_NETWORK` has a value that no resolver could use.",
        way_out="Write `--add-host db:10.0.0.5`, `--dns 10.0.0.1`, `--dns-search example.com`; networks are default, "
        "none and host.",
    ),
    Kind(
        code="PB6425",
        title="A ulimit is wrong",
        errors=("UsageError",),
        texts=(
            "--ulimit {text}: there is no limit {name}",
            "--ulimit {text}: expected NAME=SOFT[:HARD]",
            "--ulimit {text}: the soft limit is above the hard one",
            "--ulimit {text}: the hard limit of {name} is {limit} here, and this user cannot raise it",
        ),
        cause="The name is unknown, the numbers are not `SOFT[:HARD]`, or the hard limit is above the one pybuild "
        "itself has and this user cannot raise it.",
        way_out="`--ulimit nofile=1024:4096`. To raise hard limits, raise those of pybuild first.",
    ),
    Kind(
        code="PB6426",
        title="--cache-from or --cache-to is wrong",
        errors=("UsageError",),
        texts=(
            "--cache-to {text}: mode is min or max, not {mode} here",
            "--cache-to {text}: ignore-error is true or false",
            "--cache-to names one cache twice",
            "{option}: expected type=TYPE,NAME=VALUE,...",
            "{option}: unknown type {kind}",
            "{option}: type=local needs {attribute}=DIR",
            "{option}: type={kind} needs ref=IMAGE",
            "{option}: type={kind} needs ref=REPOSITORY[:PREFIX]",
            "{option}: {name} means nothing here{suggestion}",
            "{text}: a cache has no digest, it grows",
            "{text}: the tags of entries leave {limit} characters for {prefix}...",
        ),
        cause="The type of cache is unknown, misses its place, or has an attribute that means nothing for it.",
        way_out="`type=registry,ref=REPOSITORY[:PREFIX]`, `type=local,src=DIR` (to: `dest=DIR`), `type=inline`; see "
        "docs/caching.md.",
    ),
    Kind(
        code="PB6427",
        title="--call is wrong",
        errors=("UsageError",),
        texts=(
            "--call {text}: unknown method check{suggestion}",
            "--call {text}: unknown method {method}{suggestion}",
            "--call {text}: unknown option {key}{suggestion}",
            "--call {text}: format is text or json, ignorestatus is true or false",
        ),
        cause="There are the methods build, check, outline and targets, and the attributes format and ignorestatus.",
        way_out="E.g. `--call outline,format=json`.",
    ),
    Kind(
        code="PB6428",
        title="A template is wrong",
        errors=("TemplateError",),
        texts=("the template is wrong at {line}:{column}: {problem}",),
        cause="`--format` takes a template of the kind Docker has (Go's), and this one cannot be read or asks for "
        "something that is not there.",
        way_out="The message has the line and the column. `--format json` shows every field there is.",
    ),
    Kind(
        code="PB6429",
        title="A filter is wrong",
        errors=("UsageError",),
        texts=(
            "--filter {text}: expected type=TYPE",
            "--filter {text}: there is no type {name}",
            "--filter {text}: unknown filter",
            "--filter {text}: dangling is true or false",
            "--ignore {part}: unknown{suggestion}",
        ),
        cause="The name of a filter, or its value, is not one this command knows.",
        way_out="The hint lists what there is; `pybuild COMMAND --help` says what it means.",
    ),
    Kind(
        code="PB6430",
        title="Options that do not go together",
        errors=("UsageError",),
        texts=(
            "pybuild explain looks at one target",
            "--json answers instead of a page",
            "--target is a stage of a Dockerfile",
            "{option} goes with --serve",
            "--remote goes with --max-age, and with no other limit",
            "--json, --format and --quiet exclude each other",
            "{text} is in no registry, which alone knows what refers to it",
            "--artifact-type goes with --referrers",
            "--change {text}: {keyword} is not about the config",
            "--unset {text}: there is no such thing to take away",
        ),
        cause="One of the options excludes the other, or means something only together with another.",
        way_out="Leave one of them out, or add the one that the message names.",
    ),
    Kind(
        code="PB6431",
        title="The name of a place for images is wrong",
        errors=("UsageError",),
        texts=(
            "{text} does not say what it is",
            "{text} does not say what to write",
            "{text} names nothing",
            "{text}: {kind} is another program's store",
            "{text}: unknown kind of place",
            "{text} is in no registry",
            "{text} names no file",
        ),
        cause="Places are a name in a registry, `oci-layout://DIR`, `oci-archive:FILE`, `docker-archive:FILE` and "
        "images of the store. Stores of other programs (a daemon's, podman's) are not read.",
        way_out="Write one of these forms; from a daemon take an archive: `docker save NAME -o x.tar` and then `docker-"
        "archive:x.tar`.",
    ),
    Kind(
        code="PB6432",
        title="A layer to append is not described well enough",
        errors=("UsageError",),
        texts=(
            "--digest, --size and --diff-id are about a layer behind --url",
            "there is nothing to append",
            "a layer behind --url needs --digest and --size",
            "--url {url}: expected an http(s) URL",
            "--url {url}: clients fetch such layers with https only",
        ),
        cause="A layer comes from a tar, from a directory, or from a URL with its digest and size.",
        way_out="`--layer TAR|DIR`, or `--url https://... --digest sha256:... --size N`.",
    ),
    Kind(
        code="PB6433",
        title="A change of the config is wrong",
        errors=("UsageError",),
        texts=(
            '{option} {text}: not a JSON array of strings like ["a", "b"]',
            "--expose: {error}",
            "--volume: the path is empty",
            "--stop-signal: {error}",
            "--change {text}: expected one instruction, and not FROM",
        ),
        cause="An option of `mutate` has a value that the config of an image cannot take.",
        way_out="The hint shows the form. `--change 'INSTRUCTION ...'` takes instructions of a Dockerfile that are "
        "about the config.",
    ),
)
