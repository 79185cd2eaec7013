"""The files that are written about params.yaml and the command line, and where they lie."""

import json
from pathlib import Path

from typer.core import TyperGroup

from diffusevae.core.disk import write_file
from tasks.reference import commands_page, params_page
from tasks.reference.json_schema import describe_params

FOLDER = Path("docs/reference")


def make_files(app: TyperGroup) -> dict[Path, str]:
    """Return the texts of the JSON schema and of both pages, by path in the checkout.

    `app`: the command `diffusevae`, which only what is above knows.
    """
    schema = describe_params()
    return {
        FOLDER / "params.schema.json": json.dumps(schema, indent=1, ensure_ascii=False) + "\n",
        FOLDER / "params.md": params_page.write_page(schema),
        FOLDER / "commands.md": commands_page.write_page(app),
    }


def write_files(app: TyperGroup) -> None:
    """Write them anew, and say so."""
    for path, text in make_files(app).items():
        write_file(path, text.encode())
        print(path)
