"""dvc.yaml against the code: what a stage imports and reads is what DVC watches."""

import importlib
import inspect

import pytest
from ruamel.yaml import YAML

from diffusevae.core.yaml_file import read_yaml
from diffusevae.stages.names import ALL_STAGES
from tests.support.dvc_graph import ROOT, imported_files, imported_packages

GRAPH = YAML(typ="safe", pure=True).load((ROOT / "dvc.yaml").read_text())["stages"]
# The stages' only way to MLflow is the `log` that __main__ hands them: it reaches no output.
NOT_IN_OUTPUTS = {"src/diffusevae/tracking/stage_logger.py", "src/diffusevae/stages/__main__.py"}


def test_every_stage_module_is_a_stage_of_dvc_yaml_in_the_same_order():
    assert tuple(GRAPH) == ALL_STAGES


@pytest.mark.parametrize("stage", ALL_STAGES)
def test_code_deps_are_the_packages_of_the_import_closure(stage):
    assert not set(imported_files(stage)) & NOT_IN_OUTPUTS
    packages = set(imported_packages(stage))
    declared = {dep for dep in GRAPH[stage]["do"]["deps"] if dep.startswith("src/")}
    assert declared == packages, f"missing {packages - declared}, too many {declared - packages}"


@pytest.mark.parametrize("stage", ALL_STAGES)
def test_params_are_the_sections_that_the_module_reads(stage):
    module = importlib.import_module(f"diffusevae.stages.{stage}")
    expected = [f"{module.ROOT}.${{key}}.{section}" for section in module.SECTIONS]
    assert sorted(GRAPH[stage]["do"].get("params", [])) == sorted(expected)


@pytest.mark.parametrize("stage", ALL_STAGES)
def test_a_stage_that_is_given_a_best_yaml_works_with_its_values(stage):
    """__main__ applies it, once for all that the stage does."""
    module = importlib.import_module(f"diffusevae.stages.{stage}")
    assert ("--best" in GRAPH[stage]["do"]["cmd"]) == hasattr(module, "TUNED")
    assert "best" not in inspect.signature(module.run).parameters


@pytest.mark.parametrize("stage", ALL_STAGES)
def test_every_path_of_the_command_is_declared(stage):
    words = GRAPH[stage]["do"]["cmd"].split()
    paths = dict(zip(words, words[1:], strict=False))
    paths = {option: path for option, path in paths.items() if option.startswith("--")}
    out = paths.pop("--out")
    body = GRAPH[stage]["do"]
    outputs = [
        next(iter(o)) if isinstance(o, dict) else o for o in body["outs"] + body.get("metrics", [])
    ]
    assert all(path in body["deps"] for path in paths.values())
    assert all(output == out or output.startswith(out + "/") for output in outputs)


@pytest.mark.parametrize("stage", ALL_STAGES)
def test_the_docstring_holds_the_command_of_the_stage(stage):
    """Its options are those that `run` takes, and those that dvc.yaml gives."""
    module = importlib.import_module(f"diffusevae.stages.{stage}")
    documented = {word for word in module.__doc__.split() if word.startswith("--")}
    given = {word for word in GRAPH[stage]["do"]["cmd"].split() if word.startswith("--")}
    assert f"python -m diffusevae.stages {stage} " in module.__doc__
    assert documented == given


@pytest.mark.parametrize("stage", ALL_STAGES)
def test_a_stage_takes_the_place_of_dvc_s_shell(stage):
    """Else a shell stands between, and the stage outlives a killed DVC (test_stage_task.py)."""
    assert GRAPH[stage]["do"]["cmd"].startswith("exec python ")


def test_only_what_measures_touches_the_test_images():
    users = {
        stage
        for stage, body in GRAPH.items()
        if any("test.safetensors" in dep for dep in body["do"]["deps"])
    }
    studies = {"ablate", "compress", "frontier", "robustness", "priors", "restore", "theory"}
    studies |= {"beta_vae", "autoencoders"}
    assert users == {"sample", "evaluate"} | studies


@pytest.mark.fault("F12")
def test_no_param_name_falls_into_dvcs_trap():
    """DVC takes a changed top-level param called size or nfiles for unchanged."""
    assert not {"size", "nfiles"} & set(read_yaml(ROOT / "params.yaml"))
