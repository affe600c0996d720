"""A terminal with somebody in front of it: tmux shows what there is to see, and takes keys."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from tests.support.cli import environment
from tests.support.need import need_tool

_PATIENCE = 60.0
_SIZES = re.compile(r"^ *\d[\d.]*[kMG]?B(?=  )")
_TIMES = re.compile(r" *\b\d+\.\d+s\b")


class Terminal:
    """One command in a terminal of its own; ``close`` it. The screen ends with ``status N`` when it has ended."""

    def __init__(
        self, folder: Path, command: list[str], *, columns: int, lines: int, env: Mapping[str, str | None], root: Path
    ) -> None:
        self._tmux = [need_tool("tmux"), "-f", "/dev/null", "-S", str(folder / "tmux")]
        script = folder / "script"
        # The shell lives when Ctrl-C ends what it waits for; nothing is left to do but look.
        script.write_text(f"trap : INT\n{shlex.join(command)}\necho status $?\nexec sleep 600\n")
        settings = {
            "TERM": "tmux-256color",
            "LANG": "C.UTF-8",
            "LC_ALL": None,
            "LC_CTYPE": None,
            "NO_COLOR": None,
            **env,
        }
        size = ["-x", str(columns), "-y", str(lines)]
        shell = [
            "env",
            *(f"{name}={value}" for name, value in settings.items() if value is not None),
            "sh",
            str(script),
        ]
        given = environment(root, {**settings, "TERM": "xterm", "CI": None, "GITHUB_ACTIONS": None, "GITLAB_CI": None})
        subprocess.run([*self._tmux, "-u", "new-session", "-d", *size, shlex.join(shell)], check=True, env=given)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the terminal and what runs in it."""
        subprocess.run([*self._tmux, "kill-server"], check=False, capture_output=True)

    def screen(self, *, history: bool = False, joined: bool = False, colours: bool = False) -> str:
        """Return what is to be seen, without what is empty below."""
        words = [*(["-S", "-"] if history else []), *(["-J"] if joined else []), *(["-e"] if colours else [])]
        done = subprocess.run([*self._tmux, "capture-pane", "-p", *words], capture_output=True, check=True)
        return "\n".join(line.rstrip() for line in done.stdout.decode().split("\n")).rstrip("\n") + "\n"

    def wait_for(self, pattern: str) -> str:
        """Wait until a line is as the regular expression says, and return the screen."""
        end = time.monotonic() + _PATIENCE
        while not re.search(f"^{pattern}$", screen := self.screen(), re.MULTILINE):
            assert time.monotonic() < end, f"{pattern!r} does not appear in\n{screen}"
            time.sleep(0.02)
        return screen

    def press(self, *keys: str) -> None:
        """Press keys, as tmux names them."""
        subprocess.run([*self._tmux, "send-keys", *keys], check=True)

    def resize(self, columns: int, lines: int) -> None:
        """Make the window larger or smaller."""
        subprocess.run([*self._tmux, "resize-window", "-x", str(columns), "-y", str(lines)], check=True)


def command(*arguments: str | Path) -> list[str]:
    """Return the command line of this checkout."""
    return [sys.executable, "-m", "builder.cli.main", *map(str, arguments)]


def normalised(screen: str, **names: str | Path) -> str:
    """Return a screen without what is another every time: times, digests, sizes of layers, folders."""
    for name, text in names.items():
        screen = screen.replace(str(text), f"<{name}>")
    screen = re.sub(r"sha256:[0-9a-f]{64}", "sha256:<digest>", screen)
    screen = re.sub(r"(\d+ layers?, )[\d.]+[kM]?B", r"\1<size>", screen)
    lines = []
    for line in screen.split("\n"):
        line = _SIZES.sub("<size>", line)
        lines.append(_TIMES.sub(lambda found: " " * max(0, len(found[0]) - 4) + "0.0s", line))
    return "\n".join(lines)


def raw_output(
    arguments: list[str], *, columns: int, lines: int, env: Mapping[str, str | None], root: Path
) -> tuple[int, bytes]:
    """Run a command on a pseudoterminal that shows nothing; return its status and every byte it wrote there."""
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    settings = {"TERM": "xterm-256color", "LANG": "C.UTF-8", "CI": None, "NO_COLOR": None, **env}
    with subprocess.Popen(
        arguments, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=environment(root, settings)
    ) as process:
        os.close(theirs)
        said = bytearray()
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            said += piece
    os.close(ours)
    return process.returncode, bytes(said)
