"""What the subcommands share: how they end, their arguments, the names that a shell completes."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Annotated

import typer

from diffusevae.core.command import run_command

PARAMS_FILE = Path("params.yaml")
NAMES = re.compile(r"^  (\w+):", re.MULTILINE)


def on_terminal(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command end as flows do: with an exit code, and one line where it failed."""

    @wraps(command)
    def run(*arguments: object, **options: object) -> None:
        def act() -> None:
            import flows  # noqa: F401  (sets what Prefect does by default, before it is imported)
            from tasks.terminal import run_on_terminal

            raise typer.Exit(run_on_terminal(lambda: command(*arguments, **options)))

        raise typer.Exit(run_command(act))  # which hears Ctrl-C while the rest is imported

    return run


def plainly(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command end so too, where no Prefect is at work."""

    @wraps(command)
    def run(*arguments: object, **options: object) -> None:
        raise typer.Exit(run_command(lambda: command(*arguments, **options)))

    return run


def show_examples(*lines: str) -> str:
    """Return the end of a command's help."""
    return "\n\n".join(("[bold]Examples[/bold]", *(f"[cyan]{line}[/cyan]" for line in lines)))


def add_commands(
    app: typer.Typer, panel: str, examples: Mapping[Callable[..., None], Sequence[str]]
) -> None:
    """Add commands, each with lines that show it, to a panel of --help."""
    for command, lines in examples.items():
        app.command(rich_help_panel=panel, epilog=show_examples(*lines))(command)


def list_names(root: str) -> list[str]:
    """Return the names of params.yaml's entries under a root; none where there is no such file.

    Its lines alone are looked at, not its YAML: a shell that completes waits for this.
    """
    if not PARAMS_FILE.is_file():
        return []
    text = PARAMS_FILE.read_text(encoding="utf-8", errors="replace")
    found = re.search(rf"^{root}:\s*\n((?:[ \t#].*\n|\n)*)", f"{text}\n", re.MULTILINE)
    return NAMES.findall(found[1]) if found else []


def complete_experiments(incomplete: str) -> list[str]:
    """Return the experiments whose names begin so."""
    return _begin_with(incomplete, list_names("experiments"))


def complete_studies(incomplete: str) -> list[str]:
    """Return the latent studies whose names begin so."""
    return _begin_with(incomplete, list_names("latent_studies"))


def complete_all(incomplete: str) -> list[str]:
    """Return the experiments and latent studies whose names begin so."""
    return _begin_with(incomplete, list_names("experiments") + list_names("latent_studies"))


def _begin_with(start: str, names: list[str]) -> list[str]:
    return [name for name in names if name.startswith(start)]


Experiment = Annotated[
    str, typer.Argument(help="An experiment of params.yaml.", autocompletion=complete_experiments)
]
Study = Annotated[
    str, typer.Argument(help="A latent study of params.yaml.", autocompletion=complete_studies)
]
Port = Annotated[
    int, typer.Option(help="Of this machine; nobody else reaches it.", min=1024, max=65535)
]
