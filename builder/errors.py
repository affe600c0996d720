"""The one class tree of the project: every deliberate failure derives from :class:`BuilderError`.

    BuilderError                  70  our bug when raised bare
      UsageError                  64  flags, settings, impossible combinations
        MissingSecretError        64  builder.engine.runs
        TemplateError             64  builder.cli.template.tree: line, column
      DockerfileError             65  builder.dockerfile.source: span, excerpt, caret
      ContextError                66  build context, sources of COPY and ADD
        PatternError              66  builder.context.gomatch
        TransientContextError     75  builder.context.http: worth trying again
        ContentChangedError       66  builder.rootfs.pack
      ImageError                  67  what an image, archive or reference says
        ReferenceSyntaxError      64  builder.image.reference
        ManifestError             67  builder.image.manifest
        DigestMismatchError       67  builder.image.digest
        PlatformNotFoundError     67  builder.image.platform
        InvalidImageError         67  builder.image.validate
        UnsafePathError           67  builder.rootfs.entry
        LayerFormatError          67  builder.rootfs.entry
      RegistryError               69  builder.registry.errors: host, repository, status, codes
        TransientRegistryError    75  builder.registry.errors: worth trying again
        AuthenticationError       77  builder.registry.errors: credentials or rights
      SandboxError                71  a RUN could not be set up
      OutputError                 73  an output or the store cannot be written
        UnreadableBlobError       73  builder.cache.blobs
      CommandFailedError           *  builder.run.spec: the command's own status
      InterruptedBuildError      130  Ctrl-C or SIGTERM
      CacheError                  73  a warning and a miss, never the end of a build
        SharedCacheError          73  builder.engine.layers: source, lies, lost
        LostLayersError           73  builder.engine.layers: digests

The numbers are sysexits(3) values, so that they rarely meet the status of a failed RUN.
"""

from __future__ import annotations

import errno
from typing import ClassVar


class BuilderError(Exception):
    """A failure we understand: ``message`` says the thing and the problem, ``hint`` the way out.

    ``place`` is where in a file the cause is (``Dockerfile:3:1``) and ``excerpt`` its lines, empty while unknown.
    ``code`` is what docs/errors.md calls it.
    """

    exit_code: ClassVar[int] = 70
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.place = ""
        self.excerpt = ""

    @property
    def code(self) -> str:
        """Its code in the catalogue of errors, which is loaded to find it. Every failure has one."""
        from builder.catalog.kinds import find

        return find([one.__name__ for one in type(self).__mro__], self.message, self.exit_code).code

    def __reduce__(self) -> tuple[object, ...]:
        """Let errors of every class go from one process to another: what ``__init__`` takes differs."""
        return _again, (type(self), self.args), vars(self)

    def __str__(self) -> str:
        head = f"{self.place}: {self.message}" if self.place else self.message
        return f"{head}\n{self.excerpt}" if self.excerpt else head


def _again(kind: type[BuilderError], arguments: tuple[object, ...]) -> BuilderError:
    return kind.__new__(kind, *arguments)


class UsageError(BuilderError):
    """The command line or the settings ask for something that cannot be."""

    exit_code = 64


class ContextError(BuilderError):
    """A file of the user's that the build needs is missing, unreadable or changing."""

    exit_code = 66


class ImageError(BuilderError):
    """An image, an archive of one or a reference to one breaks its specification."""

    exit_code = 67


class SandboxError(BuilderError):
    """The operating system refuses what a RUN needs; never the command's own failure."""

    exit_code = 71


class OutputError(BuilderError):
    """An output or the store cannot be written."""

    exit_code = 73


class InterruptedBuildError(BuilderError):
    """The user or the system asked us to stop."""

    exit_code = 130


class CacheError(BuilderError):
    """The cache is unusable here: callers turn it into a warning and a miss."""

    exit_code = 73


def room_hint(error: OSError) -> str | None:
    """Return the way out of a disk that is full, None for every other failure."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return None
    return "free some space (pybuild cache prune), or choose another place with --root DIR"
