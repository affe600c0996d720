"""Generated projects, changes to them, and what a rebuild after a change has to execute.

A project is a model of a multi-stage Dockerfile and its context. ``predict`` knows from the model alone, not from any
key, which steps a change reaches. Every step's text holds a token like ``u7u``, its own one last, which names it in
events and explanations.
"""

from __future__ import annotations

import copy
import os
import random
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

FILE_STEPS = ("run", "copy", "from", "text", "workdir")
"""Kinds of steps that may have a layer."""


@dataclass
class Step:
    """An instruction: ``run``, ``copy``, ``from`` (COPY --from), ``text`` (a here-document), ``workdir`` or config."""

    uid: int
    kind: str
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """Where its files are."""
        return f"/d-u{self.uid}u"

    def flag(self, name: str) -> str:
        value = self.fields.get(name)
        return "" if value is None or value is False else f" --{name}" if value is True else f" --{name}={value}"


@dataclass
class Stage:
    """``base`` is ``scratch``, ``base`` or the name of an earlier stage."""

    name: str
    base: str
    steps: list[Step]


@dataclass
class File:
    """A file of the context, or with ``target`` a symlink."""

    data: str = ""
    mode: int = 0o644
    target: str = ""


@dataclass
class Project:
    """All that a build reads. ``base`` numbers the version of the image that stages start from."""

    stages: list[Stage]
    files: dict[str, File]
    ignored: dict[str, File] = field(default_factory=dict)
    build_args: dict[str, str] = field(default_factory=dict)
    base: int = 0
    architectures: tuple[str, ...] = ("amd64",)
    epoch: int = 1_000_000_000
    hosts: tuple[tuple[str, str], ...] = ()
    secret: bytes = b"secret"
    decorate: str = ""

    @property
    def steps(self) -> list[tuple[Stage, Step]]:
        return [(stage, step) for stage in self.stages for step in stage.steps]

    def write(self, context: Path) -> None:
        """Write the context, which is to be an empty directory or not there."""
        for name, one in {**self.files, **self.ignored}.items():
            path = context / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.parent.chmod(0o755)
            if one.target:
                path.symlink_to(one.target)
            else:
                path.write_text(one.data)
                path.chmod(one.mode)
        (context / ".dockerignore").write_text("ignored\n**/*.tmp\n")

    def dockerfile(self) -> str:
        lines = []
        for stage in self.stages:
            lines.append(f"FROM {stage.base} AS {stage.name}")
            lines += [_line(step) for step in stage.steps]
        return _DECORATIONS[self.decorate]("\n".join(lines) + "\n")

    def selected(self, step: Step) -> set[str]:
        """Return the files that a COPY selects."""
        return {name for source in step.fields["sources"] for name in self.files if _matches(source, name)}

    def written(self, step: Step) -> dict[str, tuple[str, object]]:
        """Return the files that a COPY writes: what later sources have comes instead of what earlier ones had."""
        found = {}
        for source in step.fields["sources"]:
            for name, one in self.files.items():
                if _matches(source, name):
                    below = name.partition("/")[2] if "/" not in source else name.rpartition("/")[2]
                    mode = None if one.target else step.fields["chmod"] or one.mode
                    found[below] = (one.target or one.data, mode)
        return found


def _matches(source: str, name: str) -> bool:
    folder, _, pattern = source.partition("/")
    if not name.startswith(folder + "/"):
        return False
    rest = name.removeprefix(folder + "/")
    return not pattern or rest == pattern or (pattern == "*.txt" and "/" not in rest and rest.endswith(".txt"))


def _line(step: Step) -> str:
    fields = step.fields
    flags = "".join(map(step.flag, ("link", "chown", "chmod")))
    match step.kind:
        case "run":
            return (
                f"RUN{''.join(f' --mount={one}' for one in fields['mounts'])}{step.flag('network')} {_command_of(step)}"
            )
        case "copy":
            place = f"to-u{step.uid}u" if fields["relative"] else step.place
            return f"{fields['verb']}{flags} {' '.join(fields['sources'])} {place}/"
        case "from":
            return f"COPY --from={fields['stage']}{flags} {fields['path']} {step.place}/"
        case "text":
            body = f"{fields['body']} $TARGETARCH" if fields["compiled"] else fields["body"]
            declared = "ARG TARGETARCH\n" if fields["compiled"] else ""
            return f"{declared}COPY{flags} <<E{step.uid} {step.place}/text\n{body}\nE{step.uid}"
        case "workdir":
            return f"WORKDIR {step.place}/{fields['path']}"
        case "user":
            return f"USER {fields['value']}"
        case "shell":
            return f'SHELL ["{fields["value"]}", "-c"]'
        case _:
            return f"{step.kind.upper()} {fields['name']}={fields['value']}"


