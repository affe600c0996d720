"""The build's contexts and downloads: opened when something is copied from them, hashed once, closed at the end."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from builder.cache.store import Store
from builder.context.contenthash import ContentHasher
from builder.context.directory import DirectoryTree
from builder.context.source import Context, is_remote, open_context
from builder.engine.selecting import Source
from builder.errors import ContextError
from builder.plan.graph import MAIN_CONTEXT, GitTree, RemoteFile
from builder.rootfs.entry import Entry, Kind
from builder.values import dataclass, field, replace

if TYPE_CHECKING:
    from builder.context.git import GitAccess
    from builder.context.http import Downloads


@dataclass(frozen=True, slots=True)
class ContextSpecs:
    """Where contexts are: ``named`` maps names to directories and URLs; ``main`` may also be ``-`` for ``stdin``.

    ``dockerfile`` is the host path of the Dockerfile, whose ``.dockerignore`` sibling counts for the main context;
    ``keep_git_dir`` counts for it too. ``offline``: no server is asked. Among ``secrets`` are credentials for URLs
    (authorization.py).
    """

    main: str
    named: Mapping[str, str] = field(default_factory=dict)
    dockerfile: Path | None = None
    stdin: BinaryIO | None = None
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: Mapping[str, Callable[[], bytes]] = field(default_factory=dict, repr=False)
    keep_git_dir: bool = False
    offline: bool = False


class Contexts:
    """Sources by name; the main one has the name ``""``. Thread-safe."""

    def __init__(self, store: Store, specs: ContextSpecs) -> None:
        self._store = store
        self._specs = specs
        self._open: dict[str, tuple[Context, Source]] = {}
        self._remote: dict[RemoteFile | GitTree, tuple[Source, str]] = {}
        self._lock = threading.RLock()
        self._cleanup = contextlib.ExitStack()
        self._fetcher: Downloads | None = None

    def get(self, name: str) -> Source:
        """Return the files of a context. Raises ContextError."""
        with self._lock:
            return self._opened(name)[1]

    def main(self) -> Context:
        """Return the main context. Raises ContextError."""
        with self._lock:
            return self._opened(MAIN_CONTEXT)[0]

    def ignores(self, path: str) -> bool:
        """Say whether the main context's ignore file takes ``path`` out for good. Raises ContextError."""
        tree = self.main().tree
        return isinstance(tree, DirectoryTree) and tree.ignores(path)

    def refresh(self, name: str) -> None:
        """Forget what was seen of a context: the files are looked at again."""
        with self._lock:
            found = self._open.get(name)
            if found is not None and found[0].directory is not None:
                del self._open[name]
                # Other steps may be reading from it.
                self._cleanup.callback(found[0].close)

    def remote(self, source: RemoteFile | GitTree) -> tuple[Source, str]:
        """Return a tree with what a URL of ADD gives, and the path in it to copy. Raises ContextError."""
        with self._lock:
            found = self._remote.get(source)
            if found is None:
                found = self._checkout(source) if isinstance(source, GitTree) else self._download(source)
                self._remote[source] = found
            return found

    def close(self) -> None:
        """Keep what was learnt about files for the next build, and give temporary files back."""
        with self._lock:
            for context, source in self._open.values():
                source.hasher.save()
                context.close()
            self._open.clear()
            self._cleanup.close()

    def _opened(self, name: str) -> tuple[Context, Source]:
        found = self._open.get(name)
        if found is None:
            found = self._open[name] = self._make(name)
        return found

    def _make(self, name: str) -> tuple[Context, Source]:
        main = name == MAIN_CONTEXT
        spec = self._specs.main if main else self._specs.named[name]
        remote = is_remote(spec)
        if remote and self._specs.offline:
            what = "the build context" if main else f"the build context {name}"
            raise ContextError(f"--offline: {what} would have to be fetched", hint="drop --offline")
        context = open_context(
            spec,
            scratch=self._scratch(),
            stdin=self._specs.stdin if main else None,
            dockerfile=self._specs.dockerfile if main else None,
            downloads=self._downloads() if remote else None,
            git=self._git() if remote else None,
            keep_git_dir=main and self._specs.keep_git_dir,
            label="the build context" if main else f"the build context {name}",
            hidden=self._store.root,
        )
        cache = None
        if context.directory is not None and not self._store.on_network:
            identity = hashlib.sha256(os.fsencode(os.path.realpath(context.directory))).hexdigest()
            cache = self._store.directory("stat") / identity
        return context, Source(context.tree, ContentHasher(context.tree, cache), mutable=context.directory is not None)

    def _scratch(self) -> Path:
        return self._store.scratch()

    def _downloads(self) -> Downloads:
        if self._fetcher is None:
            from builder.context.http import Downloads
            from builder.engine.authorization import http_authorization
            from builder.registry.proxies import Proxies

            proxies = Proxies.from_environment(self._specs.environment)
            authorize = functools.partial(http_authorization, self._specs.secrets)
            self._fetcher = Downloads(
                self._store.directory("http"),
                proxies=proxies,
                authorize=authorize,
                temporary=self._store.temporary,
                touch=self._store.touch,
                offline=self._specs.offline,
            )
            self._cleanup.callback(self._fetcher.close)
        return self._fetcher

    def _git(self) -> GitAccess:
        if self._specs.offline:
            raise ContextError("--offline: a git repository would have to be asked", hint="drop --offline")
        from builder.context.git import GitAccess
        from builder.engine.authorization import git_authorization

        return GitAccess(self._specs.environment, git_authorization(self._specs.secrets))

    def _download(self, source: RemoteFile) -> tuple[Source, str]:
        from builder.engine.trees import MemoryTree

        found = self._downloads().fetch(source.url, checksum=source.checksum)
        entry = Entry(path=found.name, kind=Kind.FILE, mode=0o600, size=found.size, mtime=found.mtime)

        def opened() -> BinaryIO:
            return open(found.path, "rb")

        tree = MemoryTree({found.name: (entry, opened)})
        return Source(tree, ContentHasher(tree), mutable=False), found.name

    def _checkout(self, source: GitTree) -> tuple[Source, str]:
        from builder.context.directory import DirectoryTree
        from builder.context.git import checkout, resolve_commit
        from builder.context.giturl import parse_git_url, pinned_to

        access = self._git()
        wanted = parse_git_url(source.url)
        wanted = replace(wanted, keep_git_dir=wanted.keep_git_dir or source.keep_git_dir)
        if source.checksum:
            wanted = pinned_to(wanted, source.checksum)
        scratch = self._scratch() / "tree"
        found = checkout(wanted, resolve_commit(wanted, access), scratch, access)
        tree = DirectoryTree(found.directory, label=wanted.remote)
        self._cleanup.callback(tree.close)
        return Source(tree, ContentHasher(tree), mutable=False), ""
