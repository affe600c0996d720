"""What the operations of one build share: the store, the sources of bytes, the clock, and who listens."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from builder.cache.store import Store
from builder.engine.masks import Masks
from builder.engine.times import TimePolicy
from builder.events import Reporter
from builder.levels import NEWEST, Level
from builder.rootfs.coding import USUAL, Coding
from builder.run.spec import Provision
from builder.values import dataclass, field

if TYPE_CHECKING:
    from builder.engine.agents import Agents
    from builder.engine.ahead import Ahead
    from builder.engine.bases import Bases
    from builder.engine.checks import Checks
    from builder.engine.contexts import Contexts
    from builder.engine.imports import Imports
    from builder.engine.sandboxes import LazySandbox

SECRET_LIMIT = 500 << 10
"""Bytes of one secret; the same limit as BuildKit's."""

SecretReader = Callable[[], bytes]
"""Gives a secret's value when a RUN mounts it; the value is not kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Everything a vertex may need besides its inputs. Shared by threads.

    ``project`` tells builds of one store apart, for explanations; with ``recording`` off, looking writes no results.
    """

    checks: Checks
    store: Store
    bases: Bases
    contexts: Contexts
    sandbox: LazySandbox
    times: TimePolicy
    reporter: Reporter
    secrets: Mapping[str, SecretReader] = field(default_factory=dict, repr=False)
    no_cache: bool = False
    project: str = ""
    recording: bool = True
    coding: Coding = USUAL
    level: Level = NEWEST
    timeout: float | None = None
    provision: Provision = field(default_factory=Provision)
    agents: Agents | None = None
    imports: Imports | None = None
    ahead: Ahead | None = None
    cancel: threading.Event = field(default_factory=threading.Event)
    masks: Masks = field(default_factory=Masks, repr=False)
