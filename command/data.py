"""Subcommands about data of one's own."""

from pathlib import Path
from typing import Annotated

import typer

from command.parts import add_commands, plainly, show_examples

PANEL = "Data"
HELP = "Look at images of your own, before anything is trained."


def add_to(app: typer.Typer) -> None:
    """Add the subcommands of this module, as a group."""
    group = typer.Typer(help=HELP, rich_markup_mode="rich")
    add_commands(group, "Commands", EXAMPLES)
    app.add_typer(group, name="data", rich_help_panel=PANEL, epilog=show_examples(*SHOWN))


@plainly
def check(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Of images, or of a .npz file.")],
    out: Annotated[Path | None, typer.Option(help="The PNG; else in scratch/data_check.")] = None,
) -> None:
    """Say what of a folder is used, skipped and refused, and draw what a network will see.

    Images in sub-folders (classes), with metadata.csv, or as arrays; nothing is changed.
    """
    from tasks import data_check

    start = Path() if context.obj == Path.cwd() else context.obj
    data_check.check(start / folder, out and start / out)


SHOWN = ("diffusevae data check data/raw/pets",)
EXAMPLES = {check: (*SHOWN, "diffusevae data check ~/photos --out sheet.png")}
