"""docs/configuration.md: files and variables; its tables come from the keys in builder/cli/config/keys.py."""

from __future__ import annotations

from collections.abc import Iterator

from builder.cli.config.keys import KEYS, TABLES, Key

HEAD = """\
<!-- Written by scripts/docs from builder/cli/config/keys.py and scripts/pages/configuration.py: edit there. -->

# Configuration

What can be said with options can be said in a file, for a project, for a user or for a machine, and in variables.
`pybuild config show --origin` shows the values that hold and where each comes from; nothing is built.

## Targets

A project describes its images in `pybuild.toml`, or in tables `[tool.pybuild.build]`, `[tool.pybuild.target.api]` and
so on of its `pyproject.toml`:

<!-- first:
mkdir -p services/api services/web
for one in api web; do
  printf 'FROM debian:12-slim AS runtime\\nARG PYTHON\\nLABEL python=$PYTHON\\n' >services/$one/Dockerfile
done
-->
```toml title="pybuild.toml"
[build]                                     # every build
platforms = ["linux/amd64"]
labels = { "org.opencontainers.image.vendor" = "Example" }

[target.base]
args = { PYTHON = "3.13" }

[target.api]
description = "what customers talk to"
inherits = "base"
context = "services/api"
dockerfile = "services/api/Dockerfile"
stage = "runtime"
tags = ["api:dev"]

[target.web]
inherits = "base"
context = "services/web"
outputs = [{ type = "oci", dest = "web.tar" }]

[group]
default = ["api", "web"]
```

```sh
pybuild build api        # one target
pybuild build api web    # several, one after the other; the first that fails ends it
pybuild                  # the target or group that is called default
```

The word `build` may be left out unless the target is called like a command. `pybuild config targets` lists the names. A
word that is a target's name is the target, also if there is a directory of that name: write `./api` for the directory.
With a directory or a URL, `[build]` holds and no target.

- Paths are relative to the file they stand in. A target without `context` is built from the directory of the
  project's file, one without `dockerfile` from `CONTEXT/Dockerfile`.
- `inherits` names one target or several; what the target says itself counts more, then what is named last, then
  `[build]`.
- `[group]` gives several targets or groups a name.
- Names have letters, digits and `_ . -`.
- With several targets, `--tag`, `--output` and result files of the command line would be for all of them and are
  refused.

## Which files

- The project's: the nearest `pybuild.toml`, or `pyproject.toml` with a table `[tool.pybuild...]`, in the build context
  and above it up to the root of the repository; for a target, in the current directory and above it. Without a
  repository it is not looked for above the current directory.
- The user's: `$XDG_CONFIG_HOME/pybuild/pybuild.toml` (`~/.config` if unset).
- The machine's: `/etc/pybuild/pybuild.toml`.
- Named, with `--config FILE` or `$PYBUILD_CONFIG`: read instead of the user's and the machine's.

`--no-project-config`, or `PYBUILD_NO_PROJECT_CONFIG=1`, leaves the project's out. A context that is a URL, a repository
or a tar has none. Every file is read as a whole and checked before anything else is done; a mistake is named with
its line and the path of its field (`pybuild.toml:12: target.api.args.PORT: expected a text`). A file has at most 1 MiB,
and at most 100 targets inherit, or groups contain each other, in a row.

[Programs](python.md) that build read registries and the store from the user's and the machine's file, and no builds:
what they ask for is all there is.

What counts most comes first:

1. the command line
2. the environment
3. the file that was named
4. the project's
5. the user's
6. the machine's

and in each file the target, what it inherits, then `[build]`. A project comes before the user, because what its images
are is the project's business; what is the user's business a project cannot say at all, see below. Of lists the first
one that is there holds and replaces the others (`tags`, `platforms`, `outputs`, ...). Where every entry has a name,
entries of all places are put together, and those of the same name count once: `args`, `contexts`, `labels`,
`annotations`, `secrets`, `ssh`, `add-host` and `ulimits`.

## What a project's file may not say

A project's file may come with a change that nobody has looked at yet, and CI builds it. So it describes images and
hands out nothing: keys that grant access, lead elsewhere or loosen the sandbox are an error there, with a status of 64.
They count on the command line, in the environment, in the user's and the machine's file, and in a file that was named:
`pybuild --config pybuild.toml api` trusts the project's own.

"""

