"""The words of a chapter: templates beside the modules whose numbers fill them.

Filled by jinja2, a template is YAML with the fields of a Chapter. Text after `>-` may be broken at
any word. In a headline, `<<: {{ row | interval("mse") }}` stands for value, low and high.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from ruamel.yaml import YAML

from diffusevae.core.params import build
from diffusevae.core.template import load_template
from diffusevae.latents.measures.evidence import describe
from diffusevae.latents.page.chapter import Chapter

SUFFIX = ".yaml.jinja"


def _format(value: object, spec: str) -> str:
    return format(value, spec)


def _interval(row: Mapping[str, float], name: str) -> str:
    """Return what `spread` found as the YAML mapping of a headline's value, low and high."""
    ends = {"value": name, "low": f"{name}_low", "high": f"{name}_high"}
    return json.dumps({key: float(row[column]) for key, column in ends.items()})


_FILTERS: dict[str, Callable[..., object]] = {
    "as": _format,
    "describe": describe,
    "interval": _interval,
}


def fill_chapter(template: Path, **facts: object) -> Chapter:
    """Return the chapter that a template and these facts make. What has no entries may be left out.

    Raises UndefinedError for a fact that is missing (TypeError where it is to be formatted), and
    InputError for a field that is none.
    """
    source = load_template(template, escape=False, filters=_FILTERS)
    content = YAML(typ="safe", pure=True).load(source.render(facts))
    lists = ("summary", "headlines", "claims", "pictures", "tables")
    return build(Chapter, dict.fromkeys(lists, ()) | content, str(template))
