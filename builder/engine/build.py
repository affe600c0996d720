"""One build from request to outputs: this wires everything together and owns what has to be closed."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from builder.cache.store import Store
from builder.context.source import is_remote
from builder.dockerfile.instructions import Dockerfile
from builder.dockerfile.source import Span, locate
from builder.engine import outputs
from builder.engine.assemble import assemble
from builder.engine.bases import Bases
from builder.engine.built import Built, Content, compose
from builder.engine.checks import Checks, text_findings
from builder.engine.contexts import Contexts, ContextSpecs
from builder.engine.epoch import time_policy
from builder.engine.healing import Chances, healing
from builder.engine.layers import LostLayersError, SharedCacheError, StoreLayer
from builder.engine.recompress import common_coding, refuse_zstd
from builder.engine.request import IMAGE_OUTPUTS, BuildRequest, Form, compression_of, forms_of, pushed_names, reported
from builder.engine.rights import PushRights
from builder.engine.sandboxes import LazySandbox
from builder.engine.services import Services
from builder.engine.solver import Solver
from builder.engine.sources import local_dockerfile, parse_dockerfile, read_dockerfile
from builder.engine.times import EPOCH_NAME
from builder.errors import BuilderError, InterruptedBuildError, OutputError
from builder.events import BuildFinished, Notice, Reporter, Warned, work
from builder.image.digest import Digest
from builder.image.reference import Reference
from builder.plan.graph import Base, ImageSource, Plan, merged
from builder.plan.lower import lower
from builder.plan.references import PlanOptions, base_references
from builder.registry.halfway import telling_of_some
from builder.values import dataclass, replace

if TYPE_CHECKING:
    from builder.engine.agents import Agents
    from builder.engine.ahead import Ahead
    from builder.engine.imports import Imports
    from builder.registry.client import Registry
    from builder.rootfs.coding import Coding


@dataclass(frozen=True, slots=True)
class Finished:
    """A finished build: what was made, the names it is kept under, and its bases (location and manifest digest)."""

    built: Built
    names: tuple[Reference, ...]
    bases: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Environment:
    """What outlives a single build: the store, the registries, the listener, and the wish to stop."""

    store: Store
    registry: Callable[[], Registry]
    reporter: Reporter
    cancel: threading.Event


def build(request: BuildRequest, env: Environment) -> Finished:
    """Carry out ``request``. Raises BuilderError of every kind; nothing half-written stays behind."""
    started = time.monotonic()
    clock = int(time.time())
    _hold_lease(env)
    env.store.begin()
    with contextlib.ExitStack() as closing:
        rights = PushRights(request, env.registry)
        closing.callback(rights.close)
        with work(env.reporter, "read the Dockerfile and plan"):
            prepared = prepare(request, env, closing, clock)
        chances = Chances()
        while True:
            try:
                solver, contents, built, names = _without_lies(request, prepared, env, clock, rights)
                if cache_to := rights.enforce(env.reporter):
                    from builder.engine.sharing import share

                    written_once = any(outputs.is_final(one.dest) for one in request.outputs)
                    with telling_of_some(env.reporter) as pushed, work(env.reporter, "share the cache"):
                        pushed += pushed_names(request.outputs, request.tags)
                        share(cache_to, env, prepared.services, solver, contents, again=not written_once)
                break
            except LostLayersError as error:
                if not chances.take(error):
                    raise
                env.reporter.emit(Notice("layers of the store were lost; the steps that made them are done again"))
    env.reporter.emit(BuildFinished(built.digest, time.monotonic() - started))
    return Finished(built, names, tuple((source.location, base.digest) for source, base in prepared.known.items()))


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a build will do, and what it works with; ``known`` are the images it starts from."""

    plans: tuple[Plan, ...]
    services: Services
    known: Mapping[ImageSource, Base]


def prepare(request: BuildRequest, env: Environment, closing: contextlib.ExitStack, clock: int) -> Prepared:
    """Read, check and plan; ``closing`` gets what is to be closed. Nothing is executed. Raises BuilderError."""
    contexts = open_contexts(request, env)
    closing.callback(contexts.close)
    text = read_dockerfile(request, contexts)
    dockerfile = parse_dockerfile(text, env.store, request.build_args.get("BUILDKIT_SYNTAX"))
    times = time_policy(request, dockerfile, contexts, clock)
    bases = Bases(env.store, env.registry, env.reporter, pull=request.pull, now=lambda: int(time.time()))
    options = plan_options(request, times.epoch)
    known = resolve_bases(dockerfile, options, bases)
    plans = tuple(lower(dockerfile, one, known) for one in options)
    checks = Checks.of(dockerfile, request.build_args, env.reporter)
    for one in options:
        checks.tell(text_findings(dockerfile, one, known, contexts.ignores, every_stage=False))
    if checks.options.error:
        for plan in plans:
            checks.copies(plan, contexts)
    checks.enforce()
    for plan in plans:
        refuse_zstd(request, bases.resolve(plan.base_source).manifest if plan.base_source else None)
    sandbox = LazySandbox(
        env.store, request.isolation, request.snapshotter, env.reporter, ignore_user=request.ignore_user
    )
    closing.callback(sandbox.close)
    coding = common_coding([compression_of(request, form) for form in forms_of(request)])
    services = Services(
        checks=checks,
        store=env.store,
        bases=bases,
        contexts=contexts,
        sandbox=sandbox,
        times=times,
        reporter=env.reporter,
        secrets=request.secrets,
        no_cache=request.no_cache,
        project=_project(request, text.name),
        coding=coding,
        level=request.level,
        timeout=request.timeout,
        provision=request.provision,
        agents=_agents(request, env, closing),
        imports=_imports(request, env),
        ahead=_ahead(request, env, coding, closing),
        cancel=env.cancel,
    )
    return Prepared(plans, services, known)


