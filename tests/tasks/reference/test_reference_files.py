"""What is written of params.yaml and of the commands: of this code, and true."""

import copy
from pathlib import Path

import jsonschema
import pytest
from typer.main import get_command

from command.line import make_app
from diffusevae.core.yaml_file import read_yaml
from tasks.reference import commands_page, params_page
from tasks.reference.json_schema import describe_params
from tasks.reference.reference_files import FOLDER, make_files
from tests.support.checkouts import ROOT

PARAMS = ROOT / "params.yaml"
VALIDATOR = jsonschema.Draft7Validator(describe_params())
SMOKE = ("experiments", "smoke")


def test_what_is_committed_is_of_this_code():
    made = make_files(get_command(make_app()))
    stale = {path for path, text in made.items() if (ROOT / path).read_text() != text}
    assert stale == set()  # `diffusevae reference` writes them anew


def test_editors_find_the_schema_by_the_first_line_of_params_yaml():
    first = PARAMS.read_text().partition("\n")[0]
    place = Path(first.removeprefix("# yaml-language-server: $schema="))
    assert place == FOLDER / "params.schema.json" and (ROOT / place).is_file()


def test_the_schema_is_one_and_takes_params_yaml():
    jsonschema.Draft7Validator.check_schema(VALIDATOR.schema)
    assert [error.message for error in VALIDATOR.iter_errors(read_yaml(PARAMS))] == []


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ((*SMOKE, "vae", "kind"), "vqvae", "is not one of"),
        ((*SMOKE, "vae", "dropout"), 1.5, "greater than the maximum"),
        ((*SMOKE, "vae", "latent_channels"), "8", "is not of type 'integer'"),
        ((*SMOKE, "vae", "latent_channels"), True, "is not of type 'integer'"),
        ((*SMOKE, "vae", "channel_multipliers"), 2, "is not of type 'array'"),
        ((*SMOKE, "vae", "latent_chanels"), 8, "'latent_chanels' was unexpected"),
        ((*SMOKE, "unet", "fuse"), ["inn"], "is not one of"),
        ((*SMOKE, "frontiers"), {}, "'frontiers' was unexpected"),
        (("datasets", "mnist_tiny", "images", "train_images"), 0, "is not valid under any"),
        (("datasets", "my data"), {}, "does not match"),
        (("gate", "seed"), None, "is not of type 'integer'"),
        (("tables",), {}, "'tables' was unexpected"),
    ],
)
def test_the_schema_refuses_what_a_run_refuses(place, value, said):
    content = copy.deepcopy(read_yaml(PARAMS))
    *above, last = place
    entry = content
    for key in above:
        entry = entry[key]
    entry[last] = value
    assert any(said in error.message for error in VALIDATOR.iter_errors(content))


def test_a_missing_key_is_named_and_a_default_may_be_left_out():
    content = copy.deepcopy(read_yaml(PARAMS))
    content["experiments"]["smoke"]["vae"].pop("kind", None)
    assert VALIDATOR.is_valid(content)
    del content["experiments"]["smoke"]["vae"]["dropout"]
    told = {error.message for error in VALIDATOR.iter_errors(content)}
    assert told == {"'dropout' is a required property"}  # of all that take over this section


def test_the_page_tells_ranges_choices_defaults_and_remarks():
    page = params_page.write_page(VALIDATOR.schema)
    assert "| `dropout` | number, 0 to 1 |" in page
    assert "| `kind` | `gaussian`, `vq`, `rae` | `gaussian` |" in page
    assert "| `train_images` | whole number, 1 to 10,000,000 or null |" in page
    assert "| `seed` | whole number, 0 to 10,000,000; of the division |" in page


def test_the_page_of_commands_says_what_each_argument_and_option_is():
    page = commands_page.write_page(get_command(make_app()))
    assert "| [`data check`](#diffusevae-data-check) | Say what of a folder is used" in page
    assert "\n### diffusevae data check\n" in page
    assert (
        "| `--port <int range>` | Of this machine; nobody else reaches it. | default: 5001;" in page
    )
    assert "\n```sh\ndiffusevae run\ndiffusevae run smoke\n```\n" in page
    assert "` |  |" not in page