def _command_of(step: Step) -> str:
    command, token = step.fields["command"], f"u{step.uid}u"
    match step.fields["form"]:
        case "shell":
            return f"{command} {token}"
        case "exec":
            return f'["/bin/tool", "{command}", "{token}"]'
        case _:
            return f"<<EOF{token} cat # {token}\n{command}\nEOF{token}"


def _instructions(text: str) -> Iterable[tuple[str, bool]]:
    """Yield the lines, and whether each is an instruction's first."""
    end = ""
    for line in text.splitlines():
        yield line, not end
        if end:
            end = "" if line == end else end
        elif found := re.search(r"<<(\w+)", line):
            end = found[1]


def _commented(text: str) -> str:
    return "# about it\n\n" + "".join(
        f"  # a comment\n\n{line}\n" if first else f"{line}\n" for line, first in _instructions(text)
    )


def _continued(text: str) -> str:
    return "".join(
        line.replace(" ", " \\\n# in between\n   ", 1) + "\n" if first else f"{line}\n"
        for line, first in _instructions(text)
    )


def _spaced(text: str) -> str:
    lines = []
    for line, first in _instructions(text):
        word, _, rest = line.partition(" ")
        rest = re.sub(" ", "   ", rest) if word in ("COPY", "ADD") else rest
        lines.append(f"  {word.lower()} \t {rest}  " if first and "<<" not in line else line)
    return "\n".join(lines)


_DECORATIONS = {
    "": lambda text: text,
    "comments": _commented,
    "continuations": _continued,
    "white space": _spaced,
    "line ends": lambda text: text if "<<" in text else text.replace("\n", "\r\n"),
}


# --- generating


def generate(chance: random.Random) -> Project:
    """Return a project whose stages are all needed by the last one."""
    files = {
        f"dir{number}/{name}": File(f"{number} {name} {chance.random()}", chance.choice([0o644, 0o755]))
        for number in range(3)
        for name in ("a.txt", "b.txt", "deep/c", "d.bin")
    }
    files |= {f"dir{number}/link": File(target=chance.choice(["a.txt", "../dir0", "gone"])) for number in range(3)}
    stages: list[Stage] = []
    unused: list[Stage] = []
    uid = 0
    count = chance.randint(2, 4)
    for number in range(count):
        base = chance.choice(["scratch", "base", *(one.name for one in stages)])
        unused = [one for one in unused if one.name != base]
        kinds = ["copy", *(chance.choice(_KINDS) for _ in range(chance.randint(2, 6)))]
        chance.shuffle(kinds)
        stage = Stage(f"stage{number}", base, [])
        for kind in kinds:
            uid += 1
            stage.steps.append(_step(chance, uid, kind, stages))
        sources = unused if number == count - 1 else unused[: chance.randint(0, 1)]
        for source in sources:
            uid += 1
            flags: dict[str, Any] = {"chmod": None, "chown": None, "link": False}
            stage.steps.append(Step(uid, "from", {"stage": source.name, "path": _path_in(chance, source), **flags}))
        unused = [*(one for one in unused if one not in sources), stage]
        stages.append(stage)
    return Project(stages, files, architectures=chance.choice([("amd64",), ("amd64",), ("arm64", "amd64")]))


_KINDS = ("run", "run", "run", "copy", "copy", "text", "workdir", "from", "env", "arg", "user", "shell", "label")
_MODES = ("600", "640", "700", "711")
_STRANGERS = ("7:8", "10")
_OWNERS = ("5:6", "5:7", "4:6", "9", "0:0", "0")


def _path_in(chance: random.Random, stage: Stage) -> str:
    places = [step.place for step in stage.steps if step.kind in FILE_STEPS and not step.fields.get("relative")]
    return chance.choice([*places, "/"])