def _without_lies(
    request: BuildRequest, prepared: Prepared, env: Environment, clock: int, rights: PushRights
) -> tuple[Solver, list[Content], Built, tuple[Reference, ...]]:
    """Build, and write all outputs, if need be several times: without shared caches that are of no use."""
    plans, services = prepared.plans, prepared.services
    exported = {step.vertex for plan in plans for step in plan.steps if step.vertex is not None}
    while True:
        solver = Solver(
            merged(plans),
            services,
            max(1, request.jobs),
            exported,
            before=lambda: rights.enforce(env.reporter),
            meanwhile=lambda: rights.glance(env.reporter),
        )
        try:
            contents, built, names = _attempt(request, prepared, solver, env, clock)
        except SharedCacheError as error:
            if services.imports is None:
                raise
            services.imports.drop(error)
            continue
        if services.imports is not None:
            solver.settle()
        return solver, contents, built, names


def _attempt(
    request: BuildRequest, prepared: Prepared, solver: Solver, env: Environment, clock: int
) -> tuple[list[Content], Built, tuple[Reference, ...]]:
    """Build, and write all outputs. Raises SharedCacheError and LostLayersError where another attempt may do better."""
    shown: list[Built] = []

    def layers() -> Iterator[StoreLayer]:
        yield from solver.layers()
        for image in (one for built in shown for one in built.images):
            yield from image.layers

    with healing(env.store, layers):
        contents = _contents(request, prepared, solver)
        return (contents, *_deliver(request, contents, env, clock, shown.append, prepared.services))


def _contents(request: BuildRequest, prepared: Prepared, solver: Solver) -> list[Content]:
    """Build and return the images. Raises SharedCacheError for layers that are said to be somewhere and are not."""
    services, results = prepared.services, solver.solve()
    made = [assemble(one, results, services, _named_base(one, request, services.bases)) for one in prepared.plans]
    if services.imports is not None:
        services.imports.confirm(layer for one in made for layer in one.stack)
    if any(one.place.kind == "inline" for one in request.cache_to):
        from builder.engine.inline import inlined

        return [inlined(one, plan, solver) for one, plan in zip(made, prepared.plans, strict=True)]
    return made


def _imports(request: BuildRequest, env: Environment) -> Imports | None:
    if not request.cache_from:
        return None
    from builder.engine.sharing import open_sources

    return open_sources(request, env.store, env.registry, env.reporter)


def _ahead(request: BuildRequest, env: Environment, coding: Coding, closing: contextlib.ExitStack) -> Ahead | None:
    if not any(one.kind == "registry" for one in request.outputs):
        return None
    from builder.engine.ahead import ahead_of

    ahead = ahead_of(request, coding, env.registry, env.reporter)
    if ahead is not None:
        closing.callback(ahead.close)
    return ahead


