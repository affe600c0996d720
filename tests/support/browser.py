"""A headless Chromium, driven over a pair of pipes (its DevTools protocol), for tests of pages that people look at."""

from __future__ import annotations

import base64
import itertools
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.need import need_tool

_FLAGS = (
    *("--headless=new", "--disable-gpu", "--no-first-run", "--hide-scrollbars", "--disable-extensions"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
    *("--remote-debugging-pipe", "--force-color-profile=srgb"),
)


class Page:
    """One tab. ``problems`` are exceptions, messages of the console, and dialogs; ``asked`` every URL it asked for."""

    def __init__(self, sending: int, receiving: int) -> None:
        self._sending = sending
        self._receiving = os.fdopen(receiving, "rb", buffering=0)
        self._pending = b""
        self._numbers = itertools.count(1)
        self._session: str | None = None
        self.problems: list[str] = []
        self.asked: list[str] = []

    def attach(self) -> None:
        """Open the tab."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and return what it gives."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._sending, json.dumps(message).encode() + b"\0")
        while True:
            found = self._message()
            if found.get("id") == number:
                assert "error" not in found, f"{method}: {found['error']}"
                return found["result"]
            self._note(found)

    def open(self, url: str, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Open a page and wait until it says that it is ready, or shows a problem."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=url)
        ready = "document.documentElement.dataset.ready || !document.getElementById('problem')?.hidden"
        self.wait(f"document.readyState === 'complete' && ({ready})")

    def wait(self, condition: str) -> None:
        """Wait until an expression holds; the browser looks at it before every frame."""
        text = f"new Promise((done) => {{ const look = () => ({condition}) ? done(1) : setTimeout(look, 5); look(); }})"
        self.run(text)

    def run(self, expression: str) -> Any:
        """Evaluate an expression in the page, wait for it if it is a promise, and return its value."""
        found = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def press(self, key: str) -> None:
        """Press a key in what has the focus."""
        text = {"text": key} if len(key) == 1 else {}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, **(text if kind == "keyDown" else {}))

    def screenshot(self, path: Path) -> None:
        """Write what is on the screen, as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self._pending:
            data = self._receiving.read(1 << 20)
            assert data, "the browser has gone"
            self._pending += data
        raw, _, self._pending = self._pending.partition(b"\0")
        return json.loads(raw)

    def _note(self, found: dict[str, Any]) -> None:
        match found.get("method"):
            case "Runtime.exceptionThrown" | "Log.entryAdded" | "Page.javascriptDialogOpening":
                self.problems.append(json.dumps(found["params"]))
            case "Network.requestWillBeSent":
                self.asked.append(found["params"]["request"]["url"])


@contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """Yield a tab of a browser of its own, which keeps everything in ``profile``."""
    program = need_tool("chromium")
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    # A browser reads from descriptor 3 and writes to 4.
    shell = f'exec 3<&{theirs_in} 4>&{theirs_out}; exec "$@"'
    flags = [*_FLAGS, f"--user-data-dir={profile}", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    process = subprocess.Popen(
        ["bash", "-c", shell, "-", program, *flags, "about:blank"],
        pass_fds=(theirs_in, theirs_out),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(profile)},
    )
    os.close(theirs_in)
    os.close(theirs_out)
    page = Page(ours_out, ours_in)
    try:
        page.attach()
        yield page
    finally:
        os.close(ours_out)
        process.terminate()
        process.wait()
        page._receiving.close()
