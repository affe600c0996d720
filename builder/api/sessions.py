"""An open store with the registries around it, and what can be done with them."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from builder.api.opening import account_source, connector, for_one_call, opened, reached, read_files
from builder.api.results import BuildResult, BuiltImage, Recorder, Step, StoredImage, expected, stored, told
from builder.api.stopping import Heard, Listener, Stop, Told
from builder.errors import BuilderError, UsageError
from builder.events import Reporter, SilentReporter
from builder.values import replace

if TYPE_CHECKING:
    from builder.engine.build import Environment
    from builder.engine.request import BuildRequest
    from builder.image.digest import Digest
    from builder.image.platform import Platform
    from builder.image.reference import Reference
    from builder.settings import RegistrySettings


class Session:
    """An open store. ``open_session`` makes one; its calls may come from several threads.

    Names of images are texts as on the command line: ``app:1`` in the store or else in its registry, and the places
    ``oci-layout://DIR``, ``oci-archive:FILE``, ``docker-archive:FILE``. What fails raises a BuilderError.
    """

    def __init__(
        self,
        environment: Environment,
        variables: Mapping[str, str],
        listener: Listener | None = None,
        closed: threading.Event | None = None,
    ) -> None:
        """``variables`` is the environment that requests get which bring none; ``closed`` is set with the store."""
        self._environment = environment
        self._variables = variables
        self._listener = listener
        self._closed = closed

    @property
    def root(self) -> Path:
        """Where the store is."""
        return self._environment.store.root

    def cancel(self) -> None:
        """Let what this session is at end with InterruptedBuildError, and all that would come after it."""
        self._environment.cancel.set()

    def build(
        self,
        request: BuildRequest | str | os.PathLike[str],
        *,
        tags: Iterable[str | Reference] = (),
        push: bool = False,
        on_event: Listener | None = None,
        cancel: threading.Event | None = None,
    ) -> BuildResult:
        """Carry out ``request``, or build a context, with more ``tags``; ``push`` sends the image to their registries.

        Without an output the image stays in the store under its tags. Nothing half-written stays behind an error.
        ``on_event`` hears of this build in place of the session's listener, and ``cancel`` ends this build only.
        """
        from builder.engine.build import build

        request = completed(_request(request), tags, push=push, variables=self._variables)
        started = time.monotonic()
        with self._call(on_event, cancel) as env:
            recorder = Recorder(env.reporter)
            finished = build(request, replace(env, reporter=recorder))
        return told(finished, recorder.steps, time.monotonic() - started)

    def pull(self, name: str, *, platform: str | Platform | None = None) -> Digest:
        """Fetch an image for ``platform``, else for this machine's, into the store; return what its name means now."""
        from builder.engine.machine import native_platform
        from builder.images.places import registry_name
        from builder.images.pulling import pull

        wanted = native_platform() if platform is None else _platform(platform)
        with self._using() as env:
            pulled = pull(env, registry_name(name), wanted, explicit=platform is not None)
        return pulled.root.digest

    def push(self, source: str, *names: str) -> Digest:
        """Push an image of the store, or of another place, under ``names`` or its own; return its digest.

        Of an archive with several images, each under its own names, it is the first one's.
        """
        from builder.images.places import registry_name
        from builder.images.pushing import push

        targets = [registry_name(one) for one in names]
        with self._using() as env:
            pushed = push(env, source, targets)
        return pushed[0][1].digest

    def copy(self, source: str, destination: str) -> Digest:
        """Copy an image with all its platforms to another place; return its digest.

        A bare name as destination is a registry's; ``store:NAME``, ``docker-archive:FILE:NAME`` and so on are others.
        """
        from builder.images.deliver import deliver
        from builder.images.locate import locate

        with self._using() as env:
            artifact = locate(source, env)
            deliver(artifact, destination, env)
        return artifact.digest

    def load(self, path: str | os.PathLike[str]) -> tuple[StoredImage, ...]:
        """Bring every image of an archive or layout into the store and return them."""
        from builder.images.loading import load

        with self._using() as env:
            loaded = {one.artifact.digest for one in load(env, Path(path))}
        return tuple(one for one in self.images() if one.digest in loaded)

    def tag(self, name: str, *more: str) -> None:
        """Give an image of the store more names."""
        from builder.image.reference import Reference
        from builder.images.naming import tag

        names = [Reference.parse(one) for one in more]
        with self._using() as env:
            tag(env.store, name, names)

    def remove(self, name: str) -> None:
        """Take a name from the store, or the only name of an image ID; ``prune`` removes what nothing needs then."""
        from builder.images.naming import names_of

        with self._using() as env:
            for record in names_of(env.store, name, force=False):
                env.store.refs.remove(record.reference, built_here=record.built_here)

    def prune(self, *, max_size: int | None = None, max_age: float | None = None) -> int:
        """Remove what was not used lately, until ``max_size`` bytes are left, or since ``max_age`` seconds.

        Without a limit it is everything but images with names. What running builds and open sessions have used stays.
        Returns how many bytes are free now.
        """
        from builder.cache.prune import Limits
        from builder.cache.store import Store
        from builder.images.tidying import Tidying

        # As somebody else: what this session has used is used.
        with self._call(None, None) as env, Store.open(env.store.root, warn=env.store.warn) as store:
            tidying = Tidying(store, env.reporter)
            try:
                return tidying.prune(Limits(size=max_size, age=max_age), go_on=lambda: not env.cancel.is_set()).size
            finally:
                tidying.close()

    def digest(self, name: str) -> Digest:
        """Ask a registry what a name is now, with one request; nothing is fetched."""
        from builder.images.places import registry_name

        with self._call(None, None) as env:
            return env.registry().resolve(registry_name(name)).digest

    def inspect(self, image: str, *, platform: str | Platform | None = None) -> BuiltImage:
        """Return an image's documents, of an index those for ``platform``, else this machine's. No layer is read."""
        from builder.engine.machine import native_platform
        from builder.image.config import ImageConfig
        from builder.images.choosing import fitting
        from builder.images.locate import locate

        wanted = None if platform is None else _platform(platform)
        with self._using() as env:
            artifact = fitting(locate(image, env), [] if wanted is None else [wanted])
            found = artifact.image(wanted or native_platform())
        own = ImageConfig.parse(found.raw_config).platform
        return BuiltImage(platform=own, raw_manifest=found.raw_manifest, raw_config=found.raw_config)

    def explain(self, request: BuildRequest | str | os.PathLike[str]) -> tuple[Step, ...]:
        """Say which steps a build would find, and why not the others. Nothing is executed and nothing written."""
        from builder.engine.explaining import explain

        request = completed(_request(request), (), push=False, variables=self._variables)
        with self._call(None, None) as env:
            return tuple(expected(one) for one in explain(request, env))

    def images(self) -> tuple[StoredImage, ...]:
        """Return what is in the store under a name, the newest first."""
        from builder.images.listing import listed

        with self._call(None, None) as env:
            found = list(listed(env.store))
        return tuple(stored(one) for one in found)

    @contextlib.contextmanager
    def _using(self) -> Iterator[Environment]:
        """Yield what a call works with, and hold what it uses in the store. Raises as ``_call`` does, OutputError."""
        with self._call(None, None) as env:
            env.store.hold_lease()
            yield env

    @contextlib.contextmanager
    def _call(self, listener: Listener | None, cancel: threading.Event | None) -> Iterator[Environment]:
        """Yield what one call works with: a step that fails or a listener that raises ends this call, no other.

        Raises what the listener raised, once everything has stopped for it; ValueError, as files do, once closed.
        """
        if self._closed is not None and self._closed.is_set():
            raise ValueError("the session is closed: use it within the block of open_session")
        whole = self._environment
        stop = Stop(whole.cancel, cancel)
        listener = listener or self._listener
        heard = None if listener is None else Heard(listener, stop)
        reporter: Reporter = heard or whole.reporter
        registry = functools.cache(lambda: for_one_call(whole.registry(), stop, reporter))
        try:
            yield replace(whole, registry=registry, reporter=reporter, cancel=stop)
        except BuilderError:
            if heard is not None and heard.problem is not None:
                raise heard.problem from None
            raise
        if heard is not None and heard.problem is not None:
            raise heard.problem