def _project(request: BuildRequest, dockerfile: str) -> str:
    """Return what tells the builds of one machine apart, for explanations: not part of any key."""
    context = request.context if is_remote(request.context) else os.path.abspath(request.context)
    return hashlib.sha256(f"{context}\0{dockerfile}".encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _hold_lease(env: Environment) -> None:
    """Let nobody take away what this build finds in the store. A full one may still have all that it needs."""
    try:
        env.store.hold_lease()
    except OutputError as error:
        env.reporter.emit(Warned(f"{error.message}; only a build that finds everything can go on", "store"))


def _deliver(
    request: BuildRequest,
    contents: Sequence[Content],
    env: Environment,
    clock: int,
    tell: Callable[[Built], None],
    services: Services,
) -> tuple[Built, tuple[Reference, ...]]:
    """Keep the result and write all outputs; return what is reported, and its names. ``tell`` hears of every form."""

    def before(work: str) -> None:
        if env.cancel.is_set():
            raise InterruptedBuildError("interrupted before every layer was compressed as it should be")
        env.reporter.emit(Notice(work))

    @functools.cache
    def made(form: Form) -> Built:
        annotations = (*request.annotations, *form.annotations)
        chosen = Form(annotations=annotations, compression=compression_of(request, form))
        kind = form.image_format or request.image_format
        form_made = compose(contents, kind, chosen, env.store, several=request.several, before=before)
        tell(form_made)
        return form_made

    built = made(reported(request))
    names = outputs.kept_names(request, built.digest)
    made_from = outputs.made_from(services.checks.dockerfile.source, request.target)
    outputs.keep(env.store, built, names, clock, made_from)
    places = outputs.Places(env.store, env.registry, env.reporter, request.push_foreign, services.ahead)
    # What cannot be written twice comes last: until then, all may begin again.
    with telling_of_some(env.reporter) as pushed:
        for output in sorted(request.outputs, key=lambda one: outputs.is_final(one.dest)):
            if env.cancel.is_set():
                raise InterruptedBuildError("interrupted before every output was written")
            shown = made(output.form) if output.kind in IMAGE_OUTPUTS else built
            with work(env.reporter, outputs.shown_place(output, request.tags)):
                outputs.write(output, shown, request.tags, places)
            pushed += pushed_names([output], request.tags)
    return built, names


def _named_base(plan: Plan, request: BuildRequest, bases: Bases) -> tuple[Reference, Digest] | None:
    """Return what annotations say of the base: its name in a registry, and what that was resolved to."""
    return bases.resolve(plan.base_source).pulled if plan.base_source and request.base_annotations else None


def _agents(request: BuildRequest, env: Environment, closing: contextlib.ExitStack) -> Agents | None:
    if not request.ssh:
        return None
    from builder.engine.agents import Agents

    agents = Agents(request.ssh, env.store.scratch, request.environment)
    closing.callback(agents.close)
    return agents


def open_contexts(request: BuildRequest, env: Environment) -> Contexts:
    """Return the contexts of a request; each is opened when something asks for it. The caller closes them."""
    specs = ContextSpecs(
        main=request.context,
        named={name: where for name, where in request.contexts.items() if "://" not in where or _is_url(where)},
        dockerfile=local_dockerfile(request),
        stdin=request.stdin,
        environment=request.environment,
        secrets=request.secrets,
        offline=request.offline,
        keep_git_dir=request.build_args.get("BUILDKIT_CONTEXT_KEEP_GIT_DIR", "").lower() in ("1", "t", "true"),
    )
    return Contexts(env.store, specs)


def _is_url(location: str) -> bool:
    return not location.startswith(("docker-image://", "oci-layout://"))


def plan_options(request: BuildRequest, epoch: int | None = None) -> tuple[PlanOptions, ...]:
    """Return what planning needs of a request, for each platform.

    A stage's ARG SOURCE_DATE_EPOCH sees the epoch that counts.
    """
    options = PlanOptions(
        platform=request.platform,
        build_platform=request.build_platform,
        several=request.several,
        target=request.target,
        build_args={**request.build_args, **({} if epoch is None else {EPOCH_NAME: str(epoch)})},
        labels=request.labels,
        contexts=request.contexts,
        network=request.network,
        hosts=request.hosts,
        ulimits=request.ulimits,
        shm_size=request.shm_size,
        allow=request.allow,
        fresh_stages=request.fresh_stages,
    )
    return tuple(replace(options, platform=one) for one in request.platforms)


def resolve_bases(dockerfile: Dockerfile, options: Sequence[PlanOptions], bases: Bases) -> dict[ImageSource, Base]:
    """Resolve the base images that are needed for any of ``options``, round by round, and return what they are."""
    known: dict[ImageSource, Base] = {}
    while needed := {
        source: span for one in options for source, span in base_references(dockerfile, one, known).items()
    }:

        def resolve(source: ImageSource, span: Span) -> Base:
            try:
                return bases.resolve(source).base()
            except BuilderError as error:
                locate(error, dockerfile.source, span)
                meant = _meant_stage(dockerfile, source, span)
                error.hint = f"did you mean the stage {meant}?" if meant else error.hint
                raise

        def resolve_all(sources: Sequence[ImageSource]) -> dict[ImageSource, Base]:
            return {source: resolve(source, needed[source]) for source in sources}

        # What the first platform finds under a name holds for the others: they come one after the other.
        together: dict[str, list[ImageSource]] = {}
        for source in needed:
            together.setdefault(source.location, []).append(source)
        if len(together) == 1:
            known.update(resolve_all([*needed]))
            continue
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(max_workers=8) as pool:
            for found in pool.map(resolve_all, together.values()):
                known.update(found)
    return known


def _meant_stage(dockerfile: Dockerfile, source: ImageSource, span: Span) -> str | None:
    """Return the stage, above the one at ``span``, whose name is nearly that of an image without registry and tag."""
    from builder.dockerfile.suggest import nearest

    name = source.location.removeprefix("docker-image://docker.io/library/").removesuffix(":latest")
    if "/" in name:
        return None
    above = [stage for stage in dockerfile.stages if stage.from_.span.start_line <= span.start_line][:-1]
    return nearest(name, [stage.name for stage in above if stage.name])
