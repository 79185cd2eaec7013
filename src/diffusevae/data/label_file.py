"""Classes of images: by the folders they lie in, or by a table of labels that lies with them.

metadata.csv, labels.csv and the like, as .jsonl or .parquet too, have the columns file_name and
label, as an imagefolder of Hugging Face's datasets. Folders train, validation and test are splits.
"""

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from diffusevae.core.errors import InputError

FILE_NAME, LABEL = "file_name", "label"
STEMS, KINDS = ("metadata", "labels"), (".csv", ".jsonl", ".parquet")
PARTS = {"train": "train", "validation": "validation", "valid": "validation", "val": "validation",
         "test": "test"}  # fmt: skip
SHOWN = 5  # faults that a line names
LONGEST = 255  # characters of a class, or of a file's name in a line
EVERYTHING = "all"  # the class where nothing tells classes apart


@dataclass(frozen=True)
class Labelling:
    """The class of each image, an index into `classes`, and its split, where folders say it.

    said: how this was found, a line each.
    """

    classes: tuple[str, ...]
    labels: tuple[int, ...]
    parts: tuple[str, ...] | None
    said: tuple[str, ...]


def is_label_file(path: Path) -> bool:
    """Return whether a file has the name of a table of labels."""
    return path.stem in STEMS and path.suffix in KINDS


def printable(text: str) -> str:
    """Return a text as it can be printed in a line, whatever characters it has."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def refuse(folder: Path, faults: Sequence[str], what: str) -> None:
    """Raise InputError if there are faults; the first ones are named."""
    if faults:
        more = f" and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        raise InputError(
            f"{folder}: {len(faults)}{what}: {', '.join(faults[:SHOWN])}{more}; mend or remove them"
        )


def label_images(folder: Path, names: Sequence[str], tables: Sequence[Path]) -> Labelling:
    """Return the classes and splits of images, whose paths in the folder are `names`.

    tables: files of labels in the folder, or in that of a split, to which their names are relative.
    Without one the sub-folders (of each split) are the classes, by name. Raises InputError where
    images lie both in sub-folders and beside them, and where tables and images do not match.
    """
    places = [PurePosixPath(name).parts for name in names]
    tops = {place[0] if len(place) > 1 else "" for place in places}
    split = "train" in tops and len(tops) > 1 and tops <= PARTS.keys()
    parts = tuple(PARTS[place[0]] for place in places) if split else None
    said = [f"folders {', '.join(sorted(tops))} are taken as splits"] if split else []
    if tables:
        given = _read_tables(folder, names, tables)
        classes = sorted(set(given), key=_order_of(given))
        said.append(f"labels are those of {_list_names(folder, tables)}")
    else:
        given = _name_classes(folder, names, [place[split:] for place in places])
        classes = sorted(set(given))
    numbers = {name: number for number, name in enumerate(classes)}
    labels = tuple(numbers[each] for each in given)
    return Labelling(tuple(map(printable, classes)), labels, parts, tuple(said))


def _name_classes(
    folder: Path, names: Sequence[str], places: Sequence[tuple[str, ...]]
) -> list[str]:
    """Return the sub-folder in which each image lies, of those in the folder of its split."""
    beside = [printable(name) for name, place in zip(names, places, strict=True) if len(place) == 1]
    if beside and len(beside) < len(names):
        raise InputError(
            f"{folder}: images lie both in sub-folders and beside them "
            f"({min(beside)}); move them all into sub-folders (one "
            "for each class), or none"
        )
    return [EVERYTHING if beside else place[0] for place in places]


def _order_of(labels: Sequence[str]) -> Callable[[str], Any]:
    """Return by what classes are sorted: as numbers, where all are."""
    numbers = all(each.isascii() and each.removeprefix("-").isdigit() for each in labels)
    return int if numbers else str


def _read_tables(folder: Path, names: Sequence[str], tables: Sequence[Path]) -> list[str]:
    """Return the label of each image. Raises InputError where one has none, or two."""
    found: dict[str, str] = {}
    twice = []
    for path in tables:
        parent = path.parent.relative_to(folder)
        for name, label in read_label_file(path):
            place = str(parent / PurePosixPath(name))
            if place in found:
                twice.append(_shorten(place))
            found[place] = label
    refuse(folder, twice, f" images have two rows in {_list_names(folder, tables)}")
    known = set(names)
    lost = [_shorten(place) for place in found if place not in known]
    refuse(folder, lost, f" rows of {_list_names(folder, tables)} name no image that is there")
    unnamed = [_shorten(name) for name in names if name not in found]
    refuse(folder, unnamed, f" of {len(names)} images have no row in {_list_names(folder, tables)}")
    return [found[name] for name in names]


def _shorten(name: str) -> str:
    return printable(name)[:LONGEST]


def _list_names(folder: Path, tables: Sequence[Path]) -> str:
    return ", ".join(path.relative_to(folder).as_posix() for path in tables)


def read_label_file(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (file_name, label) of each row, both as text. Raises InputError, naming the row."""
    for number, row in enumerate(READERS[path.suffix](path), 1):
        values = []
        for column in (FILE_NAME, LABEL):
            if not isinstance(row, Mapping) or column not in row:
                has = ", ".join(map(str, row)) if isinstance(row, Mapping) else "none"
                raise InputError(
                    f"{path}: row {number} has no column {column} (it has {has[:80]}); give every "
                    f"row {FILE_NAME} and {LABEL}, or rename the file"
                )
            value = row[column]
            whole = isinstance(value, int) and not isinstance(value, bool)
            shown = "" if value is None else str(value)[:40]
            if not (whole or isinstance(value, str) and value.strip()):
                raise InputError(
                    f"{path}: row {number}: {column} {shown!r} is neither text nor a whole number; "
                    "mend it"
                )
            values.append(str(value))
        if len(values[1]) > LONGEST:
            raise InputError(
                f"{path}: row {number}: {LABEL} {values[1][:40]!r}... has {len(values[1])} "
                f"characters; use at most {LONGEST}"
            )
        yield values[0], values[1]


def _read_csv(path: Path) -> Iterator[Mapping]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            _require_columns(path, reader.fieldnames or ())
            yield from reader
    except (OSError, ValueError, csv.Error) as error:
        raise _unreadable(path, error) from error


def _read_jsonl(path: Path) -> Iterator[Mapping]:
    try:
        with open(path, encoding="utf-8") as file:
            yield from (json.loads(line) for line in file if line.strip())
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(path, error) from error


def _read_parquet(path: Path) -> Iterator[Mapping]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            _require_columns(path, file.schema_arrow.names)
            yield from file.read([FILE_NAME, LABEL]).to_pylist()
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise _unreadable(path, error) from error


def _require_columns(path: Path, names: Sequence[str]) -> None:
    for each in (FILE_NAME, LABEL):
        if each not in names:
            raise InputError(
                f"{path}: has no column {each} (it has {', '.join(names)[:80] or 'none'}); add it, "
                "or rename the file"
            )


def _unreadable(path: Path, error: Exception) -> InputError:
    reason = " ".join(str(error).split())[:80]
    return InputError(f"{path}: is no {path.suffix} file ({reason}); mend or rename it")


READERS = {".csv": _read_csv, ".jsonl": _read_jsonl, ".parquet": _read_parquet}