@contextlib.contextmanager
def open_session(
    root: str | os.PathLike[str] | None = None,
    *,
    read_only_store: str | os.PathLike[str] | None = None,
    registries: Mapping[str, RegistrySettings] | None = None,
    accounts: Mapping[str, tuple[str, str]] | None = None,
    settings_file: str | os.PathLike[str] | None = None,
    offline: bool = False,
    jobs: int = 0,
    variables: Mapping[str, str] | None = None,
    on_event: Listener | None = None,
    cancel: threading.Event | None = None,
) -> Iterator[Session]:
    """Open the store ``root``, else the one that the command line would use, until the end of the block.

    What is not in it may be in ``read_only_store``. ``registries`` says how hosts are reached, before what the
    settings files say; ``accounts`` are user and password by host, before what the user has configured. ``offline``:
    no registry is asked. ``jobs`` bounds transfers at a time. ``variables`` stand in for the environment of the
    process. Setting ``cancel`` ends what is going on. Raises UsageError, OutputError.
    """
    from builder.cache.location import choose_root
    from builder.settings import chosen_store

    variables = os.environ if variables is None else variables
    cancel = cancel or threading.Event()
    reporter: Reporter = SilentReporter() if on_event is None else Told(on_event)
    settings = read_files(settings_file, variables)
    reach = reached(registries or {}, settings, variables)
    connect = connector(
        lambda: account_source(accounts or {}, variables), reach, reporter, cancel, jobs=jobs, offline=offline
    )
    where = choose_root(variables, chosen_store(root, variables, settings), os.geteuid())
    named = read_only_store or variables.get("PYBUILD_STORE_RO") or settings.store_ro
    other = Path(os.path.abspath(named)) if named else None
    with opened(where, other, connect, reporter, cancel) as environment:
        closed = threading.Event()
        try:
            yield Session(environment, variables, on_event, closed)
        finally:
            closed.set()


