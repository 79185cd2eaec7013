"""YAML 1.2 files, read as DVC reads them; what is wrong with one is said with its line."""

import copy
import functools
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import Node
from ruamel.yaml.scanner import Scanner, ScannerError

from diffusevae.core.errors import InputError
from diffusevae.core.wording import MAX_SHOWN, describe_value

MAX_BYTES = 1_000_000
MAX_DEPTH = 100  # of brackets: ruamel's time grows with the square of it
MAX_BITS = 1024  # of a whole number: beyond, none is a float, and Python refuses to print some


class _Constructor(SafeConstructor):
    """ruamel's, whose every failure names its line: a `!!bool z` is a KeyError there."""

    def construct_non_recursive_object(self, node: Node, tag: str | None = None) -> object:
        """Return what a node stands for. Raises ConstructorError."""
        try:
            value = super().construct_non_recursive_object(node, tag)
        except (YAMLError, RecursionError):
            raise
        except Exception as error:
            reason = f"{str(node.value)[:MAX_SHOWN]!r} is no value of {str(node.tag)[:MAX_SHOWN]}"
            raise ConstructorError(None, None, reason, node.start_mark) from error
        if type(value) is int and value.bit_length() > MAX_BITS:
            reason = f"a whole number of more than {MAX_BITS} bits"
            raise ConstructorError(None, None, reason, node.start_mark)
        return value


class _Scanner(Scanner):
    """ruamel's, which gives up where brackets are too deep."""

    def fetch_flow_collection_start(self, TokenClass: type, to_push: str) -> None:
        """Take a bracket that opens. Raises ScannerError."""
        if len(self.flow_context) >= MAX_DEPTH:
            reason = f"more than {MAX_DEPTH} brackets within each other"
            raise ScannerError(None, None, reason, self.reader.get_mark())
        super().fetch_flow_collection_start(TokenClass, to_push)


@functools.lru_cache(maxsize=4)
def _parse(text: bytes) -> object:
    """Return what YAML 1.2 says, once for all who ask in a process: it takes a third of a second.

    Raises YAMLError, ValueError or RecursionError.
    """
    yaml = YAML(typ="safe", pure=True)
    yaml.Scanner, yaml.Constructor = _Scanner, _Constructor
    return yaml.load(text.decode("utf-8"))


def read_yaml(path: Path) -> dict:
    """Return the mapping in a YAML 1.2 file. Raises InputError naming the file and the line."""
    try:
        with open(path, "rb") as file:
            text = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); create the file or run "
            "from the repository's root"
        ) from error
    if len(text) > MAX_BYTES:
        raise InputError(f"{path}: too long; at most {MAX_BYTES} bytes are read")
    try:
        content = copy.deepcopy(_parse(text))
    except MarkedYAMLError as error:
        line = f" line {error.problem_mark.line + 1}" if error.problem_mark else ""
        problem = " ".join(str(error.problem).split())
        raise InputError(f"{path}{line}: {problem}; mend the YAML there") from error
    except (YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: no readable YAML ({reason}); mend the file") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a mapping at the top, found {describe_value(content)}")
    return content
