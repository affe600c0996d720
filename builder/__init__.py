"""pybuild: builds container images from Dockerfiles without a daemon.

What is exported here is for programs (docs/python.md) and loaded when it is used: the command needs little of it.
"""

TYPE_CHECKING = False  # typing's own costs an import
if TYPE_CHECKING:
    from builder.api.results import BuildResult as BuildResult
    from builder.api.results import BuiltImage as BuiltImage
    from builder.api.results import Layer as Layer
    from builder.api.results import Step as Step
    from builder.api.results import StoredImage as StoredImage
    from builder.api.sessions import Session as Session
    from builder.api.sessions import build as build
    from builder.api.sessions import open_session as open_session
    from builder.api.stopping import Listener as Listener
    from builder.dockerfile.source import DockerfileError as DockerfileError
    from builder.engine.request import AgentSource as AgentSource
    from builder.engine.request import BuildRequest as BuildRequest
    from builder.engine.request import CachePlace as CachePlace
    from builder.engine.request import CacheTarget as CacheTarget
    from builder.engine.request import CompressionChoice as CompressionChoice
    from builder.engine.request import EpochChoice as EpochChoice
    from builder.engine.request import Form as Form
    from builder.engine.request import Output as Output
    from builder.errors import BuilderError as BuilderError
    from builder.errors import ContextError as ContextError
    from builder.errors import ImageError as ImageError
    from builder.errors import InterruptedBuildError as InterruptedBuildError
    from builder.errors import OutputError as OutputError
    from builder.errors import SandboxError as SandboxError
    from builder.errors import UsageError as UsageError
    from builder.image.annotations import Annotation as Annotation
    from builder.image.digest import Digest as Digest
    from builder.image.platform import Platform as Platform
    from builder.image.reference import Reference as Reference
    from builder.levels import LEVELS as LEVELS
    from builder.registry.errors import AuthenticationError as AuthenticationError
    from builder.registry.errors import RegistryError as RegistryError
    from builder.registry.errors import TransientRegistryError as TransientRegistryError
    from builder.run.spec import CommandFailedError as CommandFailedError
    from builder.run.spec import Provision as Provision
    from builder.settings import RegistrySettings as RegistrySettings

__version__ = "0.1.0"

_EXPORTED = {
    "builder.api.results": ("BuildResult", "BuiltImage", "Layer", "Step", "StoredImage"),
    "builder.api.sessions": ("Session", "build", "open_session"),
    "builder.api.stopping": ("Listener",),
    "builder.dockerfile.source": ("DockerfileError",),
    "builder.engine.request": (
        *("AgentSource", "BuildRequest", "CachePlace", "CacheTarget", "CompressionChoice", "EpochChoice", "Form"),
        "Output",
    ),
    "builder.errors": (
        *("BuilderError", "ContextError", "ImageError", "InterruptedBuildError", "OutputError", "SandboxError"),
        "UsageError",
    ),
    "builder.image.annotations": ("Annotation",),
    "builder.image.digest": ("Digest",),
    "builder.image.platform": ("Platform",),
    "builder.image.reference": ("Reference",),
    "builder.levels": ("LEVELS",),
    "builder.registry.errors": ("AuthenticationError", "RegistryError", "TransientRegistryError"),
    "builder.run.spec": ("CommandFailedError", "Provision"),
    "builder.settings": ("RegistrySettings",),
}

__all__ = ["__version__", *(name for names in _EXPORTED.values() for name in names)]


def __getattr__(name: str) -> object:
    """Load what is asked for from where it is."""
    import importlib

    for module, names in _EXPORTED.items():
        if name in names:
            value: object = getattr(importlib.import_module(module), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