def build(
    request: BuildRequest | str | os.PathLike[str],
    *,
    tags: Iterable[str | Reference] = (),
    push: bool = False,
    session: Session | None = None,
    on_event: Listener | None = None,
    cancel: threading.Event | None = None,
) -> BuildResult:
    """Carry out one build, or build a context, in ``session`` or in one that is opened as the command line would.

    Raises BuilderError of every kind; InterruptedBuildError once ``cancel`` is set.
    """
    if session is not None:
        return session.build(request, tags=tags, push=push, on_event=on_event, cancel=cancel)
    request = _request(request)
    with open_session(offline=request.offline, jobs=request.jobs, on_event=on_event, cancel=cancel) as opened_here:
        return opened_here.build(request, tags=tags, push=push)


def _request(given: BuildRequest | str | os.PathLike[str]) -> BuildRequest:
    from builder.engine.request import BuildRequest

    return given if isinstance(given, BuildRequest) else BuildRequest(context=os.fspath(given))


def completed(
    request: BuildRequest, tags: Iterable[str | Reference], *, push: bool, variables: Mapping[str, str]
) -> BuildRequest:
    """Return ``request`` with all that a caller may leave out. Raises UsageError, ReferenceSyntaxError."""
    from builder.api.checks import refuse_mismatches
    from builder.engine.machine import available_cpus
    from builder.engine.request import Output

    pushed = push and not any(one.kind == "registry" for one in request.outputs)
    request = replace(
        request,
        tags=tuple(dict.fromkeys((*request.tags, *(_tag(one) for one in tags)))),
        outputs=(*request.outputs, Output("registry")) if pushed else request.outputs,
        jobs=request.jobs or available_cpus(),
        environment=request.environment or variables,
    )
    refuse_mismatches(request)
    return request


def _tag(given: str | Reference) -> Reference:
    from builder.image.reference import Reference

    reference = Reference.parse(given) if isinstance(given, str) else given
    if reference.digest is not None:
        raise UsageError(f"{reference}: an image gets a name and a tag, its digest is what it is")
    return reference


def _platform(given: str | Platform) -> Platform:
    from builder.image.platform import Platform

    return Platform.parse(given) if isinstance(given, str) else given
