"""Image configurations (OCI image-spec config.md, with Docker's additions): values in, canonical JSON out.

Fields we do not know travel through ``extra`` at each level. Docker's leftovers of its own build containers
(``container``, ``container_config``, ``docker_version``, ``Hostname``, ``Image``) are dropped: they describe a machine.
"""

from __future__ import annotations

from collections.abc import Mapping

from builder.errors import ImageError
from builder.image.digest import DiffID, Digest
from builder.image.fields import Fields, to_bytes
from builder.image.platform import Platform
from builder.values import dataclass, field

_DROPPED = frozenset({"container", "container_config", "docker_version", "id", "parent", "parent_id", "throwaway"})
_CONFIG_DROPPED = frozenset(
    (
        "Hostname",
        "Domainname",
        "AttachStdin",
        "AttachStdout",
        "AttachStderr",
        "Tty",
        "OpenStdin",
        "StdinOnce",
        "Image",
        "MacAddress",
        "NetworkDisabled",
        "PublishService",
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Healthcheck:
    """Docker's HEALTHCHECK; durations in nanoseconds, 0 means the default."""

    test: tuple[str, ...] = ()
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0

    def to_json(self) -> dict[str, object]:
        """Return the ``Healthcheck`` object."""
        value: dict[str, object] = {
            "Test": list(self.test),
            "Interval": self.interval,
            "Timeout": self.timeout,
            "StartPeriod": self.start_period,
            "StartInterval": self.start_interval,
            "Retries": self.retries,
        }
        return {key: one for key, one in value.items() if one}

    @classmethod
    def read(cls, fields: Fields) -> Healthcheck:
        """Read the object."""
        return cls(
            test=fields.texts("Test") or (),
            interval=fields.number("Interval", 0),
            timeout=fields.number("Timeout", 0),
            start_period=fields.number("StartPeriod", 0),
            start_interval=fields.number("StartInterval", 0),
            retries=fields.number("Retries", 0),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerConfig:
    """How a container of the image runs. ``None`` for a command means the field is null."""

    user: str = ""
    exposed_ports: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    volumes: tuple[str, ...] = ()
    working_dir: str = ""
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    stop_signal: str = ""
    args_escaped: bool = False
    healthcheck: Healthcheck | None = None
    onbuild: tuple[str, ...] = ()
    shell: tuple[str, ...] | None = None
    extra: Mapping[str, object] = field(default_factory=dict, hash=False)

    def environment(self) -> dict[str, str]:
        """Return Env as a mapping; an entry without ``=`` is an empty variable."""
        return {name: value for name, _, value in (one.partition("=") for one in self.env)}

    def to_json(self) -> dict[str, object]:
        """Return the ``config`` object, fields in Docker's order, empty ones left out."""
        value: dict[str, object] = {
            "User": self.user,
            "ExposedPorts": {port: {} for port in sorted(self.exposed_ports)},
            "Env": list(self.env),
            "Entrypoint": None if self.entrypoint is None else list(self.entrypoint),
            "Cmd": None if self.cmd is None else list(self.cmd),
            "Volumes": {volume: {} for volume in sorted(self.volumes)},
            "WorkingDir": self.working_dir,
            "Labels": dict(sorted(self.labels.items())),
            "StopSignal": self.stop_signal,
            "ArgsEscaped": self.args_escaped,
            "Healthcheck": None if self.healthcheck is None else self.healthcheck.to_json(),
            "OnBuild": list(self.onbuild),
            "Shell": None if self.shell is None else list(self.shell),
        }
        kept = {key: one for key, one in value.items() if one or (key in {"Cmd", "Entrypoint"} and one is not None)}
        return {**kept, **dict(sorted(self.extra.items()))}

    @classmethod
    def read(cls, fields: Fields) -> ContainerConfig:
        """Read the object; null maps and lists are empty."""
        health = fields.value.get("Healthcheck")
        return cls(
            user=fields.text("User"),
            exposed_ports=fields.keys_of("ExposedPorts"),
            env=fields.texts("Env") or (),
            entrypoint=fields.texts("Entrypoint"),
            cmd=fields.texts("Cmd"),
            volumes=fields.keys_of("Volumes"),
            working_dir=fields.text("WorkingDir"),
            labels=fields.text_map("Labels"),
            stop_signal=fields.text("StopSignal"),
            args_escaped=fields.flag("ArgsEscaped"),
            healthcheck=None if health is None else Healthcheck.read(Fields(health, f"{fields.path}.Healthcheck")),
            onbuild=fields.texts("OnBuild") or (),
            shell=fields.texts("Shell"),
            extra=fields.without(_CONFIG_KNOWN),
        )


_CONFIG_KNOWN = _CONFIG_DROPPED | frozenset(
    (
        "User",
        "ExposedPorts",
        "Env",
        "Entrypoint",
        "Cmd",
        "Volumes",
        "WorkingDir",
        "Labels",
        "StopSignal",
        "ArgsEscaped",
        "Healthcheck",
        "OnBuild",
        "Shell",
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What made one layer, or changed only the config (``empty_layer``). ``created`` is RFC 3339 or empty."""

    created: str = ""
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False
    extra: Mapping[str, object] = field(default_factory=dict, hash=False)

    def to_json(self) -> dict[str, object]:
        """Return the history object."""
        value: dict[str, object] = {
            "created": self.created,
            "created_by": self.created_by,
            "author": self.author,
            "comment": self.comment,
            "empty_layer": self.empty_layer,
        }
        return {**{key: one for key, one in value.items() if one}, **self.extra}

    @classmethod
    def read(cls, fields: Fields) -> History:
        """Read one entry."""
        return cls(
            created=fields.text("created"),
            created_by=fields.text("created_by"),
            author=fields.text("author"),
            comment=fields.text("comment"),
            empty_layer=fields.flag("empty_layer"),
            extra=fields.without(frozenset({"created", "created_by", "author", "comment", "empty_layer"})),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """The whole document; its digest is the image ID."""

    platform: Platform
    config: ContainerConfig = field(default_factory=ContainerConfig)
    diff_ids: tuple[DiffID, ...] = ()
    history: tuple[History, ...] = ()
    created: str = ""
    author: str = ""
    extra: Mapping[str, object] = field(default_factory=dict, hash=False)

    def to_bytes(self) -> bytes:
        """Serialise with sorted top-level keys."""
        value: dict[str, object] = {
            "architecture": self.platform.architecture,
            "author": self.author,
            "config": self.config.to_json(),
            "created": self.created,
            "history": [one.to_json() for one in self.history],
            "os": self.platform.os,
            "os.version": self.platform.os_version,
            "variant": self.platform.variant,
        }
        kept = {key: one for key, one in value.items() if one or key in {"config", "architecture", "os"}}
        kept["rootfs"] = {"type": "layers", "diff_ids": [str(one) for one in self.diff_ids]}
        return to_bytes(dict(sorted({**kept, **self.extra}.items())))

    @classmethod
    def parse(cls, raw: bytes) -> ImageConfig:
        """Read a config blob. Raises ImageError with the path of what is wrong."""
        fields = Fields.parse(raw, "config")
        rootfs = fields.child("rootfs")
        return cls(
            platform=Platform.from_json(fields.value),
            config=ContainerConfig.read(fields.child("config")),
            diff_ids=tuple(_diff_id(one, rootfs.path) for one in rootfs.texts("diff_ids") or ()),
            history=tuple(History.read(one) for one in fields.children("history")),
            created=fields.text("created"),
            author=fields.text("author"),
            extra=fields.without(_KNOWN),
        )


def _diff_id(text: str, path: str) -> DiffID:
    try:
        return DiffID(Digest.parse(text))
    except ImageError as error:
        raise ImageError(f"{path}.diff_ids: {error.message}", hint=error.hint) from error


_KNOWN = _DROPPED | frozenset(
    (
        "architecture",
        "author",
        "config",
        "created",
        "history",
        "os",
        "os.version",
        "variant",
        "rootfs",
    )
)
