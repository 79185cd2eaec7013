"""What is right and what to mend, as lines."""

from rich.console import Console
from rich.markup import escape

from diffusevae.core.errors import EnvironmentFailure
from tasks.health import examine

COLOURS = {"ok": "green", "warn": "yellow", "wrong": "red"}


def show() -> None:
    """Print a line for each finding. Raises EnvironmentFailure where something is wrong."""
    console = Console(highlight=False)
    wrong = []
    for found in examine():
        colour = COLOURS[found.level]
        console.print(
            f"[{colour}]{found.level:<6}[/{colour}] {found.what:<9} {escape(found.line)}",
            soft_wrap=True,
        )
        if found.level == "wrong":
            wrong.append(found.what)
    if wrong:
        raise EnvironmentFailure(f"{', '.join(wrong)}: to be mended, as the lines above say")
