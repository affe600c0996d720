"""The command line: commands, values, outputs."""

from __future__ import annotations

from builder.catalog.kinds import Kind

KINDS = (
    Kind(
        code="PB6401",
        title="The command line cannot be read",
        errors=("UsageError",),
        texts=(
            "--{name} needs a value",
            "unrecognized arguments: {words}",
            "argument {option}: {problem}",
            "the following arguments are required: {names}",
            "one of the arguments {options} is required",
            "ambiguous option: {option} could match {options}",
        ),
        cause="An option is unknown, has no value or the wrong one, or an argument is missing or too many.",
        way_out="The hint names the option that was probably meant. `pybuild --help` lists the options of a build, "
        "`pybuild COMMAND --help` those of a command.",
    ),
    Kind(
        code="PB6402",
        title="There is no such command",
        errors=("UsageError",),
        texts=(
            "there is neither a command nor a directory called {word}",
            "pybuild {command} needs an action",
            "pybuild {command} cannot {action}",
            "there is no help about {words}",
        ),
        cause="The first word is neither a command nor a directory with a build context, or a command with actions "
        "was given none of them.",
        way_out="`pybuild --help` lists the commands. A directory that has the name of a command is written `./NAME`.",
    ),
    Kind(
        code="PB6403",
        title="A value is no number, size or length of time",
        errors=("UsageError",),
        texts=(
            "{option} {text}: expected a length of time",
            "{option} {text}: more than a hundred years",
            "{place} {text}: expected 1% to 100%",
            "--size {size}: expected a number of bytes",
            "--memory {text}: at least 4m, or no command can start",
            "--cpus {text}: expected a number of CPUs, at least 0.01",
            "{option} {text}: expected a size",
            "--port {port}: ports end at 65535",
            "--port {port}: expected a number",
            "{option} {text}: more than any machine has",
            "--limit {text}: expected a whole number",
            "{option} {text}: expected a whole number from 1 to 1024",
            "--timeout {text}: expected a number of seconds",
            "--created {text}: not a time like 2024-01-31T12:00:00Z, nor unix seconds",
        ),
        cause="An option takes a number, an amount of bytes, a share or a length of time, and was given something "
        "else, or more than makes sense.",
        way_out="Write sizes as bytes or with k, m or g (`64m`), lengths of time with their unit (`90m`, `36h`, `7d`), "
        "and plain numbers for counts.",
    ),
    Kind(
        code="PB6404",
        title="NAME=VALUE was expected",
        errors=("UsageError",),
        texts=(
            "--annotation {text}: expected NAME=VALUE",
            "{option} {text}: expected NAME=VALUE",
            "--output {text}: expected NAME=VALUE, found {word}",
            "--build-arg {text}: expected NAME or NAME=VALUE",
        ),
        cause="An option that gives a name a value was written without the `=`, or with nothing before it.",
        way_out="Write `NAME=VALUE`, and quote it for the shell if the value has spaces: `--label 'description=two "
        "words'`.",
    ),
    Kind(
        code="PB6405",
        title="An attribute of --output is wrong",
        errors=("UsageError",),
        texts=(
            "--output {text}: its quotes or line breaks do not fit",
            "--output {text}: {name} is true or false, not {value}",
            "--output {text}: {name} means nothing here{suggestion}",
            "--output {text}: unknown type {kind}",
            "--output {text}: does not say what to write",
        ),
        cause="The attributes of an output are `NAME=VALUE`, divided by commas. One of them is unknown for this type,"
        " or its value is.",
        way_out="The types and their attributes are listed in docs/outputs.md; `pybuild --help` shows the shortest "
        "forms.",
    ),
    Kind(
        code="PB6406",
        title="An output cannot go where it should",
        errors=("UsageError",),
        texts=(
            "--output {text}: needs a destination",
            "--output: needs a destination",
            "--output {text}: a directory cannot go to stdout",
            "--output {text}: refusing to write an archive to a terminal",
            "--output {text}: {destination} is not a directory",
            "--output {text}: {destination} is a directory",
            "--output {text}: there is no directory {directory}",
            "--output: there is no directory {directory}",
            "--output {text}: type={kind} has no dest: it goes where its names say",
            "the output type={kind} needs a destination",
            "a layout is a directory and cannot go to standard output",
            "refusing to write an archive to a terminal",
        ),
        cause="The destination is missing, is of the wrong kind (a directory for an archive, a file for a directory),"
        " is in a directory that does not exist, or is a terminal.",
        way_out="Name a destination with `dest=PATH`. Archives go to files or into a pipe (`-o - | docker load`), trees"
        " and layouts into directories.",
    ),
    Kind(
        code="PB6407",
        title="Two results go to one place",
        errors=("UsageError",),
        texts=(
            "only one output can go to stdout",
            "two outputs go to the same place",
            "{option} {path}: {other} writes the same file",
        ),
        cause="Two outputs or result files of one command would overwrite each other.",
        way_out="Give each of them a place of its own; standard output takes one archive.",
    ),
    Kind(
        code="PB6408",
        title="A result file cannot be written there",
        errors=("UsageError",),
        texts=(
            "{option} {path}: there is no directory {directory}",
            "{option} {path} is a directory",
            "{name} is there, and is no page of pybuild explore",
        ),
        cause="`--iidfile`, `--digest-file` or `--metadata-file` names a directory, or a file in a directory that "
        "does not exist; or `pybuild explore` without `--output` would overwrite something of yours. This is found "
        "before any work.",
        way_out="Make the directory first, or name another file.",
    ),
    Kind(
        code="PB6409",
        title="An image to be pushed has no name",
        errors=("UsageError",),
        texts=(
            "where should the image go?",
            "--repo {repo}: a repository has no tag",
            "{source} has an image without a name",
            "a push of {source} needs a name",
            "{source} is in a registry already",
            "a push needs a name for the image",
        ),
        cause="A push needs to know the registry, the repository and the tag.",
        way_out="Add `--tag REGISTRY/NAME:TAG` to the build, or write the name behind the source: `pybuild push SRC "
        "REGISTRY/NAME:TAG`. From one registry to another it is `pybuild copy SRC DST`.",
    ),
    Kind(
        code="PB6410",
        title="A name for an image has a digest in it",
        errors=("UsageError",),
        texts=(
            "{text}: a list gets a name and a tag, its digest is what it is",
            "{name}: an image gets a name and a tag, its digest is what it is",
            "--output {text}: {text}: an image gets a name and a tag, its digest is what it is",
            "--tag {text}: an image gets a name and a tag, its digest is what it is",
        ),
        cause="An image gets a name and a tag. Its digest follows from its bytes and cannot be chosen.",
        way_out="Leave `@sha256:...` out.",
    ),
    Kind(
        code="PB6411",
        title="Docker's format knows no zstd layers",
        errors=("UsageError",),
        texts=(
            "archives of docker save have no zstd layers",
            "type=docker: archives of docker save have no zstd layers",
            "{what}: Docker's image format knows no zstd layers",
            "Docker's image format knows no zstd layers",
        ),
        cause="Layers compressed with zstd have a media type only in the OCI format.",
        way_out="Write the OCI format (`--format oci`, `type=oci`), or choose gzip.",
    ),
    Kind(
        code="PB6412",
        title="A compression or its level is wrong",
        errors=("UsageError",),
        texts=(
            "there is nothing to convert",
            "a level, or force, needs a compression",
            "{where}: unknown compression {kind}",
            "{where}: uncompressed layers have no level",
            "{where}: the level of {kind} is a whole number from 0 to {limit}, not {text}",
        ),
        cause="There are gzip, gzip-single-member, zstd and uncompressed; each has its own range of levels, and "
        "uncompressed layers have none.",
        way_out="`--compression zstd` is small and fast where all readers know it; docs/images.md says what there is.",
    ),
    Kind(
        code="PB6413",
        title="Annotations do not fit the image",
        errors=("UsageError",),
        texts=(
            "--annotation {text}: {part} is no type with a platform in brackets",
            "{where}: unknown annotation type {target}{suggestion}",
            "{where}: an index is for all platforms",
            "Docker's image format has no annotations",
            "annotation {key}: mutate has no {target}",
            "annotation {key} is for an index, and this is one image",
            "the annotation {key} is for {platform}, and the build is for {platforms}",
            "the annotation {key} is for an index, and a build for one platform has none",
        ),
        cause="Annotations belong to a manifest or an index of the OCI format. This one is for something the result "
        "does not have.",
        way_out="Write what it is for before the name, `manifest[linux/arm64]:NAME=VALUE` or `index:NAME=VALUE`; build "
        "for several platforms for an index; use `--label` in Docker's format.",
    ),
    Kind(
        code="PB6414",
        title="One image only, please",
        errors=("UsageError",),
        texts=(
            "the bytes of one image at a time",
            "a list and one of its manifests at most",
            "pull takes one --platform",
            "type=docker: an archive of docker save has no index of several platforms",
            "several images cannot all be for one platform",
        ),
        cause="The command or the format takes one image, and several platforms or names were given.",
        way_out="Choose one with `--platform`, call the command once for each, or write `type=oci`, which holds "
        "several.",
    ),
    Kind(
        code="PB6415",
        title="An unknown platform",
        errors=("UsageError",),
        texts=(
            "--platform {text}: unknown architecture",
            "invalid platform {text}",
        ),
        cause="A platform is `os/architecture`, or `os/architecture/variant`, in the words of Go: `linux/amd64`, "
        "`linux/arm64`, `linux/arm/v7`.",
        way_out="Correct the name; `--platform A,B` builds for several.",
    ),
    Kind(
        code="PB6416",
        title="--offline forbids what is asked for",
        errors=("UsageError",),
        texts=(
            "--offline goes with --check",
            "--pull=always asks a registry, and --offline forbids it",
            "a push asks a registry, and --offline forbids it",
            "--cache-to type=registry asks a registry, and --offline forbids it",
        ),
        cause="With `--offline` no registry is spoken to, and another option needs one.",
        way_out="Drop one of the two. What was built offline is pushed later with `pybuild push NAME`.",
    ),
)
