"""Text made of a template file."""

from collections.abc import Callable, Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

BASES = Path(__file__).parent  # base.html, which every page extends


def load_template(
    path: Path, escape: bool, filters: Mapping[str, Callable[..., object]] | None = None
) -> Template:
    """Return a template that may use those beside it; none of the values it names may be missing.

    With `escape` it is HTML, where values are text.
    """
    environment = Environment(
        loader=FileSystemLoader([path.parent, BASES]),
        autoescape=escape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= filters or {}
    return environment.get_template(path.name)


def render(template: Path, **values: object) -> str:
    """Return an HTML template filled with values: escaped, and none of them may be missing."""
    return load_template(template, escape=True).render(**values)
