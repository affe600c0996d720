"""Which variables an instruction sees: global arguments, stage arguments and the environment (dockerfile.md 1.5)."""

from __future__ import annotations

from collections.abc import Mapping

from builder.dockerfile.stages import PROXY_ARGS
from builder.image.platform import Platform
from builder.values import dataclass, field, replace

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def platform_args(build: Platform, target: Platform, target_stage: str) -> dict[str, str]:
    """Return the automatic global arguments."""
    args = {"TARGETSTAGE": target_stage}
    for prefix, platform in (("BUILD", build), ("TARGET", target)):
        args |= {
            f"{prefix}PLATFORM": platform.full,
            f"{prefix}OS": platform.os,
            f"{prefix}OSVERSION": platform.os_version,
            f"{prefix}ARCH": platform.architecture,
            f"{prefix}VARIANT": platform.variant,
        }
    return args


@dataclass(frozen=True, slots=True)
class Scope:
    """The variables of a stage so far.

    ``values`` is the build environment, in order of first appearance: ENV and ARG write to it and the last writer
    wins. ``args`` are the ARGs in scope, None for one that has no value.
    """

    values: Mapping[str, str] = field(default_factory=dict)
    args: Mapping[str, str | None] = field(default_factory=dict)

    def variables(self) -> dict[str, str | None]:
        """Return what expansion sees; a declared name without a value maps to None."""
        return {**dict.fromkeys(self.args), **self.values}

    def with_env(self, pairs: Mapping[str, str]) -> Scope:
        """Return the scope after ENV."""
        return replace(self, values={**self.values, **pairs})

    def with_arg(self, name: str, value: str | None) -> Scope:
        """Return the scope after one declaration of ARG."""
        values = self.values if value is None else {**self.values, name: value}
        return Scope(values, {**self.args, name: value})

    def environment(self) -> tuple[tuple[str, str], ...]:
        """Return what a RUN gets."""
        return tuple(self.values.items())

    def history_prefix(self) -> tuple[str, ...]:
        """Return ``|2 A=1 B=`` as words, nothing without arguments.

        Each ARG in scope counts, also one without a value; the value is what the step sees, be it of a later ENV.
        """
        known = [f"{name}={self.values.get(name, value or '')}" for name, value in self.args.items()]
        return (f"|{len(known)}", *known) if known else ()


def proxy_environment(build_args: Mapping[str, str], declared: Mapping[str, str | None]) -> tuple[tuple[str, str], ...]:
    """Return the proxy variables that reach RUN without being declared so, in both cases, sorted."""
    found: dict[str, str] = {}
    for name, value in build_args.items():
        if name.lower() in PROXY_ARGS:
            found.setdefault(name.upper(), value)
            found.setdefault(name.lower(), value)
    return tuple(sorted((name, value) for name, value in found.items() if name not in declared))
