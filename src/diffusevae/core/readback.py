"""Files that stages and tasks wrote, read again: what is damaged is one line that names the file.

Every `mend` says what makes the file again, e.g. "make it again with the stage evaluate".
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, overload

import numpy as np
import pandas as pd

from diffusevae.core.errors import InputError
from diffusevae.core.params import Built, Schema, build

PNG_START = b"\x89PNG\r\n\x1a\n"
PNG_HEADER = 24  # bytes up to the height
MOST_SHOWN = 200  # characters of what a parser says
# Of the numbers in tables and metrics, either way: stages compute in float32, which holds no larger
# ones.
LARGEST = 1e38
EXPECTED: dict[Schema, str] = {
    int: "whole numbers",
    float: f"numbers within {LARGEST:g}",
    str: "text",
    bool: "true or false",
}


def read_again(path: Path, mend: str) -> str:
    """Return the text of a file. Raises InputError where it is missing or no text."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise damaged(path, error, mend) from error


def read_json(path: Path, mend: str) -> Any:
    """Return what a JSON file holds. Raises InputError where it is missing or no JSON."""
    return parse_json(read_again(path, mend), str(path), mend)


def parse_json(text: str, place: str, mend: str) -> Any:
    """Return what a text from `place` holds as JSON. Raises InputError."""
    try:
        content = json.loads(text)
        json.dumps(content, ensure_ascii=False).encode()  # half a surrogate pair cannot be written
        return content
    except (ValueError, RecursionError) as error:
        raise damaged(place, error, mend) from error


@overload
def read_as(schema: type[Built], path: Path, mend: str) -> Built: ...


@overload
def read_as(schema: Schema, path: Path, mend: str) -> Any: ...


def read_as(schema: Schema, path: Path, mend: str) -> Any:
    """Return a JSON file as `schema` (see `params.build`). Raises InputError."""
    return build_again(schema, read_json(path, mend), str(path), mend)


def build_again(schema: Schema, value: object, place: str, mend: str) -> Any:
    """Return a value read from `place` as `schema`. Raises InputError."""
    try:
        return build(schema, value, place)
    except InputError as error:
        raise InputError(f"{error}; {mend}") from error


def read_mapping(path: Path, schema: Schema, mend: str) -> dict:
    """Return a JSON file's mapping, each value as `schema`. Raises InputError."""
    content = read_as(dict, path, mend)
    return {
        name: build_again(schema, value, f"{path} {name[:40]}", mend)
        for name, value in content.items()
    }


def read_table(
    path: Path, columns: Mapping[str, Schema], mend: str, least: int = 0
) -> pd.DataFrame:
    """Return a CSV table of `least` rows or more, in which no number is beyond LARGEST.

    `columns` are those that are needed: int (whole numbers), float, float | None (may be absent),
    str (text), bool. Raises InputError where the file is missing, no such table, or has fewer rows.
    """
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError, OverflowError) as error:
        raise damaged(path, error, mend) from error
    if missing := [name for name in columns if name not in table]:
        raise InputError(f"{path}: has no column {', '.join(missing)}; {mend}")
    if len(table) < least:
        raise InputError(f"{path}: has {len(table)} rows of at least {least}; {mend}")
    for name in table:
        kind = columns.get(name)
        if len(table) and not _holds(table[name], kind):
            raise InputError(
                f"{path}: column {str(name)[:40]} must hold "
                f"{EXPECTED.get(kind, f'no number beyond {LARGEST:g}')}; {mend}"
            )
    return table


def read_png(path: Path, mend: str) -> bytes:
    """Return the bytes of a PNG file. Raises InputError where it is missing or none."""
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        raise damaged(path, error, mend) from error
    if not content.startswith(PNG_START) or len(content) < PNG_HEADER:
        raise InputError(f"{path}: is no PNG picture; {mend}")
    return content


def damaged(place: Path | str, error: Exception, mend: str) -> InputError:
    """Return the one line about a file that a parser refused."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    reason = " ".join(reason.split())[:MOST_SHOWN] or type(error).__name__
    return InputError(f"{place}: cannot be read ({reason}); {mend}")


def _holds(column: pd.Series, kind: Schema | None) -> bool:
    """Return whether a column is of a kind that `read_table` knows; None is any kind."""
    if kind is str:  # a column of digits is read as numbers
        return bool(column.map(lambda value: isinstance(value, str)).all())
    if kind is bool:
        return column.dtype.kind == "b"
    if column.dtype.kind not in "iuf":  # all absent is a column of floats
        return kind is None
    large = bool((column.abs() > LARGEST).any())
    if kind is None or kind == float | None:
        return not large
    whole = kind is float or bool(np.equal(np.mod(column, 1), 0).all())
    return whole and not large and bool(column.notna().all())
