"""What Tab offers: by tables of unfinished lines, and in real shells at a terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.cli.completing.engine import complete, words_of
from builder.cli.completing.scripts import SHELLS, answered
from builder.cli.completing.values import _SAFE
from builder.cli.options import COMMANDS
from tests.support.called import Call
from tests.support.cli import CHECKOUT, pybuild, write_context
from tests.support.commands import run
from tests.support.need import need_tool

DOCKERFILE = """\
FROM --platform=$BUILDPLATFORM scratch AS base
ARG VERSION=1 "OTHER=x y" LAST
FROM base \\
  AS build-it
from base as $(reboot)
COPY f /
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current directory with a Dockerfile and another, and an empty home."""
    folder = write_context(tmp_path / "here", DOCKERFILE, {"f": "", "sub/Dockerfile": "FROM scratch AS inside\n"})
    (folder / "Other").write_text("FROM scratch AS other\nFROM scratch AS second\n")
    (folder / "pybuild.toml").write_text('[target.api]\ncontext = "."\n[target.web]\ncontext = "."\n')
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    return folder


def offered(line: str) -> list[str]:
    answer = complete(words_of(line)[1:], os.environ)
    return [*answer.choices, *([f"<{answer.files}>"] if answer.files else [])]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("pybuild ex", ["explain", "explore", "<dirs>"]),
        ("pybuild --targ", ["--target"]),
        ("pybuild --target ", ["base", "build-it"]),
        ("pybuild --target b", ["base", "build-it"]),
        ("pybuild --target=bu", ["--target=build-it"]),
        ("pybuild build --target bu", ["build-it"]),
        ("pybuild . --target bu", ["build-it"]),
        ("pybuild explain --target bu", ["build-it"]),
        ("pybuild -f Other --target ", ["other", "second"]),
        ("pybuild --file=Other . --target s", ["second"]),
        ("pybuild sub --target ", ["inside"]),
        ("pybuild -f nosuch --target ", []),
        ("pybuild --no-cache-filter base,", ["base,base", "base,build-it"]),
        ("pybuild --build-arg ", ["VERSION=", "OTHER=", "LAST="]),
        ("pybuild --build-arg V", ["VERSION="]),
        ("pybuild --build-arg VERSION=", []),
        ("pybuild --isolation u", ["userns"]),
        ("pybuild --isolation=u", ["--isolation=userns"]),
        ("pybuild --platform linux/amd64,linux/arm", ["linux/amd64,linux/arm64", "linux/amd64,linux/arm/v7"]),
        ("pybuild --push=", ["--push=true", "--push=false"]),
        ("pybuild --no-cache=f", ["--no-cache=false"]),
        ("pybuild kaniko --cache=t", ["--cache=true"]),
        ("pybuild --compression z", ["zstd"]),
        ("pybuild --allow n", ["network.host"]),
        ("pybuild --call o", ["outline", "outline,format=json"]),
        ("pybuild --cache-from type=l", ["type=local,src="]),
        ("pybuild --cache-to type=local,dest=", ["<dirs>"]),
        ("pybuild -o type=o", ["type=oci,dest=", "type=oci,tar=false,dest="]),
        ("pybuild -o type=oci,dest=x", ["<files>"]),
        ("pybuild --secret id=a,src=", ["<files>"]),
        ("pybuild -f ", ["<files>"]),
        ("pybuild --root ", ["<dirs>"]),
        ("pybuild --root x --progress q", ["quiet"]),
        ("pybuild --build-context x=", ["<dirs>"]),
        ("pybuild --annotation index:org.opencontainers.image.t", ["index:org.opencontainers.image.title="]),
        ("pybuild --no-such-option", []),
        ("pybuild -t a --tag=", []),
        ("pybuild -- --tar", ["<dirs>"]),
        ("pybuild a", ["append", "api", "<dirs>"]),
        ("pybuild build w", ["web", "<dirs>"]),
        ("pybuild build api w", ["web", "<dirs>"]),
        ("pybuild cache p", ["prune"]),
        ("pybuild cache prune --max-a", ["--max-age"]),
        ("pybuild cache nosuch ", []),
        ("pybuild manifest --r", []),
        ("pybuild --debug manifest cr", ["create"]),
        ("pybuild kaniko --destin", ["--destination"]),
        ("pybuild kaniko --context . --target b", ["base", "build-it"]),
        ("pybuild kaniko --dockerfile Other --target o", ["other"]),
        ("pybuild completion ", ["bash", "zsh", "fish"]),
        ("pybuild help reg", ["registries"]),
        ("pybuild help cache p", ["prune"]),
        ("pybuild help build x", []),
        ("pybuild digest a b c", []),
        ("pybuild 'unfinish", ["<dirs>"]),
        ('pybuild --target "bu', ["build-it"]),
    ],
)
def test_what_is_offered(place: Path, line: str, expected: list[str]) -> None:
    assert sorted(offered(line)) == sorted(expected)


def test_an_option_that_is_given_once_is_not_offered_again(place: Path) -> None:
    assert "--target" not in offered("pybuild --target x --")
    assert "--build-arg" in offered("pybuild --build-arg x --")
    assert "--destination" in offered("pybuild kaniko --destination x --dest")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_each_of_its_options(place: Path, command: str) -> None:
    """Nothing here raises, and what is offered needs no quotes."""
    for option in [*offered(f"pybuild {command} --"), ""]:
        for word in ("", "x", "x=", "x,"):
            for text in offered(f"pybuild {command} {option} {word}"):
                assert text in ("<files>", "<dirs>") or _SAFE.fullmatch(text), text
    assert "--help" in offered(f"pybuild {command} --he") or hasattr(_module(command), "ACTIONS")


def _module(command: str) -> object:
    from builder.cli.options import load

    return None if command == "build" else load(command)


def test_images_of_the_store(call: Call, place: Path) -> None:
    (place / "Dockerfile").write_text("FROM scratch\nCOPY f /\n")
    (place / "pybuild.toml").unlink()
    call("-t", "registry.example/team/app:1", "-t", "app:2", ".")
    names = ["app:2", "registry.example/team/app:1"]
    for line in ("pybuild rmi ", "pybuild tag ", "pybuild history "):
        assert [one for one in offered(line) if one[0] != "<"] == names, line
    assert [one for one in offered("pybuild push ") if one[0] != "<"] == names
    assert offered("pybuild push ")[-1] == "<files>"
    assert offered("pybuild rmi app:2 reg") == ["registry.example/team/app:1"]
    assert "registry.example/team/app" in offered("pybuild tags ")
    assert "registry.example" in offered("pybuild login ")
    assert offered("pybuild --root nosuch rmi ") == offered("pybuild --root=nosuch rmi ") == []
    (place / "other.toml").write_text("[target.zone]\n")
    assert offered("pybuild --config other.toml zo") == offered("pybuild --config=other.toml zo") == ["zone", "<dirs>"]


def test_a_store_is_not_made_by_looking(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYBUILD_ROOT", str(tmp_path / "none"))
    assert offered("pybuild rmi ") == []
    assert not (tmp_path / "none").exists()


def test_bash_breaks_words(place: Path) -> None:
    answer = complete(words_of("pybuild --target=bu")[1:], os.environ)
    assert answered(answer, "bash", " \t\n\"'><=;|&(:") == "\nbuild-it"
    assert answered(answer, "bash", " \t\n") == "\n--target=build-it"
    assert answered(answer, "fish", "") == "\n--target=\n--target=build-it\tFROM base"


@pytest.mark.parametrize("line", ["", "pybuild", "x", "pybuild \\", "pybuild 'a\"", "pybuild \x00", "pybuild \ud800 "])
def test_lines_of_any_kind(place: Path, line: str) -> None:
    words = words_of(line)
    assert words
    complete(words[1:] or [""], os.environ)


@pytest.mark.parametrize(
    "line", ["a" * 400_000 + "!", "x=" * 200_000 + '"', "x='" * 100_000 + '"', "'\"" * 200_000, "a " * 200_000 + '"']
)
def test_a_strangers_dockerfile_holds_nobody_up(place: Path, line: str) -> None:
    """Each of these took hours, when every way to read a word was tried."""
    (place / "Dockerfile").write_text(f"ARG {line}\nARG OWN\nFROM scratch AS {line}\nFROM scratch AS last\n")
    assert "OWN=" in offered("pybuild --build-arg ")
    assert offered("pybuild --target ") == ["last"]


def test_a_long_description_is_cut(place: Path) -> None:
    (place / "pybuild.toml").write_text(f"[target.api]\ndescription = '{'x' * 100_000}'\n")
    for shell in ("zsh", "fish"):
        assert len(answered(complete(["ap"], os.environ), shell, "")) < 300


def test_what_takes_too_long_ends(place: Path, tmp_path: Path) -> None:
    """As a store does that is on a disk that does not answer."""
    text = (
        "import sys, threading\nfrom builder.cli.commands import completion\ncompletion._PATIENCE = 0.2\n"
        "completion._asked = lambda _: threading.Event().wait()\n"
        "from builder.cli.main import main\nsys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", text, "completion", "bash", "--line", "pybuild "],
        cwd=CHECKOUT,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")


def test_no_error_is_ever_printed(place: Path, tmp_path: Path) -> None:
    (place / "pybuild.toml").write_text("[[[")
    (place / "Dockerfile").unlink()
    (place / "Dockerfile").mkdir()
    for shell in SHELLS:
        for line in ("pybuild ", "pybuild --target ", "pybuild a", "pybuild push "):
            done = pybuild("completion", shell, "--line", line, root=tmp_path / "s", status=(0, 1), cwd=place)
            assert done.stderr == ""


def test_little_is_loaded_for_it(place: Path, tmp_path: Path) -> None:
    heavy = ("lark", "httpx", "rich", "builder.engine.build", "builder.dockerfile.parser")
    text = (
        "import sys\nfrom builder.cli.main import main\nmain(sys.argv[1:])\n"
        f"print([one for one in {heavy} if one in sys.modules])"
    )
    for line in ("pybuild --target ", "pybuild push ", "pybuild cache prune --"):
        done = run([sys.executable, "-c", text, "completion", "bash", "--line", line], cwd=CHECKOUT)
        assert done.stdout.splitlines()[-1] == "[]"


# --- shells


@pytest.fixture
def program(place: Path, tmp_path: Path) -> Path:
    """A directory with the program ``pybuild``."""
    path = tmp_path / "bin/pybuild"
    path.parent.mkdir()
    path.write_text(f'#!/bin/sh\nPYTHONPATH={CHECKOUT} exec {sys.executable} -m builder.cli.main "$@"\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path.parent


_CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x00")


class Terminal:
    """A shell at a terminal of its own."""

    def __init__(self, command: list[str], cwd: Path, path: Path) -> None:
        ours, theirs = pty.openpty()
        environment = {
            **os.environ,
            "PATH": f"{path}:{os.environ['PATH']}",
            "TERM": "vt100",
            "PS1": "ready> ",
            "PROMPT": "ready> ",
            "HISTFILE": "",
            "COLUMNS": "200",
        }
        self.process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=cwd, env=environment, start_new_session=True
        )
        os.close(theirs)
        self._fd = ours
        self._seen = ""

    def send(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def expect(self, text: str) -> None:
        """Read until ``text`` is there, and forget what came before it."""
        end = time.monotonic() + 30
        while text not in self._seen:
            ready, _, _ = select.select([self._fd], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"{text!r} is not in {self._seen!r}"
            self._seen = _CONTROLS.sub("", self._seen + os.read(self._fd, 4096).decode(errors="replace"))
        self._seen = self._seen.partition(text)[2]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._fd)


@pytest.fixture(params=["bash", "zsh"])
def terminal(request: pytest.FixtureRequest, place: Path, program: Path) -> Iterator[Terminal]:
    shell = need_tool(request.param)
    options = {"bash": ["--noprofile", "--norc"], "zsh": ["-f"]}[request.param]
    made = Terminal([shell, *options, "-i"], place, program)
    try:
        made.expect("ready> ")
        made.send(f"source <(pybuild completion {request.param}); echo load''ed\n")
        made.expect("loaded")
        made.expect("ready> ")
        yield made
    finally:
        made.close()


def test_at_a_terminal(terminal: Terminal) -> None:
    for typed, shown in (
        ("pybuild --targ\t", "pybuild --target "),
        ("bu\t", "build-it "),
        ("--isol\t", "--isolation "),
        ("us\t", "userns "),
        ("--build-arg V\t", "VERSION="),
        ("1 -f Oth\t", "Other "),
    ):
        terminal.send(typed)
        terminal.expect(shown)
    terminal.send("\x15pybuild --target=bu\t")
    terminal.expect("--target=build-it ")
    terminal.send("\x15pybuild -o type=docker,dest=Oth\t")
    terminal.expect("dest=Other ")
    terminal.send("\x15pybuild bu\t")
    terminal.expect("build")


HOSTILE = {
    "f$(touch bitten)": "f\\$\\(touch\\ bitten\\)/",
    "g`touch bitten`": "g\\`touch\\ bitten\\`/",
    "j;touch bitten;": "j\\;touch\\ bitten\\;/",
    'n"$(touch bitten)': 'n\\"\\$\\(touch\\ bitten\\)/',
    "o'|touch bitten": "o\\'\\|touch\\ bitten/",
}
"""Names of directories, and how they stand on the line; commands begin with none of the letters."""


@pytest.fixture
def hostile(place: Path) -> Path:
    """A stranger's directory, in which every name is a command."""
    for name in (*HOSTILE, "y\ntouch bitten"):
        (place / name).mkdir()
    (place / "Dockerfile").write_text(
        "FROM $(touch${IFS}bitten) AS base\nFROM `touch${IFS}bitten` AS $(touch${IFS}bitten)\n"
        'ARG A=$(touch bitten)\nARG $(touch${IFS}bitten)=1\nFROM "a;touch${IFS}bitten AS bu\n'
    )
    (place / "pybuild.toml").write_text(
        "[target.zz]\ndescription = '$(touch bitten) `touch bitten` %F{red} : \"'\n"
        '[target.zy]\ndescription = "\\u001b]0;x\\u0007 \\n;touch bitten;\\n\'"\n'
    )
    (place / "pybuild").write_text("#!/bin/sh\ntouch bitten\n")
    (place / "pybuild").chmod(0o755)
    return place


