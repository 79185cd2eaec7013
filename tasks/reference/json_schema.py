"""params.yaml as a JSON schema, made of the dataclasses that check it.

It knows types, ranges, choices and keys; how sections fit together is checked by a run alone.
"""

import dataclasses
import inspect
import re
import types
import typing
from typing import Any, Literal

from diffusevae.core.params import Range, Schema
from diffusevae.experiments.params_file import NAME, ROOTS, find_sections
from diffusevae.metrics.promotion import GateConfig

DIALECT = "http://json-schema.org/draft-07/schema#"  # the one that editors know
SCALARS = {int: "integer", float: "number", bool: "boolean", str: "string", dict: "object"}
REMARK = r"^    {name}: [^#\n]*#\s*(.+)$"

JSON = dict[str, Any]


def describe_params() -> JSON:
    """Return the JSON schema of params.yaml as a whole."""
    definitions: dict[str, JSON] = {}
    roots: dict[str, JSON] = {
        root: _describe_entries(root, definitions) for root in ROOTS if root != "gate"
    }
    roots["gate"] = _describe(GateConfig, definitions)
    return {
        "$schema": DIALECT,
        "title": "params.yaml",
        **_describe_mapping(roots, list(ROOTS)),
        "definitions": dict(sorted(definitions.items())),
    }


def list_remarks(schema: type) -> dict[str, str]:
    """Return the comment that stands behind a field of a dataclass, for those that have one."""
    source = inspect.getsource(schema)
    found = {
        field.name: re.search(REMARK.format(name=field.name), source, re.MULTILINE)
        for field in dataclasses.fields(schema)
    }
    return {name: match[1].strip() for name, match in found.items() if match is not None}


def _describe_entries(root: str, definitions: dict[str, JSON]) -> JSON:
    sections = {name: _describe(kind, definitions) for name, kind in find_sections(root).items()}
    return {
        "type": "object",
        "minProperties": 1,
        "propertyNames": {"pattern": f"^{NAME.pattern}$"},
        "additionalProperties": _describe_mapping(sections, list(sections)),
    }


def _describe_mapping(properties: dict[str, JSON], required: list[str]) -> JSON:
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _describe(schema: Schema, definitions: dict[str, JSON]) -> JSON:
    """Return a type as `diffusevae.core.params.build` takes it."""
    origin, arguments = typing.get_origin(schema), typing.get_args(schema)
    if origin is typing.Annotated:
        bounds: Range = arguments[1]
        inner = _describe(arguments[0], definitions)
        return inner | {"minimum": bounds.low, "maximum": bounds.high}
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [_describe(each, definitions) for each in arguments]}
    if origin is tuple:
        return {"type": "array", "items": _describe(arguments[0], definitions)}
    if schema is type(None):
        return {"type": "null"}
    if isinstance(schema, type) and dataclasses.is_dataclass(schema):
        if schema.__name__ not in definitions:
            definitions[schema.__name__] = {}  # before its fields, which may hold one of its own
            definitions[schema.__name__] = _describe_dataclass(schema, definitions)
        return {"$ref": f"#/definitions/{schema.__name__}"}
    return {"type": SCALARS[typing.cast(type, schema)]}


def _describe_dataclass(schema: type, definitions: dict[str, JSON]) -> JSON:
    hints, remarks = typing.get_type_hints(schema, include_extras=True), list_remarks(schema)
    properties, required = {}, []
    for field in dataclasses.fields(schema):
        described = _describe(hints[field.name], definitions)
        if field.name in remarks:
            described["description"] = remarks[field.name]
        default = find_default(field)
        if default is dataclasses.MISSING:
            required.append(field.name)
        elif not dataclasses.is_dataclass(default):
            described["default"] = list(default) if isinstance(default, tuple) else default
        properties[field.name] = described
    told = {"description": inspect.getdoc(schema)}
    return told | _describe_mapping(properties, required)


def find_default(field: dataclasses.Field) -> Any:
    """Return the value of a field that may be left out; dataclasses.MISSING where it may not."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default
