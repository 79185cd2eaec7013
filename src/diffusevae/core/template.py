"""HTML made of a template file."""

from pathlib import Path

from jinja2 import Environment, StrictUndefined


def render(template: Path, **values: object) -> str:
    """Return a template filled with values: escaped, and none of them may be missing."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(template.read_text(encoding="utf-8")).render(**values)
