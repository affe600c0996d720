"""Where the program makes its errors, and what their messages look like: read from the source, not from a run.

A message becomes templates, one for each way an expression in it can go: ``cannot read {path}: {reason}``. A name is
followed to what the same function assigns to it. What a function only passes on (``{message}``) is looked for where
that function is called.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_READABLE = {"strerror": "reason", "did_you_mean": "suggestion", "len": "number"}
_WRAPPERS = {
    # the name of a function that makes an error: its class, the folder, the place of the message, what is added
    "error": ("DockerfileError", "builder/dockerfile", 0, "{}"),
    "args_error": ("DockerfileError", "builder/dockerfile", 0, "{}"),
    "fail": ("DockerfileError", "builder/plan", 0, "{}"),
    "_refuse": ("UsageError", "builder/registry/configured.py", 1, "{{place}}: {}"),
}
_WRONG = {
    "builder/settings.py": ("UsageError", 1, "{{place}}: {}"),
    "builder/cli/config/": ("UsageError", 1, "{{place}}: {}"),
    "builder/registry/hoststoml.py": ("RegistryError", 1, "{{path}}: {{place}}: expected {}"),
}
"""What methods called ``wrong`` make."""
_MANY = 40
"""Ways a message can go, of which no more are told apart."""


@dataclass(frozen=True)
class Site:
    """One place where an error is made; ``function`` is the one it is in."""

    file: str
    line: int
    function: str
    error: str
    templates: tuple[str, ...]

    @property
    def passes_on(self) -> bool:
        """Whether the whole message comes from elsewhere."""
        return any(not literal(one).strip(" :") for one in self.templates)


def literal(template: str) -> str:
    """Return what a template says in any case."""
    return "".join(part for part, _ in _split(template))


def _split(template: str) -> Iterator[tuple[str, str]]:
    at = 0
    for found in re.finditer(r"\{([a-z_]+)\}", template):
        yield template[at : found.start()], found[1]
        at = found.end()
    yield template[at:], ""


@cache
def errors() -> dict[str, str]:
    """Return the class of every error of ours and the class it derives from."""
    parents = [
        (node.name, base.id)
        for tree in _trees().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for base in node.bases[:1]
        if isinstance(base, ast.Name)
    ]
    ours = {"BuilderError": "Exception"}
    while more := {name: base for name, base in parents if base in ours and name not in ours}:
        ours |= more
    return ours


def sites() -> list[Site]:
    """Return every place where one of our errors is made, in the order of the files."""
    ours = set(errors())
    composed = _composed(ours)
    found = []
    for file, tree in _trees().items():
        for function, call in _calls(tree):
            name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
            made = _made(name, file, call, ours, composed)
            if made is None:
                continue
            error, message, around = made
            inner = _expand(message, function) if message is not None else ["{message}"]
            texts = tuple(dict.fromkeys(around.format(one) if "{}" in around else around for one in inner))
            found.append(Site(file, call.lineno, function.name if function else "", error, texts))
    return found


def _made(
    name: str, file: str, call: ast.Call, ours: set[str], composed: dict[str, str]
) -> tuple[str, ast.expr | None, str] | None:
    """Return the error that a call makes, the argument with its message, and what the class puts around it."""
    if name in composed:
        return name, None, composed[name]
    if name in ours:
        return name, _argument(call, 0, "message"), "{}"
    if name == "wrong" and (known := next((one for one in _WRONG if file.startswith(one)), "")):
        error, place, around = _WRONG[known]
        return error, _argument(call, place, "problem"), around
    if name in _WRAPPERS:
        error, folder, place, around = _WRAPPERS[name]
        if file.startswith(folder) and isinstance(call.func, ast.Attribute | ast.Name):
            return error, _argument(call, place, "message"), around
    return None


def _argument(call: ast.Call, place: int, name: str) -> ast.expr | None:
    if len(call.args) > place:
        return call.args[place]
    return next((one.value for one in call.keywords if one.arg == name), None)


def _composed(ours: set[str]) -> dict[str, str]:
    """Return the classes that make their message themselves, with its template."""
    found = {}
    for tree in _trees().values():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and node.name in ours:
                for call in (one for one in ast.walk(node) if isinstance(one, ast.Call)):
                    inner = call.func
                    if isinstance(inner, ast.Attribute) and inner.attr == "__init__" and call.args:
                        text = _expand(call.args[0], None)[0]
                        if literal(text).strip():
                            found[node.name] = text
    return found


@cache
def _trees() -> dict[str, ast.Module]:
    files = sorted((ROOT / "builder").rglob("*.py"))
    return {str(file.relative_to(ROOT)): ast.parse(file.read_text(encoding="utf-8")) for file in files}


@cache
def _constants() -> dict[str, str]:
    """Return the texts that modules give names to."""
    return {
        one.targets[0].id: one.value.value
        for tree in _trees().values()
        for one in tree.body
        if isinstance(one, ast.Assign) and isinstance(one.targets[0], ast.Name)
        if isinstance(one.value, ast.Constant) and isinstance(one.value.value, str)
    }


Function = ast.FunctionDef | ast.AsyncFunctionDef


def _calls(tree: ast.AST, function: Function | None = None) -> Iterator[tuple[Function | None, ast.Call]]:
    """Yield the calls below ``tree``, each with the function it is in."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.Call):
            yield function, child
        yield from _calls(child, child if isinstance(child, Function) else function)


