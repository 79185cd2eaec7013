"""The command line as a person types it: help, mistakes, completion; what it does is elsewhere."""

import os
import re
import resource
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from command import line
from command.parts import list_names
from diffusevae.__main__ import MARKS, find_checkout, require_own_code
from diffusevae.core.errors import EnvironmentFailure
from diffusevae.core.yaml_file import read_yaml
from diffusevae.stages.names import ON_DEMAND
from tasks.reference.commands_page import list_examples
from tests.support.checkouts import ROOT, mark_checkout

COMMANDS = get_command(line.make_app()).commands
START_SECONDS = 0.5  # of a core, until --help is there
# `diffusevae ...` as texts quote it, up to what ends the quote; NAME and EXPERIMENT stand for one.
QUOTED = re.compile(
    r"(?:^|[`$] ?|: )(?:\.venv/bin/)?(?:python -m )?diffusevae ((?:[a-z][\w-]*)(?: [^\n`|#\\)]*)?)",
    re.MULTILINE,
)
TEXTS = ("README.md", "CONTRIBUTING.md", "SECURITY.md", *(
    str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").rglob("*.md"))
))  # fmt: skip
OLD = re.compile(r"python3? -m (?:flows|tasks|apps|benchmarks)\b")


def run(*arguments: str, folder: Path = ROOT, **variables: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "diffusevae", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "100"} | variables,
        capture_output=True,
        text=True,
        timeout=120,
    )


def parse(words: list[str]) -> None:
    """Raise what a mistake in a command line raises; do nothing."""
    name, *rest = words
    assert name in COMMANDS, name
    COMMANDS[name].make_context(name, rest, obj=ROOT)


def test_help_names_every_command_and_takes_half_a_second_of_a_core():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = run("--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0 and all(f" {name} " in done.stdout for name in COMMANDS)
    taken = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert taken < 3 * START_SECONDS  # a busy machine's caches are cold
    assert run().stdout == done.stdout


def test_help_and_completion_import_nothing_that_works():
    heavy = ("torch", "prefect", "mlflow", "dvc", "numpy", "ruamel", "flows", "tasks", "apps")
    code = (
        "import sys; from command import line; from pathlib import Path; "
        "line.main(['run', '--help'], Path()); "
        f"sys.exit(', '.join(sys.modules.keys() & {set(heavy)!r}) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help_with_an_example_that_it_takes(name):
    command = COMMANDS[name]
    assert command.help and command.help.strip()
    examples = list_examples(command)
    assert examples
    for example in examples:
        words = shlex.split(example.partition("diffusevae ")[2])  # before it a variable
        assert words[0] == name
        parse(words)


@pytest.mark.parametrize("text", TEXTS)
def test_each_command_that_a_text_names_is_one(text):
    for quoted in QUOTED.findall((ROOT / text).read_text()):
        words = shlex.split(quoted.strip().removesuffix("..."))
        assert words[0] in COMMANDS, quoted
        if len(words) > 1:
            parse(words)


def test_no_text_names_the_forms_that_are_gone():
    told = {text: OLD.findall((ROOT / text).read_text()) for text in (*TEXTS, "Makefile")}
    assert {text: found for text, found in told.items() if found} == {}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rum"], "No such command 'rum'"),
        (["run", "--forse"], "No such option: --forse"),
        (["run", "a", "b"], "unexpected extra argument"),
        (["compare"], "Missing argument 'experiment'"),
        (["promote", "smoke"], "Missing option '--reason'"),
        (["mlflow", "--port", "80"], "Invalid value for '--port'"),
        (["mlflow", "--port", "high"], "Invalid value for '--port'"),
        (["worker"], "Missing argument 'pool'"),
        (["ru\nn"], "No such command"),
    ],
)
def test_a_mistake_in_the_line_is_one_line_and_2(arguments, said, capsys):
    assert line.main(arguments, Path()) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.startswith("error: ") and said in shown.err
    assert shown.err.count("\n") == 1 and "--help` shows" in shown.err and "│" not in shown.err


def test_a_mistyped_experiment_is_one_line_and_2(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    for command in ("plan", "ablate", "reproduce"):
        assert line.main([command, "smoky"], ROOT) == 2
        shown = capsys.readouterr().err
        assert shown.startswith("error: ") and shown.count("\n") == 1 and "'smoke'" in shown
    assert line.main(["reproduce", "diffusevae-smoke"], ROOT) == 2
    said = "error: diffusevae-smoke: is a model; name the version as well, such as "
    assert capsys.readouterr().err == f"{said}diffusevae-smoke/1\n"


def test_the_stages_on_demand_are_commands():
    assert set(ON_DEMAND) <= set(COMMANDS)


@pytest.mark.parametrize("root", ["experiments", "latent_studies"])
def test_the_names_that_a_shell_completes_are_those_of_params_yaml(root, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert list_names(root) == list(read_yaml(Path("params.yaml"))[root])
    monkeypatch.chdir("/")
    assert list_names(root) == []


def test_a_shell_completes_experiments_and_commands():
    asked = {"_DIFFUSEVAE_COMPLETE": "complete_bash"}
    done = run(**asked, COMP_WORDS="diffusevae run cpu_m", COMP_CWORD="2")
    assert done.stdout.split() == ["cpu_mnist", "cpu_mnist_seed1", "cpu_mnist_seed2"]
    done = run(**asked, COMP_WORDS="diffusevae roll", COMP_CWORD="1")
    assert done.stdout.split() == ["rollback"]
    done = run(folder=Path("/"), **asked, COMP_WORDS="diffusevae run cpu_m", COMP_CWORD="2")
    assert done.stdout + done.stderr == ""


def test_the_checkout_is_found_from_within_and_its_absence_is_told(tmp_path):
    mark_checkout(tmp_path)
    (tmp_path / "docs/more").mkdir(parents=True)
    assert find_checkout(tmp_path / "docs/more") == find_checkout(tmp_path) == tmp_path
    (tmp_path / MARKS[0]).unlink()
    with pytest.raises(EnvironmentFailure, match="is a checkout .* change to one"):
        find_checkout(tmp_path / "docs")
    done = run("run", "smoke", folder=Path("/"))
    assert done.returncode == 3 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: /: neither this folder nor")


def test_the_code_of_another_checkout_is_refused(tmp_path):
    require_own_code(ROOT)
    require_own_code(tmp_path)  # without code of its own
    (tmp_path / "src/diffusevae").mkdir(parents=True)
    with pytest.raises(EnvironmentFailure, match=r"is not the code of .*\.venv/bin/diffusevae"):
        require_own_code(tmp_path)
