"""The command `diffusevae`: all subcommands, and how a mistake in a command line ends.

Nothing that works is imported here: --help and completion answer at once.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import typer
from typer.exceptions import TyperException
from typer.main import get_command

from command import data, models, pages, runs, stages, upkeep
from diffusevae.core.errors import CONTROLS, Failure

NAME = "diffusevae"
HELP = """A VAE is trained and frozen, and a diffusion model refines what it reconstructs.

`diffusevae run` gets the data, runs everything and says where the report is. Each command says
more with --help.
"""


def make_app() -> typer.Typer:
    """Return all subcommands, in the order in which --help shows them."""
    app = typer.Typer(name=NAME, help=HELP, rich_markup_mode="rich", pretty_exceptions_enable=False)
    for module in (runs, models, data, stages, pages, upkeep):
        module.add_to(app)
    return app


def main(arguments: Sequence[str], start: Path) -> int:
    """Do what a command line says; return the exit code. `start`: the folder it was typed in.

    0 done, 2 bad input, 3 environment; any but 0 after one line. Raises Failure.
    """
    command = get_command(make_app())
    try:
        code = command.main(
            list(arguments) or ["--help"], prog_name=NAME, standalone_mode=False, obj=start
        )
    except TyperException as error:
        if isinstance(error, Failure):
            raise
        told = " ".join(error.format_message().split()).rstrip(".")
        told = CONTROLS.sub(lambda found: repr(found[0])[1:-1], told)
        place = getattr(getattr(error, "ctx", None), "command_path", NAME)
        print(f"error: {told}; `{place} --help` shows what there is", file=sys.stderr)
        return error.exit_code
    return code or 0
