"""A Dockerfile looked at without building it: its checks, and the Dockerfile for what else is asked of it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

from builder.dockerfile.directives import CheckOptions, require_built_in_frontend
from builder.dockerfile.instructions import Dockerfile
from builder.dockerfile.lint import lint
from builder.dockerfile.parser import parse_partial
from builder.dockerfile.rules import Finding
from builder.dockerfile.source import DockerfileError
from builder.engine.bases import Bases
from builder.engine.build import Environment, open_contexts, plan_options, resolve_bases
from builder.engine.checks import Checks, text_findings
from builder.engine.request import BuildRequest
from builder.engine.sources import parse_dockerfile, read_dockerfile
from builder.events import SilentReporter, Warned
from builder.plan.graph import Base, ImageSource
from builder.plan.lower import lower
from builder.plan.references import PlanOptions
from builder.registry.errors import RegistryError
from builder.values import dataclass


@dataclass(frozen=True, slots=True)
class Inspection:
    """What the checks found; ``error`` is why the Dockerfile could not be read to its end, or planned."""

    dockerfile: Dockerfile
    findings: tuple[Finding, ...]
    error: DockerfileError | None = None


def read(request: BuildRequest, env: Environment) -> Dockerfile:
    """Return the Dockerfile of a request. Raises DockerfileError, ContextError."""
    with contextlib.closing(open_contexts(request, env)) as contexts:
        text = read_dockerfile(request, contexts)
        return parse_dockerfile(text, env.store, request.build_args.get("BUILDKIT_SYNTAX"))


def check(request: BuildRequest, env: Environment) -> Inspection:
    """Return all findings: of every stage, or with a target of those it needs; nothing is built.

    Base images' configs are fetched; a registry out of reach is a warning. Raises ContextError, ImageError.
    """
    with contextlib.closing(open_contexts(request, env)) as contexts:
        text = read_dockerfile(request, contexts)
        parsed = parse_partial(text.data, text.name)
        dockerfile = parsed.dockerfile
        checks = Checks.of(dockerfile, request.build_args, SilentReporter())
        if parsed.error is not None:
            checks.tell(lint(dockerfile, options=CheckOptions(experimental=("all",)), base_args=None))
            return Inspection(dockerfile, _sorted(checks), parsed.error)
        error: DockerfileError | None = None
        try:
            require_built_in_frontend(dockerfile.source, request.build_args.get("BUILDKIT_SYNTAX"))
            options = plan_options(request)
            known = _bases(request, dockerfile, options, env)
            every = request.target is None
            for one in options:
                checks.tell(text_findings(dockerfile, one, known, contexts.ignores, every_stage=every))
                if known is not None:
                    checks.copies(lower(dockerfile, one, known), contexts)
        except DockerfileError as found:
            error = found
        return Inspection(dockerfile, _sorted(checks), error)


def _bases(
    request: BuildRequest, dockerfile: Dockerfile, options: Sequence[PlanOptions], env: Environment
) -> dict[ImageSource, Base] | None:
    """Return the bases, None when a registry is out of reach."""
    bases = Bases(env.store, env.registry, env.reporter, pull=request.pull, now=lambda: int(time.time()))
    try:
        return resolve_bases(dockerfile, options, bases)
    except RegistryError as error:
        env.reporter.emit(Warned(f"{error.message}; what the base image says is not checked", "registry-unreachable"))
        return None


def _sorted(checks: Checks) -> tuple[Finding, ...]:
    return tuple(sorted(checks.found, key=lambda one: one.span.start_line))