RULES = """\

- Paths (`inside`) must be in the repository, or without one in the directory of the file, also behind symlinks.
  Nothing is written into directories of version control, over the whole project, or into a directory with a
  repository in it; nor to standard output, whose line is believed. No path is in a directory that an output of the
  same command fills with an image's files, among which may be links to anywhere.
- The file itself is no link out of the project. One above the context counts only if it belongs to you, to root or to
  whoever owns the context: in `/tmp` anybody may put a repository above yours.
- `context` and `contexts` are directories of the project; `contexts` may be images too, as in `FROM`. `outputs` do
  not push.
- `args` in a project's file have values: `args = ["TOKEN"]`, which takes the variable of whoever builds, is refused.
- Passwords have no key in any file: `pybuild login`, or `PYBUILD_CREDS`.

What a trusted file says of a target, `[target.api]`, is for that target, and for those that inherit from it in trusted
files; `inherits` of a project's file passes nothing of it on. A group of a project's file that has such a target is an
error: name the targets in the command, or write the group into the trusted file.

`compat` is the other way round: a project's file may have it, a user's or a machine's may not.

What a stranger's file still decides is what a stranger's Dockerfile decides too: what is in the image, and its name in
the store. Where CI pushes, give the tags in the command: `pybuild --tag "$IMAGE" --push api` replaces those of the
file. And keep `$HOME` out of the checkout: what is in it counts as the user's.

## Keys

In `[build]` and `[target.NAME]`; targets also have `inherits` and `description`. Registries have [tables of their
own](registries.md#settings).

"""

PLACES = """\

A text that stands alone is a list of one. Pairs are a table, `args = { A = "1" }`, or a list as on the command line,
`args = ["A=1"]`. Attributes are tables, `outputs = [{ type = "oci", dest = "out.tar" }]`, or texts, `outputs =
["type=oci,dest=out.tar"]`. Numbers may be texts. Values of pairs are always texts: `"3.10"`, not `3.10`.

Options of every command have places of their own:

"""

LAST = """\

[The JSON Schema](schema/pybuild.schema.json), which `pybuild config schema` prints, has all of it for editors and other
programs.

## Variables

An option that takes part in a build has a variable: `--build-arg` is `PYBUILD_BUILD_ARG`. Lists have one entry in each
line, flags are `true` or `false`, and an empty variable counts as unset. What a file switches on is switched off with
`PYBUILD_PUSH=false`, and by the command line with `--push=false`: every flag of every command may be followed by
`=true` or `=false`, also `--no-cache=false`. `PYBUILD_INSECURE_REGISTRY`, `PYBUILD_REGISTRY_MIRROR` and
`PYBUILD_REGISTRY_MAP`, `PYBUILD_ROOT` and `PYBUILD_CONFIG` hold for all commands. `SOURCE_DATE_EPOCH` counts more than
`source-date-epoch` of a file. `pybuild config show` tells variables that begin with `PYBUILD_` and mean nothing.

```sh
PYBUILD_PLATFORM=linux/arm64 PYBUILD_NO_CACHE=true pybuild config show --origin api
```
"""

_VALUES = {
    "text": "text",
    "number": "number",
    "flag": "`true`, `false`",
    "texts": "list",
    "pairs": "pairs",
    "attributes": "attributes",
}
_PROJECT = {"yes": "yes", "inside": "inside", "no": "no"}


def page() -> str:
    """Return the whole page."""
    lines = [*_refused(), "", RULES.strip("\n"), "", *_keys(), PLACES.rstrip("\n"), "", *_places(), LAST.rstrip("\n")]
    return HEAD + "\n".join(lines) + "\n"


def _refused() -> Iterator[str]:
    yield "| not in a project's file | because |"
    yield "|---|---|"
    reasons: dict[str, list[str]] = {}
    for key in KEYS:
        if key.project == "no":
            reasons.setdefault(key.why, []).append(key.name)
    for path, why in TABLES.values():
        reasons.setdefault(why, []).append(path.replace("HOST", '"HOST"'))
    for why, names in reasons.items():
        yield f"| {', '.join(f'`{name}`' for name in names)} | {why} |"


def _keys() -> Iterator[str]:
    yield "| key | option | variable | value | in a project's file |"
    yield "|---|---|---|---|---|"
    for key in KEYS:
        option = f"`{key.option}`"
        variable = f"`{key.variable}`" if key.variable else ""
        yield f"| `{key.name}` | {option} | {variable} | {_value(key)} | {_PROJECT[key.project]} |"


def _value(key: Key) -> str:
    return ", ".join(f"`{one}`" for one in key.choices) or _VALUES[key.kind] + (", merged" if key.merged else "")


def _places() -> Iterator[str]:
    yield "| setting | option |"
    yield "|---|---|"
    for dest, (path, _) in TABLES.items():
        yield f"| `{path}` | `--{dest.replace('_', '-')}` |"
