"""What this process may use of the machine, under the name that commands know it by."""

from __future__ import annotations

from builder.engine.machine import available_cpus, native_platform

__all__ = ["available_cpus", "native_platform"]
