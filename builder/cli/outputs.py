"""``--output``, ``--push`` and ``--load``: where images go, and in what form (cli-and-outputs.md 3.2)."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NoReturn, cast, get_args

from builder.cli.compressing import choice
from builder.engine.request import CompressionChoice, Form, Output, OutputKind
from builder.errors import UsageError
from builder.image.reference import Reference
from builder.values import dataclass, replace

_KINDS: tuple[str, ...] = get_args(OutputKind)
_IMAGES = ("docker", "oci", "registry", "image")
_TREES = ("tar", "local")
_USUAL = CompressionChoice()
_NAMES = (
    *("type", "dest", "name", "push", "push-by-digest", "name-canonical", "tar", "platform-split"),
    *("compression", "compression-level", "force-compression", "oci-mediatypes"),
)


def outputs(
    texts: Sequence[str], tags: Sequence[Reference], *, push: bool, usual: CompressionChoice = _USUAL
) -> tuple[Output, ...]:
    """Return what the options ask for; ``usual`` is what an output's compression is added to. Raises UsageError."""
    found = [output(text, usual) for text in texts]
    if push:
        found = [replace(one, kind="registry") if one.kind == "image" else one for one in found]
    if push and not any(one.kind == "registry" for one in found):
        found.append(Output("registry"))
    if any(one.kind == "registry" and not one.names for one in found) and not tags:
        raise UsageError("a push needs a name for the image", hint="add --tag REGISTRY/NAME:TAG")
    if sum(not isinstance(one.dest, Path | None) for one in found) > 1:
        raise UsageError("only one output can go to stdout", hint="give the others a file: dest=FILE")
    places = [os.path.realpath(one.dest) for one in found if isinstance(one.dest, Path)]
    if len(set(places)) < len(places):
        raise UsageError("two outputs go to the same place", hint="give each a dest of its own")
    return tuple(found)


def output(text: str, usual: CompressionChoice = _USUAL) -> Output:
    """Return the meaning of one ``--output``: attributes as CSV, ``-`` or a directory. Raises UsageError."""
    if text == "-":
        text = "type=tar,dest=-"
    elif "=" not in text:
        text = f"type=local,dest={text}"
    fields = _Attributes(text, _attributes(text))
    fields.refuse_strangers()
    kind = fields.take("type")
    if not kind:
        raise UsageError(f"--output {text}: does not say what to write", hint=f"add type=, one of {', '.join(_KINDS)}")
    if kind not in _KINDS:
        raise UsageError(f"--output {text}: unknown type {kind!r}", hint=f"one of {', '.join(_KINDS)}")
    push = fields.flag("push") if kind in ("image", "registry") else None
    if kind == "image" and push:
        kind = "registry"
    elif kind == "registry" and push is False:
        kind = "image"
    made = _complete(cast(OutputKind, kind), fields, usual)
    fields.end()
    return made


def _complete(kind: OutputKind, fields: _Attributes, usual: CompressionChoice) -> Output:
    unpacked = kind == "oci" and fields.flag("tar") is False
    dest: Path | BinaryIO | None = None
    if kind in ("registry", "image", "cacheonly"):
        if fields.take("dest"):
            raise UsageError(
                f"--output {fields.text}: type={kind} has no dest: it goes where its names say",
                hint="write name=NAME instead, or type=oci for a file" if kind != "cacheonly" else "leave dest out",
            )
    else:
        dest = _destination(kind, fields, unpacked=unpacked)
    images = kind in _IMAGES
    return Output(
        kind,
        dest,
        unpacked,
        names=_names(fields) if images else (),
        by_digest=bool(fields.flag("push-by-digest")) if kind == "registry" else False,
        canonical=bool(fields.flag("name-canonical")) if kind in ("registry", "image") else False,
        split=fields.flag("platform-split") if kind in _TREES else None,
        form=_form(fields, usual) if images else Form(),
    )


def _destination(kind: OutputKind, fields: _Attributes, *, unpacked: bool) -> Path | BinaryIO:
    dest, directory = fields.take("dest"), kind == "local" or unpacked
    option = f"--output {fields.text}"
    if not dest:
        shown = f"type={kind},tar=false" if unpacked else f"type={kind}"
        place = "dest=DIRECTORY" if directory else "dest=FILE, or dest=- for standard output"
        raise UsageError(f"{option}: needs a destination", hint=f"write {shown},{place}")
    if dest == "-" and directory:
        instead = "leave tar=false out" if unpacked else "type=tar,dest=- writes the files as a tar"
        raise UsageError(f"{option}: a directory cannot go to stdout", hint=instead)
    return destination(option, dest, directory=directory)


