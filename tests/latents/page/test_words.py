"""Templates of chapters: what they become, and that nothing is missing from them."""

from pathlib import Path

import pytest
from jinja2 import UndefinedError

from diffusevae.core.errors import InputError
from diffusevae.latents.page.words import SUFFIX, fill_chapter

ROW = {"mse": 1e-05, "mse_low": 0.1 + 0.2, "mse_high": 12345678.125}
TEMPLATE = """
title: Errors
summary:
  - >-
    The error is
    {{ row | describe("mse", 1) }}: {{ share | as(".0%") }}
    of all.
headlines:
  - name: An image's error
    <<: {{ row | interval("mse") }}
    of: one training
"""


def write(folder: Path, text: str) -> Path:
    path = folder / f"errors{SUFFIX}"
    path.write_text(text)
    return path


def test_text_is_joined_by_single_blanks_and_numbers_are_kept_to_the_last_digit(tmp_path):
    chapter = fill_chapter(write(tmp_path, TEMPLATE), row=ROW, share=0.5)
    assert chapter.summary == ("The error is 0.0 [0.3, 12345678.1]: 50% of all.",)
    [headline] = chapter.headlines
    assert (headline.value, headline.low, headline.high) == tuple(ROW.values())
    assert chapter.claims == chapter.pictures == chapter.tables == ()


def test_a_fact_that_is_missing_or_a_field_that_is_none_is_an_error(tmp_path):
    with pytest.raises(UndefinedError, match="row"):
        fill_chapter(write(tmp_path, TEMPLATE), share=0.5)
    with pytest.raises(TypeError, match="Undefined"):
        fill_chapter(write(tmp_path, TEMPLATE), row=ROW)
    with pytest.raises(InputError, match="did you mean 'summary'"):
        fill_chapter(write(tmp_path, TEMPLATE.replace("summary", "sumary")), row=ROW, share=0.5)