def _step(chance: random.Random, uid: int, kind: str, stages: list[Stage]) -> Step:
    link = chance.random() < 0.2
    chmod, chown = chance.choice([None, None, _MODES[0]]), chance.choice([None, None, None, "5:6"])
    flags: dict[str, Any] = {"chmod": chmod, "chown": chown, "link": link}
    match kind:
        case "run":
            mounts = [one for one in _mounts(chance, uid, stages) if chance.random() < 0.25]
            form = chance.choice(["shell", "shell", "exec", "heredoc"])
            return Step(uid, kind, {"form": form, "command": f"make it {uid}", "mounts": mounts, "network": None})
        case "copy":
            several = [f"dir{number}" for number in chance.sample(range(3), 2)]
            one = f"dir{chance.randrange(3)}"
            sources = chance.choice(
                [[one], [f"{one}/*.txt"], [f"{one}/d.bin"], [f"{one}/a.txt", "dir2/b.txt"], several]
            )
            verb = chance.choice(["COPY", "COPY", "ADD"])
            return Step(uid, kind, {"verb": verb, "sources": sources, "relative": chance.random() < 0.3, **flags})
        case "from" if stages:
            source = chance.choice(stages)
            # No flags that could make different files the same.
            flags |= {"chmod": None, "chown": None}
            return Step(uid, kind, {"stage": source.name, "path": _path_in(chance, source), **flags})
        case "text" | "from":
            return Step(uid, "text", {"body": f"text {uid}", "compiled": chance.random() < 0.2, **flags})
        case "workdir":
            return Step(uid, kind, {"path": "here"})
        case "user":
            return Step(uid, kind, {"value": str(1000 + uid)})
        case "shell":
            return Step(uid, kind, {"value": f"/bin/sh{uid}"})
        case _:
            return Step(uid, kind, {"name": f"N{uid}", "value": f"v{uid}"})


def _mounts(chance: random.Random, uid: int, stages: list[Stage]) -> list[str]:
    found = [f"type=cache,id=c{uid},target=/cache", "type=tmpfs,target=/t", "type=secret,id=secret"]
    if stages:
        source = chance.choice(stages)
        found.append(f"type=bind,from={source.name},source={_path_in(chance, source)},target=/bind")
    return found


# --- changing


@dataclass
class Change:
    """A project after a change, and where it was made.

    ``touched`` are steps whose own meaning changed, of which ``new`` were not there; ``same_result`` says that their
    layers did not. ``files`` are paths of the context, ``moved`` steps with another parent, ``cut`` places where one is
    missing. ``told`` is a pattern for what an explanation of a step that the change was made to must hold.
    """

    name: str
    project: Project
    touched: set[int] = field(default_factory=set)
    files: set[str] = field(default_factory=set)
    moved: set[int] = field(default_factory=set)
    cut: set[tuple[str, int]] = field(default_factory=set)
    new: set[int] = field(default_factory=set)
    same_result: bool = False
    base: bool = False
    platform: bool = False
    times: bool = False
    told: str = ""


@dataclass(frozen=True)
class Surroundings:
    """What the config says where a step stands."""

    variables: tuple[tuple[str, str], ...] = ()
    user: str = ""
    shell: str = ""
    directory: str = "/"

    def after(self, step: Step, project: Project) -> Surroundings:
        """Return what they are after a step."""
        name, value = step.fields.get("name", ""), step.fields.get("value", "")
        match step.kind:
            case "env" | "arg":
                given = project.build_args.get(name, value) if step.kind == "arg" else value
                return replace(self, variables=tuple({**dict(self.variables), name: given}.items()))
            case "user":
                return replace(self, user=value)
            case "shell":
                return replace(self, shell=value)
            case "workdir":
                return replace(self, directory=f"{step.place}/{step.fields['path']}")
            case "text" if step.fields["compiled"]:
                return replace(self, variables=tuple({**dict(self.variables), "TARGETARCH": ""}.items()))
            case _:
                return self


def surroundings(project: Project) -> dict[int, Surroundings]:
    """Return what each step stands in."""
    found: dict[int, Surroundings] = {}
    ends: dict[str, Surroundings] = {}
    for stage in project.stages:
        now = ends.get(stage.base, Surroundings())
        for step in stage.steps:
            found[step.uid] = now
            now = now.after(step, project)
        ends[stage.name] = now
    return found


