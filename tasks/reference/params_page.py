"""docs/reference/params.md: every key of params.yaml with its type, range and default."""

from collections.abc import Iterator, Mapping
from typing import Any

from tasks.reference.json_schema import JSON
from tasks.reference.markdown import escape

REFERENCE = "#/definitions/"
INTRODUCTION = """\
# params.yaml, key by key

Written by `diffusevae reference` from the dataclasses that check the file; a test compares. The
same as a JSON schema, with which an editor completes keys and marks mistakes:
[params.schema.json](params.schema.json), which the first line of
[params.yaml](../../params.yaml) names (for Visual Studio Code with the YAML extension, and whatever
else speaks to yaml-language-server).

A key without a default must be there. How sections must fit together is checked before any work
starts: one line names the value and the mend. What an experiment is, and how to add one:
[experiments.md](../experiments.md).
"""
WORDS = {
    "datasets": "One entry for each data set, of these sections:",
    "experiments": "One entry for each experiment, of these sections:",
    "latent_studies": "One entry for each latent study, of these sections:",
}
NAMES = {
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "string": "text",
    "object": "mapping",
    "null": "null",
}


def write_page(schema: JSON) -> str:
    """Return the page of a schema made by `describe_params`."""
    parts = [INTRODUCTION]
    for root, described in schema["properties"].items():
        parts.append(f"## {root}\n")
        if root in WORDS:
            entry = described["additionalProperties"]["properties"]
            rows = [f"| `{name}` | {_name_kind(kind)} |" for name, kind in entry.items()]
            parts.append(
                "\n".join([f"{WORDS[root]}\n", "| section | keys |", "|---|---|", *rows, ""])
            )
        else:
            parts.append(f"When a new model becomes the champion: {_name_kind(described)}.\n")
    parts.append("## Sections and what they hold\n")
    for name, described in schema["definitions"].items():
        parts.append("\n".join(_write_section(name, described)))
    return "\n".join(parts)


def _write_section(name: str, described: JSON) -> Iterator[str]:
    yield f"### {name}\n"
    yield f"{escape(described['description'])}\n"
    yield "| key | what | default |"
    yield "|---|---|---|"
    for key, value in described["properties"].items():
        remark = f"; {escape(value['description'])}" if "description" in value else ""
        default = f"`{_show(value['default'])}`" if "default" in value else ""
        if key not in described["required"] and not default:
            default = "may be left out"
        yield f"| `{key}` | {_name_kind(value)}{remark} | {default} |"
    yield ""


def _name_kind(kind: Mapping[str, Any]) -> str:
    if "$ref" in kind:
        name = kind["$ref"].removeprefix(REFERENCE)
        return f"[{name}](#{name.lower()})"
    if "enum" in kind:
        return ", ".join(f"`{_show(each)}`" for each in kind["enum"])
    if "anyOf" in kind:
        return " or ".join(_name_kind(each) for each in kind["anyOf"])
    if kind["type"] == "array":
        return f"list; each: {_name_kind(kind['items'])}"
    bounds = f", {kind['minimum']:,} to {kind['maximum']:,}" if "minimum" in kind else ""
    return f"{NAMES[kind['type']]}{bounds}"


def _show(value: object) -> str:
    """Return a value as params.yaml has it."""
    named = {True: "true", False: "false", None: "null"}
    return named[value] if value is None or isinstance(value, bool) else str(value)