def test_nothing_of_a_strangers_directory_is_executed(hostile: Path, terminal: Terminal) -> None:
    for name, written in HOSTILE.items():
        terminal.send(f"pybuild {name[0]}\t")
        terminal.expect(f"pybuild {written}")
        terminal.send("\n")
        terminal.expect(f"cannot read the Dockerfile {name}/Dockerfile")
        terminal.expect("ready> ")
    for typed, shown in (
        ("pybuild --target b\t\t\t", "base"),
        ("pybuild z\t\t\t", "zy"),
        ("pybuild --build-arg \t", "A="),
        ("pybuild -f y\t", "touch"),
        ("./pybuild --targ\t", "--target "),
    ):
        terminal.send(typed)
        terminal.expect(shown)
        terminal.send("\x15")
    terminal.send("echo do''ne\n")
    terminal.expect("done")
    assert not (hostile / "bitten").exists()


def test_nothing_of_a_strangers_directory_is_executed_by_fish(hostile: Path, program: Path) -> None:
    fish = need_tool("fish")
    lines = [*(f"pybuild {name[0]}" for name in HOSTILE), "pybuild -f y", "pybuild --target b", "pybuild z"]
    script = "pybuild completion fish | source; for line in $argv; complete -C $line; end"
    environment = {**os.environ, "PATH": f"{program}:{os.environ['PATH']}"}
    found = run([fish, "--no-config", "-c", script, *lines, "./pybuild --targ"], cwd=hostile, env=environment).stdout
    assert [name for name in HOSTILE if f"{name}/" not in found.replace("\\", "")] == []
    assert "zz\t$(touch bitten)" in found
    assert "zy\t" in found
    assert "--target\t" in found
    assert not (hostile / "bitten").exists()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("pybuild --targ", ["--target\tbuild this stage (default: the last)"]),
        ("pybuild --target bu", ["build-it\tFROM base"]),
        ("pybuild --target=bu", ["--target=build-it\tFROM base"]),
        ("pybuild -f Oth", ["Other"]),
        ("pybuild -o type=docker,dest=Oth", ["type=docker,dest=Other"]),
        ("pybuild s", ["save\twrite images as a docker-load tarball or OCI layout", "sub/\tDirectory"]),
    ],
)
def test_fish(place: Path, program: Path, line: str, expected: list[str]) -> None:
    fish = need_tool("fish")
    script = 'pybuild completion fish | source; complete -C "$LINE"'
    environment = {**os.environ, "PATH": f"{program}:{os.environ['PATH']}", "LINE": line}
    done = run([fish, "--no-config", "-c", script], cwd=place, env=environment)
    assert sorted(done.stdout.splitlines()) == sorted(expected)


@pytest.mark.parametrize("shell", SHELLS)
def test_scripts_are_well_formed(program: Path, shell: str, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(pybuild("completion", shell, root=tmp_path / "store").stdout)
    check = ["--no-execute"] if shell == "fish" else ["-n"]
    done = run([need_tool(shell), *check, script])
    assert done.stderr == ""