def own_reasons(original: Project, change: Change) -> dict[int, set[str]]:
    """Return which components of steps differ because of their surroundings, times or platform.

    These, and what the change itself tells, are all that explanations may name beside what the steps are made of.
    """
    before, after = surroundings(original), surroundings(change.project)
    found: dict[int, set[str]] = {}
    for _, step in change.project.steps:
        if step.kind not in FILE_STEPS or step.uid not in before:
            continue
        reasons = found[step.uid] = _reasons(step, before[step.uid], after[step.uid])
        reasons |= {"times"} if change.times else set()
        if change.platform:
            if step.kind == "run":
                compiled = "TARGETARCH" in dict(after[step.uid].variables)
                reasons |= {"platform", "variable TARGETARCH"} if compiled else {"platform"}
            reasons |= {"here-document"} if step.fields.get("compiled") else set()
    return found


def _reasons(step: Step, before: Surroundings, after: Surroundings) -> set[str]:
    reasons: set[str] = set()
    if step.kind == "run":
        if before.shell != after.shell and step.fields["form"] != "exec":
            reasons.add("shell")
        was, now = dict(before.variables), dict(after.variables)
        reasons |= {f"variable {name}" for name in {*was, *now} if was.get(name) != now.get(name)}
        if not reasons and before.user == after.user and before.variables != after.variables:
            reasons.add("order of the variables")
    if step.kind in ("run", "workdir") and before.user != after.user:
        reasons.add("user")
    if (step.kind == "run" or step.fields.get("relative")) and before.directory != after.directory:
        reasons.add("working directory")
        reasons.discard("order of the variables")
    return reasons


@dataclass
class _State:
    """What differs in a stage so far: its layers, and its tree."""

    chain: bool = False
    tree: bool = False


class _Places:
    """Where COPYs with relative destinations write: below the place of a WORKDIR, maybe another one than before."""

    def __init__(self, original: Project, changed: Project) -> None:
        self._original = original
        self._both = [surroundings(original), surroundings(changed)]
        self.differing: set[str] = set()
        """Directories that WORKDIR makes in another way: a layer of COPY --link repeats them."""

    def otherwise(self, step: Step) -> bool:
        """Say whether a COPY --link repeats another directory."""
        where = f"/{self._both[1][step.uid].directory.split('/')[1]}"
        return bool(step.fields.get("relative") and step.fields.get("link")) and where in self.differing

    def changed(self, stage: Stage, step: Step) -> list[str]:
        """Take note of a step with another layer; return the places of WORKDIRs that it writes to."""
        if step.kind == "workdir":
            self.differing.add(step.place)
        if not step.fields.get("relative"):
            return []
        found = [one[step.uid].directory for one in self._both if step.uid in one]
        return [f"{stage.name}:/{one.split('/')[1]}" for one in found]

    def left(self, stage: Stage) -> list[str]:
        """Return those of steps of a stage that are gone."""
        gone = [step for one, step in self._original.steps if one.name == stage.name and step.uid not in self._both[1]]
        return [place for step in gone for place in self.changed(stage, step)]


def predict(original: Project, change: Change) -> set[int]:
    """Return the steps that a rebuild has to execute: those that the change reaches, no others."""
    before = {step.uid: original.written(step) for _, step in original.steps if step.kind == "copy"}
    reasons = own_reasons(original, change)
    places = _Places(original, change.project)
    executed: set[int] = set()
    results: dict[str, bool] = {}
    states: dict[str, _State] = {}
    for stage in change.project.stages:
        if stage.base == "base":
            state = _State(change.base, change.base)
        else:
            state = copy.copy(states.get(stage.base, _State()))
        for number, step in enumerate(stage.steps):
            if (stage.name, number) in change.cut:
                state.chain = state.tree = True
            if step.kind not in FILE_STEPS:
                continue
            run, result = _reached(change, step, state, states, results, before)
            if reasons.get(step.uid) or places.otherwise(step):
                run = result = True
            if run:
                executed.add(step.uid)
            results[f"{stage.name}:{step.place}"] = result
            if result:
                results |= dict.fromkeys(places.changed(stage, step), True)
            state.chain |= result or step.uid in change.moved
            state.tree |= result
        results |= dict.fromkeys(places.left(stage), True)
        if (stage.name, len(stage.steps)) in change.cut:
            state.chain = state.tree = True
        states[stage.name] = state
    return executed