def _expand(node: ast.expr, function: Function | None) -> list[str]:
    """Return the templates of an expression that is a text."""
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if isinstance(node, ast.JoinedStr):
        parts = [_part(one, function) for one in node.values]
        return ["".join(one) for one in itertools.islice(itertools.product(*parts), _MANY)]
    if isinstance(node, ast.IfExp):
        return [*_expand(node.body, function), *_expand(node.orelse, function)]
    if isinstance(node, ast.BoolOp):
        return [one for value in node.values for one in _expand(value, function)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        pairs = itertools.product(_expand(node.left, function), _expand(node.right, function))
        return [left + right for left, right in itertools.islice(pairs, _MANY)]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "rstrip":
        return _expand(node.func.value, function)
    if isinstance(node, ast.Name) and function is not None and node.id.lstrip("_").isupper():
        return [_constants().get(node.id, "{" + _name(node) + "}")]
    if isinstance(node, ast.Name) and function is not None and (assigned := _assigned(node.id, function)):
        return [one for value in assigned for one in _expand(value, None)]
    return [f"{{{_name(node)}}}"]


def _part(node: ast.expr, function: Function | None) -> list[str]:
    if not isinstance(node, ast.FormattedValue):
        return _expand(node, function)
    value = node.value
    chosen = isinstance(value, ast.IfExp) or (
        isinstance(value, ast.Name)
        and function is not None
        and any(isinstance(one, ast.IfExp | ast.JoinedStr | ast.Constant) for one in _assigned(value.id, function))
    )
    return _expand(value, function) if chosen else [f"{{{_name(value)}}}"]


def _assigned(name: str, function: Function) -> list[ast.expr]:
    """Return what a function gives a name, if that is text."""
    values = [
        node.value
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and any(isinstance(one, ast.Name) and one.id == name for one in node.targets)
    ]
    return [one for one in values if not (isinstance(one, ast.Constant) and not isinstance(one.value, str))]


def _name(node: ast.expr) -> str:
    """Return a word for what an expression stands for."""
    match node:
        case ast.Name():
            word = node.id
        case ast.Attribute():
            word = node.attr
        case ast.Call(func=ast.Attribute(attr="join"), args=[first, *_]):
            return _name(first)
        case ast.Call(func=ast.Name(id="str" | "sorted" | "public_url" | "_brief"), args=[first, *_]):
            return _name(first)
        case ast.Call(func=ast.Name() | ast.Attribute()):
            word = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
        case ast.Subscript():
            return _name(node.value)
        case ast.BinOp():
            return _name(node.left)
        case _:
            word = "value"
    word = _READABLE.get(word, word).strip("_").lower()
    return "".join(one for one in word if one.isalpha() or one == "_") or "value"
