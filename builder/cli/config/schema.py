"""The JSON Schema of ``pybuild.toml``, made from the table of keys: what editors complete and check."""

from __future__ import annotations

from typing import Any

from builder.cli.config.files import TARGET
from builder.cli.config.keys import KEYS, Key

_TEXT = {"type": "string", "minLength": 1}
_TEXTS = {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]}
_NAMES = TARGET.pattern.replace(r"\Z", "$")


def schema() -> dict[str, Any]:
    """Return the schema, of draft 2020-12. In ``pyproject.toml`` it is that of the table ``tool.pybuild``."""
    keys = {one.name: _described(one) for one in KEYS}
    target = {
        "description": {**_TEXT, "description": "what the target is for, as lists of targets show it"},
        "inherits": {**_TEXTS, "description": "targets whose values hold where this one says nothing"},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "pybuild.toml",
        "description": "Settings of pybuild: docs/configuration.md",
        **_table(
            {
                "build": {"description": "what holds for every build", **_table(keys)},
                "target": {
                    "description": "named builds",
                    **_named(_table({**target, **keys}), f"^{_NAMES}"),
                },
                "group": {"description": "names for several targets or groups", **_named(_TEXTS, f"^{_NAMES}")},
                "registry": {"description": "registries by host; not in a project's file", **_named(_registry())},
                "registries": {
                    "description": "not in a project's file",
                    **_table({"map": {"type": "object", "additionalProperties": _TEXTS}}),
                },
                "store": {
                    "description": "not in a project's file",
                    **_table(dict.fromkeys(("root", "read-only", "max-size"), _TEXT)),
                },
            }
        ),
    }


def _table(fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": fields}


def _named(value: dict[str, Any], names: str = "") -> dict[str, Any]:
    if not names:
        return {"type": "object", "additionalProperties": value}
    return {"type": "object", "additionalProperties": False, "patternProperties": {names: value}}


def _registry() -> dict[str, Any]:
    return _table(
        {
            "mirrors": _TEXTS,
            "insecure": {"type": "boolean"},
            "ca": _TEXTS,
            "client-cert": _TEXT,
            "client-key": _TEXT,
        }
    )


def _described(key: Key) -> dict[str, Any]:
    where = {"no": "; not in a project's file", "inside": "; in a project's file only inside of it", "yes": ""}
    alone = "" if not key.option.startswith("-") else f" ({key.option})"
    return {"description": f"{key.about}{alone}{where[key.project]}", **_type(key)}


def _type(key: Key) -> dict[str, Any]:
    values = {"type": "object", "additionalProperties": {"type": "string"}}
    attributes = {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": {"type": ["string", "boolean", "integer"]},
    }
    one = {"anyOf": [_TEXT, attributes]}
    match key.kind:
        case "flag":
            return {"type": "boolean"}
        case "number":
            return {"anyOf": [_TEXT, {"type": "number"}]}
        case "texts":
            return _TEXTS
        case "pairs":
            return {"anyOf": [values, *_TEXTS["anyOf"]]}
        case "attributes":
            return {"anyOf": [*one["anyOf"], {"type": "array", "items": one}]}
        case _:
            return {"enum": list(key.choices)} if key.choices else dict(_TEXT)