def _reached(
    change: Change,
    step: Step,
    state: _State,
    states: dict[str, _State],
    results: dict[str, bool],
    before: dict[int, Any],
) -> tuple[bool, bool]:
    """Say whether a step is executed for what it is and reads, and whether its layer differs then."""
    touched = step.uid in change.touched
    own = touched and not change.same_result
    # An archive may hold directories of the image below, so ADD --link is for one image.
    apart = step.fields.get("link") and step.fields.get("verb") != "ADD"
    below = (state.chain or step.uid in change.moved) and not apart
    match step.kind:
        case "run":
            mounted = (found[1] for one in step.fields["mounts"] if (found := re.search(r"from=(\w+)", one)))
            run = touched or below or any(states[one].chain for one in mounted)
            return run, run
        case "copy":
            read = bool(change.files & (change.project.selected(step) | _removed(change, step)))
            other = before.get(step.uid) != change.project.written(step)
            return touched or below or read, own or other
        case "from":
            stage, path = step.fields["stage"], step.fields["path"]
            read = states[stage].tree if path == "/" else results[f"{stage}:{path}"]
            return touched or below or read, own or read
        case _:
            return touched or below, own


def _removed(change: Change, step: Step) -> set[str]:
    return {name for name in change.files for one in step.fields["sources"] if _matches(one, name)}


def change_meaning(chance: random.Random, project: Project) -> Change:
    """Return a change that some step has to notice, or that none does although it looks like one."""
    while True:
        made = chance.choice(_MEANINGS)(chance, copy.deepcopy(project))
        if made is not None:
            return made


def _pick(chance: random.Random, project: Project, *kinds: str) -> Step | None:
    found = [step for _, step in project.steps if step.kind in kinds]
    return chance.choice(found) if found else None


def _command(chance: random.Random, project: Project) -> Change | None:
    step = _pick(chance, project, "run")
    if step is None:
        return None
    step.fields["command"] += chance.choice([" more", "!", " "]) + "x"
    return Change("text of a RUN", project, {step.uid}, told="command")


def _form(chance: random.Random, project: Project) -> Change | None:
    step = _pick(chance, project, "run")
    if step is None or step.fields["form"] == "heredoc":
        return None
    step.fields["form"] = "exec" if step.fields["form"] == "shell" else "shell"
    return Change("form of a RUN", project, {step.uid}, told="command")


def _network(chance: random.Random, project: Project) -> Change | None:
    step = _pick(chance, project, "run")
    if step is None:
        return None
    step.fields["network"] = "none"
    return Change("network of a RUN", project, {step.uid}, told="--network")


def _mount(chance: random.Random, project: Project) -> Change | None:
    step = _pick(chance, project, "run")
    if step is None:
        return None
    mounts = step.fields["mounts"]
    if mounts and chance.random() < 0.7:
        number = chance.randrange(len(mounts))
        extra = {"cache": ["sharing=locked", "uid=5", "gid=6"], "tmpfs": ["size=7m"], "secret": ["mode=0440", "uid=7"]}
        kind = mounts[number].removeprefix("type=").partition(",")[0]
        mounts[number] += f",{chance.choice(extra.get(kind, ['rw']))}"
    else:
        mounts.append("type=tmpfs,target=/another")
    return Change("options of a mount", project, {step.uid}, told="--mount")


def _mode_or_owner(chance: random.Random, project: Project) -> Change | None:
    step = _pick(chance, project, "copy", "text", "from")
    if step is None:
        return None
    name = chance.choice(["chmod", "chown"])
    # The files of a stage may be root's, or somebody's, already.
    others = _MODES if name == "chmod" else _STRANGERS if step.kind == "from" else _OWNERS
    before = step.fields[name]
    step.fields[name] = chance.choice([one for one in (*others, None) if one != before])
    root = name == "chown" and {before, step.fields[name]} <= {None, "0:0", "0"}
    return Change(f"--{name}", project, {step.uid}, same_result=root, told=f"--{name}")


