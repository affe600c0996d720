"""docs/checks.md: the build checks, from the data in builder/dockerfile/rules.py."""

from __future__ import annotations

from builder.dockerfile.rules import ALL, Rule

HEAD = """\
<!-- Written by scripts/docs from builder/dockerfile/rules.py: edit there. -->

# Build checks

A build prints what these rules find in the stages it needs, as warnings. `pybuild --check` looks at the whole file and
builds nothing; `--call check,format=json` prints the same for programs.

* `# check=skip=StageNameCasing,FromAsCasing` at the top of a Dockerfile turns rules off, `# check=skip=all` every one.
* `# check=error=true` makes each finding end the build. Options are joined by `;`:
  `# check=skip=UndefinedVar;error=true`.
* `# check=skip=JSONArgsRecommended` directly above an instruction turns rules off for that instruction alone.
* `# check=experimental=all` turns on the rules marked experimental.
* `--build-arg BUILDKIT_DOCKERFILE_CHECK=skip=all` replaces what the top of the file says.

"""


def section(rule: Rule) -> str:
    """Return the part of the page about one rule."""
    parts = [f"## {rule.name}", f"{rule.description}."]
    if rule.experimental:
        parts.append("Experimental: off unless asked for.")
    parts.append(rule.why)
    if rule.situation:
        parts.append(rule.situation)
    parts += ["Bad:", f"```dockerfile\n{rule.bad}\n```", "Good:", f"```dockerfile\n{rule.good}\n```"]
    if not rule.own:
        parts.append(f"The same rule in BuildKit: <{rule.url}>")
    return "\n\n".join(parts) + "\n"


def page() -> str:
    """Return the whole page."""
    rows = [f"| [{rule.name}](#{rule.name.lower()}) | {rule.description} |" for rule in ALL]
    table = "\n".join(["| rule | what it asks for |", "|---|---|", *rows])
    return HEAD + table + "\n\n" + "\n".join(section(rule) for rule in ALL)
