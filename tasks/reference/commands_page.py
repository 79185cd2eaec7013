"""docs/reference/commands.md: every subcommand as its --help has it."""

import re
from collections.abc import Iterator
from itertools import groupby

import typer
from typer.core import TyperCommand, TyperGroup

from tasks.reference.markdown import escape

INTRODUCTION = """\
# The command `diffusevae`

Written by `diffusevae reference` from the command line itself; a test compares. On a terminal,
`diffusevae --help` and `diffusevae COMMAND --help` say the same;
`diffusevae --install-completion` lets the shell complete commands and experiments. Which command
does what you want, and the exit codes: [commands.md](../commands.md).
"""
EXAMPLE = re.compile(r"\[cyan\](.*?)\[/cyan\]")
VALUE = re.compile(r" *\[([^\[\]]*)\]$")  # what a text of --help ends with


def write_page(app: TyperGroup) -> str:
    """Return the page of a command and its subcommands, by panel as --help shows them."""
    parts = [INTRODUCTION]
    for panel, commands in groupby(_list_commands(app), lambda found: found[1]):
        found = [(name, command) for name, _, command in commands]
        parts.append(f"## {panel}\n")
        parts.append("\n".join(_write_summary(found)))
        parts += ["\n".join(_write_command(name, command)) for name, command in found]
    return "\n".join(parts)


def list_examples(command: TyperCommand | TyperGroup) -> list[str]:
    """Return the lines that the help of a command ends with."""
    return EXAMPLE.findall(command.epilog or "")


def _list_commands(app: TyperGroup) -> Iterator[tuple[str, str, TyperCommand]]:
    """Give name, panel and command; of a group its commands."""
    for name, command in app.commands.items():
        if isinstance(command, TyperGroup):
            for inner, _, below in _list_commands(command):
                yield f"{name} {inner}", command.rich_help_panel or "", below
        elif isinstance(command, TyperCommand):
            yield name, command.rich_help_panel or "", command


def _write_summary(commands: list[tuple[str, TyperCommand]]) -> Iterator[str]:
    yield "| command | what it does |"
    yield "|---|---|"
    for name, command in commands:
        first = escape(command.help or "").partition("\n\n")[0]
        yield f"| [`{name}`](#diffusevae-{name.replace(' ', '-')}) | {first} |"
    yield ""


def _write_command(name: str, command: TyperCommand) -> Iterator[str]:
    yield f"### diffusevae {name}\n"
    yield f"{escape(command.help or '')}\n"
    rows = list(_write_parameters(typer.Context(command, info_name=name)))
    if rows:
        yield from ("| argument or option | what | value |", "|---|---|---|", *rows, "")
    yield from ("```sh", *list_examples(command), "```", "")


def _write_parameters(context: typer.Context) -> Iterator[str]:
    for parameter in context.command.params:
        name, told = parameter.get_help_record(context) or ("", "")
        value = VALUE.search(told)
        what = VALUE.sub("", told)
        yield f"| `{name}` | {escape(what)} | {escape(value[1]) if value else ''} |"