def _verb(chance: random.Random, project: Project) -> Change | None:
    step = _pick(chance, project, "copy")
    if step is None:
        return None
    step.fields["verb"] = "ADD" if step.fields["verb"] == "COPY" else "COPY"
    return Change("COPY for ADD", project, {step.uid}, same_result=True, told="instruction")


def _body(chance: random.Random, project: Project) -> Change | None:
    step = _pick(chance, project, "text")
    if step is None:
        return None
    step.fields["body"] += chance.choice(["\n", "\n\n", " ", "."]) + "x"
    return Change("text of a here-document", project, {step.uid}, told="here-document")


def _directory(chance: random.Random, project: Project) -> Change | None:
    step = _pick(chance, project, "workdir")
    if step is None:
        return None
    step.fields["path"] += "/more"
    return Change("WORKDIR", project, {step.uid}, told="directory")


def _sources(chance: random.Random, project: Project) -> Change | None:
    step = _pick(chance, project, "copy")
    if step is None or len(step.fields["sources"]) > 1:
        return None
    step.fields["sources"].append("dir1/d.bin" if "dir1" not in step.fields["sources"] else "dir2/d.bin")
    if len(set(step.fields["sources"])) == 1:
        return None
    return Change("another source", project, {step.uid}, told="d.bin")


def _config(chance: random.Random, project: Project) -> Change | None:
    step = _pick(chance, project, "env", "arg", "user", "shell")
    if step is None:
        return None
    if step.kind in ("env", "arg") and chance.random() < 0.3:
        step.fields["name"] += "X"
    elif step.kind == "arg" and chance.random() < 0.5:
        project.build_args[step.fields["name"]] = "given"
    else:
        step.fields["value"] += "0"
    return Change(step.kind.upper(), project)


def _contents(chance: random.Random, project: Project) -> Change | None:
    name = chance.choice([name for name, one in project.files.items() if not one.target])
    one = project.files[name]
    one.data = one.data[:-1] + chance.choice(["", "+", one.data[-1] + "more"])
    return Change("contents of a file", project, files={name}, told=name)


def _file_mode(chance: random.Random, project: Project) -> Change | None:
    name = chance.choice([name for name, one in project.files.items() if not one.target])
    project.files[name].mode ^= chance.choice([0o111, 0o004, 0o020])
    return Change("mode of a file", project, files={name}, told=name)


def _new_file(chance: random.Random, project: Project) -> Change | None:
    name = f"dir{chance.randrange(3)}/{chance.choice(['new.txt', 'deep/new', 'other/new'])}"
    project.files[name] = File("new")
    return Change("new file", project, files={name}, told=name.rpartition("/")[0])


def _removed_file(chance: random.Random, project: Project) -> Change | None:
    name = f"dir{chance.randrange(3)}/deep/c"
    del project.files[name]
    return Change("file gone", project, files={name}, told="deep")


def _renamed_file(chance: random.Random, project: Project) -> Change | None:
    old = f"dir{chance.randrange(3)}/deep/c"
    project.files[old + "c"] = project.files.pop(old)
    return Change("name of a file", project, files={old, old + "c"}, told="deep/c")


def _target(chance: random.Random, project: Project) -> Change | None:
    name = f"dir{chance.randrange(3)}/link"
    project.files[name].target += chance.choice(["/.", "x"])
    return Change("target of a link", project, files={name}, told=name)


def _kind(chance: random.Random, project: Project) -> Change | None:
    name = f"dir{chance.randrange(3)}/link"
    project.files[name] = File(project.files[name].target)
    return Change("a file for a link", project, files={name}, told=name)


def _base(chance: random.Random, project: Project) -> Change | None:
    if not any(stage.base == "base" for stage in project.stages):
        return None
    project.base += 1
    return Change("base image", project, base=True, told="base image")


def _platform(chance: random.Random, project: Project) -> Change | None:
    """Build for another platform, for one more, or for fewer."""
    before = project.architectures
    one = tuple(name for name in ("amd64", "arm64") if name not in before) or before[1:]
    project.architectures = chance.choice([one, (*before, *one), (*one, *before)]) if len(before) == 1 else one
    return Change("platform", project, platform=len(before) == 1)


def _epoch(chance: random.Random, project: Project) -> Change | None:
    project.epoch += 1
    return Change("times", project, times=True)


