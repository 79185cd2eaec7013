"""YAML means to us what it means to DVC, and a bad file is one line."""

import time

import pytest

from diffusevae.core.errors import InputError
from diffusevae.core.yaml_file import MAX_BYTES, read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1e4", 1e4),
        ("no", "no"),
        ("on", "on"),
        ("010", 10),
        ("0o10", 8),
        ("12:30:00", "12:30:00"),
        ("null", None),
        ("true", True),
    ],
)
@pytest.mark.fault("B2")
def test_scalars_mean_what_yaml_1_2_says(write, text, value):
    """DVC reads YAML 1.2; another loader would give other numbers to DVC than to the stages."""
    read = read_yaml(write(f"a: {text}\n"))["a"]
    assert read == value and type(read) is type(value)


def test_merge_keys_share_and_replace(write):
    text = "a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  y: 3\n"
    assert read_yaml(write(text))["b"] == {"x": 1, "y": 3}


@pytest.mark.parametrize("text", ["\ufeffa: 1\n", "a: 1\r\nb: 2\r\n"], ids=["BOM", "CRLF"])
@pytest.mark.fault("B4")
def test_marks_of_other_editors_do_no_harm(write, text):
    assert read_yaml(write(text))["a"] == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3"),
        ("a:\n\t- 1\n", "line 2"),
        ("a: [1, 2\nb: 3\n", "line 2"),
        ("a: *nowhere\n", "line 1"),
        ("", "expected a mapping at the top, found nothing"),
        ("- 1\n- 2\n", "expected a mapping at the top, found a list"),
        ("just text\n", "expected a mapping at the top"),
        ("a: 1\n---\nb: 2\n", "params.yaml"),
        ("a: \0\n", "params.yaml"),
        (b"a: \xff\xfe\n", "params.yaml"),
        ("a: !!python/object:os.system x\n", "params.yaml"),
        ("a: 1\nb: !!bool z\n", "line 2: 'z' is no value of tag:yaml.org,2002:bool"),
        ("a: 1\nb: !!int z\n", "line 2: 'z' is no value of"),
        ("a: 1\nb: !!float z\n", "line 2: 'z' is no value of"),
        ("a: 1\nb: !!timestamp z\n", "line 2"),
        ("a: 1\nb: !!binary ü\n", "line 2"),
        ("a: 1\nb: !!seq z\n", "line 2"),
        ("a: 1\nb: !!map z\n", "line 2"),
        ("a: 1\nb: !!omap z\n", "line 2"),
        ("a: 1\nb: !!set z\n", "line 2"),
        ("a: 1\n? [b]\n: 1\n? {c: 1}\n: 2\n", "params.yaml"),
        ("a: 1\nb: " + "9" * 5000, "line 2"),
        ("a: 1\nb: 0x" + "f" * 5000, "line 2: a whole number"),
        ("a: 1\nb: " + "9" * 4000, "line 2: a whole number of more than 1024 bits"),
        ("[" * 3000 + "]" * 3000, "line 1: more than 100 brackets within each other"),
        ("- " * 3000 + "x", "params.yaml"),
        ("a: " + "x" * MAX_BYTES, f"at most {MAX_BYTES} bytes are read"),
    ],
    ids=lambda value: repr(value[:20]),
)
@pytest.mark.fault("B4", "B5", "S10")
def test_a_file_that_is_no_params_file_is_one_line_that_names_it(write, text, said):
    start = time.monotonic()
    with pytest.raises(InputError) as caught:
        read_yaml(write(text))
    message = str(caught.value)
    assert said in message and "params.yaml" in message and "\n" not in message
    assert len(message) < 1000
    assert time.monotonic() - start < 30


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    for path, said in ((tmp_path / "none.yaml", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(InputError, match=said):
            read_yaml(path)
