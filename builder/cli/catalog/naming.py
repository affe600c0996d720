"""The command line: names of places, registries and accounts, settings, times."""

from __future__ import annotations

from builder.cli.catalog.kinds import Kind

KINDS = (
    Kind(
        code="PB6434",
        title="A list cannot hold this platform",
        errors=("UsageError",),
        texts=("manifest entry for image has unsupported os/arch combination: {os}/{architecture}",),
        cause="`manifest annotate` was given a pair of system and architecture that does not exist.",
        way_out="Use Go's words: linux, windows; amd64, arm64, arm, s390x, ppc64le, riscv64.",
    ),
    Kind(
        code="PB6435",
        title="This is not the name of a registry or of a repository",
        errors=("UsageError",),
        texts=(
            "{text} is not the name of a registry",
            "{text} is no registry",
            "{repository} names an image",
        ),
        cause="The command takes a registry (`HOST[:PORT]`), or a repository without a tag.",
        way_out="Leave scheme, tag and digest out.",
    ),
    Kind(
        code="PB6436",
        title="login is told too much or too little",
        errors=("UsageError",),
        texts=(
            "--password-stdin needs --username",
            "an account is a user name without a colon and a password, both not empty",
            "login needs --username, and the password on standard input",
            "a password has at most {limit} bytes",
            "the password on standard input is no UTF-8",
            "--check takes no account: it says which one there is",
            "login takes no --creds",
        ),
        cause="`login` takes a user name and a password that is never on the command line.",
        way_out='`echo "$PASSWORD" | pybuild login -u USER --password-stdin REGISTRY`.',
    ),
    Kind(
        code="PB6437",
        title="An account is incomplete or ambiguous",
        errors=("UsageError",),
        texts=(
            "{place} has no user name",
            "{place} has two accounts for {name}",
            "{place} has an empty password for {name}",
            "{place} does not say which registry it is for: {found}",
            "{place} does not say which registry it is for",
        ),
        cause="`--creds` and `$PYBUILD_CREDS` have `[REGISTRY=]USER[:PASSWORD]`; the registry can be left out if the "
        "command speaks to one only.",
        way_out="Write the registry before the user, and each registry once.",
    ),
    Kind(
        code="PB6438",
        title="A password is needed and nobody can be asked",
        errors=("UsageError",),
        texts=(
            "{question}: nobody can be asked",
            "{question}: no answer",
        ),
        cause="The command would ask for the password, and standard input is no terminal or it ended.",
        way_out="Give it as `$PYBUILD_CREDS`, or to `login` with `--password-stdin`.",
    ),
    Kind(
        code="PB6439",
        title="The file with accounts does not exist",
        errors=("UsageError",),
        texts=(
            "--authfile {path}: there is no such file",
            "--authfile {authfile}: there is no such file",
        ),
        cause="`--authfile` names a file that is not there.",
        way_out="`pybuild login --authfile FILE REGISTRY` makes it.",
    ),
    Kind(
        code="PB6440",
        title="Accounts cannot be kept here",
        errors=("UsageError",),
        texts=(
            "there is no home directory to keep accounts in",
            "{program} keeps accounts of whole registries, not of {registry}",
        ),
        cause="There is no home directory, or a credential helper keeps accounts of whole registries only.",
        way_out="Name a file with `--authfile`.",
    ),
    Kind(
        code="PB6441",
        title="A registry's host or a mirror is written wrongly",
        errors=("UsageError",),
        texts=(
            "--registry-map {text}: expected FROM=TO",
            "{place}: expected a name or several",
            "{place}: it is neither a host nor a network",
            "{place}: expected HOST or HOST:PORT",
            "{place}: {text} does not begin with a registry's host",
            "{place}: {text} is no name of a repository",
            "{place}: {error}",
        ),
        cause="`--registry-mirror`, `--registry-map`, `--insecure-registry` or a table of pybuild.toml names "
        "something that is no host, URL or repository.",
        way_out="Hosts are `HOST[:PORT]`, mirrors may be URLs, maps are `FROM=TO` with full names; docs/registries.md "
        "has examples.",
    ),
    Kind(
        code="PB6442",
        title="A setting is wrong",
        errors=("UsageError",),
        texts=(
            "{place}: it needs a client-cert",
            "{place}: there is no such setting",
            "{place}: expected a table",
            "{place}: expected a text",
            "{place}: expected a text or a list of them",
            "{place}: expected true or false",
            "{path}: not TOML: {error}",
        ),
        cause="A file of settings is not TOML, or the field at the path in the message is unknown or has the wrong "
        "type.",
        way_out="Correct the field; docs/registries.md lists all of them.",
    ),
    Kind(
        code="PB6443",
        title="A file of settings cannot be read",
        errors=("UsageError",),
        texts=(
            "{path}: it is no file",
            "cannot read the settings in {path}: {reason}",
            "{path}: larger than {limit} bytes",
        ),
        cause="The file is missing, no regular file, unreadable or much too large.",
        way_out="Check its name and its mode.",
    ),
    Kind(
        code="PB6444",
        title="There is no such compatibility level",
        errors=("UsageError",),
        texts=("{where}: there is no compatibility level {text}",),
        cause="`--compat` names a level that this version does not have.",
        way_out="Take one that the hint lists, or a later pybuild.",
    ),
    Kind(
        code="PB6445",
        title="A store to read from is none",
        errors=("UsageError",),
        texts=(
            "{root} is not a store",
            "cannot read the store {root}: {reason}",
        ),
        cause="A store that is only read (`--store`) has to be made before, and to be readable.",
        way_out="`pybuild warm --store DIR REF` makes one.",
    ),
    Kind(
        code="PB6446",
        title="A time is no number of seconds",
        errors=("UsageError",),
        texts=(
            "{where} is {text}, not a number of seconds since 1970",
            "SOURCE_DATE_EPOCH is {text}, not a number of seconds since 1970",
        ),
        cause="`--source-date-epoch`, `$SOURCE_DATE_EPOCH` and the build argument of that name are seconds since 1970.",
        way_out="`SOURCE_DATE_EPOCH=$(git log -1 --pretty=%ct)`.",
    ),
    Kind(
        code="PB6447",
        title="A reference to an image is written wrongly",
        errors=("ReferenceSyntaxError",),
        texts=(
            "invalid reference {text}: {message}",
            "invalid reference {text}: the name is too long or its registry is malformed",
            "invalid reference {text}: {tag} is not a valid tag",
            "invalid reference {text}: {repository} is not a repository name",
        ),
        cause="References are `[HOST[:PORT]/]NAME[:TAG][@DIGEST]`; names are in lower case, a tag has at most 128 "
        "letters, digits, `_`, `.` and `-`.",
        way_out="Correct the name. A variable that was empty often is the cause: `image:$TAG`.",
    ),
    Kind(
        code="PB6448",
        title="An executor's flag has no equivalent here",
        errors=("UsageError",),
        texts=(
            "--{name} is not for pybuild",
            "--destination is missing",
            "--{name} needs a --destination, whose name it is",
            "--cache needs to know where",
            "--target is given for several stages",
            "without --context it is {where}, and that is not here",
        ),
        cause="`pybuild kaniko` takes the flags of kaniko's executor and runs the equivalent build. This flag, or its "
        "combination with others, has none.",
        way_out="The hint says what to write instead; docs/kaniko.md has a table of all flags.",
    ),
    Kind(
        code="PB6449",
        title="A variable of the environment has a value that means nothing",
        errors=("UsageError",),
        texts=("PYBUILD_PROGRESS is {said}",),
        cause="`$PYBUILD_PROGRESS` chooses how progress is shown, and knows only some words.",
        way_out="Correct or unset the variable; an option on the command line wins over it.",
    ),
)