def _order(chance: random.Random, project: Project) -> Change | None:
    pairs = [(stage.steps, number) for stage in project.stages for number in range(len(stage.steps) - 1)]
    steps, number = chance.choice(pairs)
    pair = steps[number : number + 2]
    steps[number : number + 2] = reversed(pair)
    both = all(one.kind in FILE_STEPS for one in pair)
    return Change("order of steps", project, moved={one.uid for one in pair} if both else set())


def _inserted(chance: random.Random, project: Project) -> Change | None:
    number = chance.randrange(len(project.stages))
    stage = project.stages[number]
    uid = 1 + max(step.uid for _, step in project.steps)
    step = _step(chance, uid, chance.choice(_KINDS), project.stages[:number])
    stage.steps.insert(chance.randint(0, len(stage.steps)), step)
    new = {uid} if step.kind in FILE_STEPS else set()
    return Change(f"new {step.kind}", project, new, new=new)


def _dropped(chance: random.Random, project: Project) -> Change | None:
    used = {step.fields.get("path") for _, step in project.steps if step.kind == "from"}
    used |= {
        one.partition("source=")[2].partition(",")[0]
        for _, step in project.steps
        for one in step.fields.get("mounts", ())
    }
    found = [
        (stage, number)
        for stage in project.stages
        for number, step in enumerate(stage.steps)
        if step.kind != "from" and step.place not in used and len(stage.steps) > 1
    ]
    if not found:
        return None
    stage, number = chance.choice(found)
    gone = stage.steps.pop(number)
    return Change(f"{gone.kind} gone", project, cut={(stage.name, number)} if gone.kind in FILE_STEPS else set())


_MEANINGS = (
    *(_command, _form, _network, _mount, _mode_or_owner, _verb, _body, _directory, _sources, _config, _config, _config),
    *(_contents, _contents, _file_mode, _file_mode, _new_file, _removed_file, _renamed_file, _target, _kind),
    *(_base, _platform, _platform, _epoch, *([_order] * 3), *([_inserted] * 3), *([_dropped] * 3), _mode_or_owner),
)


def change_nothing(chance: random.Random, project: Project) -> tuple[str, Project]:
    """Return a change that no step may notice, and what it is; the ways of ``Surroundings`` come on top."""
    project = copy.deepcopy(project)
    way = chance.choice([*(one for one in _DECORATIONS if one), "files", "secret", "proxy", "names", "config"])
    match way:
        case "files":
            project.ignored["ignored/file"] = File(str(chance.random()))
            project.ignored["dir0/x.tmp"] = File(str(chance.random()))
            project.files["unrelated"] = File(str(chance.random()))
        case "secret":
            project.secret = b"another"
        case "proxy":
            project.build_args |= {"HTTP_PROXY": f"http://proxy:{chance.randrange(1, 9999)}", "no_proxy": "a"}
        case "names":
            for stage in project.stages:
                _rename(project, stage, f"renamed-{stage.name[5:]}")
        case "config":
            project.stages[-1].steps.append(Step(999, "label", {"name": "added", "value": '"some words"'}))
            for _, step in project.steps:
                if step.kind in ("env", "arg"):
                    step.fields["value"] = f'"{step.fields["value"]}"'
        case _:
            project.decorate = way
    return way, project


def _rename(project: Project, stage: Stage, name: str) -> None:
    for other in project.stages:
        other.base = name if other.base == stage.name else other.base
        for step in other.steps:
            if step.kind == "from" and step.fields["stage"] == stage.name:
                step.fields["stage"] = name
            for number, one in enumerate(step.fields.get("mounts", ())):
                step.fields["mounts"][number] = one.replace(f"from={stage.name},", f"from={name},")
    stage.name = name


def age(context: Path, chance: random.Random) -> None:
    """Give everything in a context another time, later than any epoch, and as root another owner."""
    for path in [context, *context.rglob("*")]:
        when = chance.randint(1_200_000_000, 1_700_000_000)
        os.utime(path, (when, when), follow_symlinks=False)
        if os.geteuid() == 0:
            mode = path.lstat().st_mode
            os.chown(path, chance.choice([0, 7]), chance.choice([0, 8]), follow_symlinks=False)
            if not path.is_symlink():
                path.chmod(mode & 0o7777)
