"""docs/foreign.md: what to write instead of other builders' options, from builder/cli/foreign.py."""

from __future__ import annotations

from builder.cli.foreign import COMMANDS, OPTIONS, REGISTRIES, VALUES

HEAD = """\
<!-- Written by scripts/docs from builder/cli/foreign.py: edit there. -->

# Options of other builders

Most options of `docker build` and buildx are pybuild's too and mean the same: `-f`, `-t`, `--target`, `--build-arg`,
`--build-context`, `--platform`, `--label`, `--annotation`, `--secret`, `--ssh`, `--output`, `--push`, `--cache-from`,
`--cache-to`, `--no-cache`, `--no-cache-filter`, `--pull`, `--network`, `--add-host`, `--shm-size`, `--ulimit`,
`--allow`, `--iidfile`, `--metadata-file`, `--progress`, `--check`, `--call` ([all commands](commands.md)). For the
others pybuild says what to write, as this page does. Flags of kaniko's executor have [a page of their own](kaniko.md).
"""

_VARIABLES = """\
## Environment variables

| variable | here |
|---|---|
| `DOCKER_DEFAULT_PLATFORM` | the platform of builds without `--platform` |
| `BUILDKIT_PROGRESS` | `--progress`, unless that or `PYBUILD_PROGRESS` is given |
| `SOURCE_DATE_EPOCH` | `--source-date-epoch` ([the same bytes](reproducibility.md)) |
| `DOCKER_CONFIG`, `DOCKER_AUTH_CONFIG`, `REGISTRY_AUTH_FILE` | where [accounts](registries.md#accounts) are |
| `HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY`, `SSL_CERT_FILE`, `SSL_CERT_DIR` | [how registries are reached](registries.md) |
| `NO_COLOR`, `TERM` | whether there are colours |
| `EXPERIMENTAL_BUILDKIT_SOURCE_POLICY` | an error: a policy that nobody looks at would protect nobody |
| `DOCKER_CONTENT_TRUST` | a warning: no signatures are looked at; name bases by digest |
| `DOCKER_BUILDKIT`, `COMPOSE_DOCKER_CLI_BUILD` | nothing: a Dockerfile always means what it means to BuildKit |
| `DOCKER_HOST`, `DOCKER_CONTEXT`, `DOCKER_TLS_VERIFY`, `DOCKER_CERT_PATH`, `DOCKER_API_VERSION`, `BUILDKIT_HOST` | nothing: no daemon is asked |
| `BUILDX_BUILDER`, `BUILDX_CONFIG`, `BUILDX_NO_DEFAULT_ATTESTATIONS`, other `BUILDX_...` | nothing |
| `BUILDKIT_COLORS`, `BUILDKIT_TTY_LOG_LINES` | nothing |
| `BUILDAH_ISOLATION`, `BUILDAH_FORMAT`, `BUILDAH_LAYERS`, `STORAGE_DRIVER`, `CONTAINERS_CONF` | nothing |
| `KANIKO_...`, `GIT_TOKEN` and its like | what they mean to an executor, for `pybuild kaniko` only ([from kaniko](kaniko.md)) |
"""  # noqa: E501  rows of a table


def page() -> str:
    """Return the whole page."""
    builders = dict.fromkeys(one.builder for one in OPTIONS)
    parts = [HEAD]
    for builder in builders:
        rows = [(one.options, one.here) for one in OPTIONS if one.builder == builder]
        parts.append(f"## {builder}\n\n{_table('option', rows)}")
    values = [((f"{option} {value}",), here) for (option, value), here in VALUES.items()]
    parts.append(f"## Values\n\n{_table('value', values)}")
    grouped: dict[str, list[str]] = {}
    for option, here in REGISTRIES.items():
        grouped.setdefault(here, []).append(option)
    registries = [(tuple(options), here) for here, options in grouped.items()]
    parts.append(f"## Registries\n\nOf `skopeo`, `crane` and others.\n\n{_table('option', registries)}")
    commands = [((word,), f"`{here}`" if here.startswith("pybuild") else here) for word, here in COMMANDS.items()]
    parts.append(f"## Commands\n\n{_table('word', commands)}")
    return "\n".join([*parts, _VARIABLES])


def _table(head: str, rows: list[tuple[tuple[str, ...], str]]) -> str:
    lines = [f"| {head} | here |", "|---|---|"]
    for names, here in rows:
        told = here.replace("|", "\\|")
        lines.append(f"| {', '.join(f'`{name}`' for name in names)} | {told} |")
    return "\n".join(lines) + "\n"
