"""The files that are written about params.yaml, and where they lie."""

import json
from pathlib import Path

from diffusevae.core.disk import write_file
from tasks.reference.json_schema import describe_params
from tasks.reference.params_page import write_page

FOLDER = Path("docs/reference")


def make_files() -> dict[Path, str]:
    """Return the texts of the JSON schema and of the page, by path in the checkout."""
    schema = describe_params()
    return {
        FOLDER / "params.schema.json": json.dumps(schema, indent=1, ensure_ascii=False) + "\n",
        FOLDER / "params.md": write_page(schema),
    }


def write_files() -> None:
    """Write them anew, and say so."""
    for path, text in make_files().items():
        write_file(path, text.encode())
        print(path)