def _form(fields: _Attributes, usual: CompressionChoice) -> Form:
    """Return what the output asks of the image's bytes."""
    from builder.cli.annotations import attribute

    oci = fields.flag("oci-mediatypes")
    found = []
    for name in list(fields.values):
        annotation = attribute(fields.text, name, fields.values[name])
        if annotation is not None:
            found.append(annotation)
            del fields.values[name]
    return Form(
        image_format=None if oci is None else "oci" if oci else "docker",
        compression=_compression(fields, usual),
        annotations=tuple(found),
    )


def _compression(fields: _Attributes, usual: CompressionChoice) -> CompressionChoice | None:
    kind, level, force = fields.take("compression"), fields.take("compression-level"), fields.flag("force-compression")
    if not kind and not level and force is None:
        return None
    return choice(f"--output {fields.text}", kind, level, force, usual)


def _names(fields: _Attributes) -> tuple[Reference, ...]:
    names = []
    for text in filter(None, fields.take("name").split(",")):
        reference = Reference.parse(text)
        if reference.digest is not None:
            raise UsageError(
                f"--output {fields.text}: {text}: an image gets a name and a tag, its digest is what it is",
                hint="leave @sha256:... out",
            )
        names.append(reference)
    return tuple(dict.fromkeys(names))


def _attributes(text: str) -> dict[str, str]:
    """Read ``K=V,...`` as CSV: a value with commas is quoted, as in ``"name=a,b"``; names may do without."""
    import csv

    try:
        words = next(csv.reader([text], strict=True))
    except csv.Error as error:
        raise UsageError(
            f"--output {text}: its quotes or line breaks do not fit",
            hint="""a value with commas is quoted with its name: '"name=a,b"'""",
        ) from error
    found: dict[str, str] = {}
    last = ""
    for word in words:
        key, equals, value = word.partition("=")
        key = key.strip()
        if not equals and last == "name":
            found["name"] += f",{word}"
            continue
        if not equals or not key:
            raise UsageError(f"--output {text}: expected NAME=VALUE, found {word!r}", hint="as in type=oci,dest=FILE")
        found[key] = value
        last = key
    return found


@dataclass(slots=True)
class _Attributes:
    """The attributes of an output; what nobody takes is a mistake."""

    text: str
    values: dict[str, str]

    def take(self, name: str) -> str:
        """Return a value and forget it; empty without one."""
        return self.values.pop(name, "")

    def flag(self, name: str) -> bool | None:
        """Return the meaning of true and false, None where it is not given. Raises UsageError."""
        value = self.take(name)
        if value not in ("", "true", "false", "1", "0"):
            raise UsageError(f"--output {self.text}: {name} is true or false, not {value!r}")
        return None if not value else value in ("true", "1")

    def refuse_strangers(self) -> None:
        """Raise UsageError for a name that no type has: what it was meant to be is not missing."""
        for name in self.values:
            if name not in _NAMES:
                from builder.cli.annotations import attribute

                if attribute(self.text, name, self.values[name]) is None:
                    self._refuse(name)

    def end(self) -> None:
        """Raise UsageError for what is left."""
        for name in self.values:
            self._refuse(name)

    def _refuse(self, name: str) -> NoReturn:
        from builder.dockerfile.suggest import did_you_mean

        problem = f"--output {self.text}: {name} means nothing here{did_you_mean(name, _NAMES)}"
        raise UsageError(problem, hint="pybuild help outputs lists the attributes of each type")


def destination(text: str, dest: str, *, directory: bool) -> Path | BinaryIO:
    """Return where a file or ``directory`` goes: a path whose folder exists, or stdout for ``-``. Raises UsageError."""
    if not dest:
        raise UsageError(f"{text}: needs a destination", hint="name a file, or - for standard output")
    if dest == "-":
        if sys.stdout.isatty():
            raise UsageError(f"{text}: refusing to write an archive to a terminal", hint="redirect it, or name a file")
        return sys.stdout.buffer
    path = Path(dest)
    if directory:
        if os.path.exists(path) and not os.path.isdir(path):
            raise UsageError(f"{text}: {dest} is not a directory")
    elif os.path.isdir(path):
        raise UsageError(f"{text}: {dest} is a directory", hint="name a file in it")
    if not os.path.isdir(path.absolute().parent):
        raise UsageError(f"{text}: there is no directory {path.parent}", hint="make it first, or correct the name")
    return path
