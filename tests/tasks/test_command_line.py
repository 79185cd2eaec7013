"""DVC's command line: dvc.lock as DVC's own writes it, and no other DVC than that one."""

import os
import subprocess
import sys

import dvc.utils.serialize
import pytest
from dvc.dependency.param import read_param_file
from dvc.fs import LocalFileSystem
from dvc.utils.serialize import modify_yaml, parse_yaml

from diffusevae.core.errors import EnvironmentFailure
from tasks.dvc import command_line
from tests.support.checkouts import ROOT


@pytest.mark.parametrize("change", ["one", "a new one", "none", "all from nothing"])
def test_the_lock_s_bytes_are_those_of_dvc_itself(change, tmp_path):
    written = []
    for modify in (modify_yaml, command_line.modify):
        path = tmp_path / modify.__module__ / "dvc.lock"
        path.parent.mkdir()
        if change != "all from nothing":
            stages = command_line.STAGE.split((ROOT / "dvc.lock").read_text())
            path.write_text("".join(stages[:12]))  # DVC's own needs seconds for all of them
        with modify(str(path)) as lock:
            lock.setdefault("schema", "2.0")
            stages = lock.setdefault("stages", {})
            stage = {
                "cmd": "exec python -m diffusevae.stages " + "long " * 30,
                "deps": [{"path": "a", "hash": "md5", "md5": "0" * 32, "size": 7}],
                "params": {
                    "params.yaml": {
                        "a.rate": 2e-05,
                        "a.name": "1e-3",
                        "a.on": True,
                        "a.list": [1, 2.5, "x: y"],
                        "a.none": None,
                    }
                },
                "outs": [],
            }
            names = list(stages)
            if change == "one":
                stages[names[3]] = stage
            elif change != "none":
                stages["train_vae@new"] = stage
        written.append(path.read_text())
    assert written[0] == written[1]
    assert ("long" in written[0]) == (change != "none")


@pytest.mark.parametrize(
    "names",
    [
        ["experiments.smoke.vae", "experiments.smoke.seed", "experiments.smoke.unet.fuse"],
        ["datasets.mnist_tiny", "experiments.smoke.nosuch", "experiments.smoke.seed.deeper"],
        ["experiments.smoke.compress.codes.1", "experiments.smoke.se*d"],
        [],
    ],
)
@pytest.mark.parametrize("flatten", [True, False])
def test_params_are_found_as_dvc_itself_finds_them(names, flatten):
    given = (LocalFileSystem(), str(ROOT / "params.yaml"), names, flatten)
    assert command_line.look_up_params(read_param_file)(*given) == read_param_file(*given)


def test_params_that_stay_are_parsed_once_and_changed_ones_anew(tmp_path, monkeypatch):
    parsed = []

    def parse(text: str, path: str) -> dict:
        parsed.append(text)
        return parse_yaml(text, path)

    monkeypatch.setattr(dvc.utils.serialize, "parse_yaml", parse)
    read = command_line.look_up_params(read_param_file)
    path = tmp_path / "params.yaml"
    for text, times in (("a: {b: 1}", 3), ("a: {b: 2}", 2)):
        path.write_text(text)
        for _ in range(times):
            found = read(LocalFileSystem(), str(path), ["a"], True)
            assert found == {"a": {"b": int(text[-2])}}
            found["a"].clear()  # the caller's own
    assert parsed == ["a: {b: 1}", "a: {b: 2}"]


def test_it_is_made_for_the_version_of_dvc_that_is_pinned():
    assert f"dvc=={command_line.MADE_FOR}" in (ROOT / "constraints.txt").read_text().split()


def test_another_version_of_dvc_is_refused_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr(command_line, "version", lambda name: "3.68.0")
    assert command_line.main(["status"]) == EnvironmentFailure.exit_code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ERROR: DVC 3.68.0 is installed, but dvc.lock is written for DVC 3.67.1")


GRAPH = """\
stages:
  slow:
    cmd: cat {path} > made && {meanwhile}
    deps: [{path}]
    params: [rate]
    outs: [made]
"""


def reproduce(folder) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-P", command_line.__file__, "repro"],
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | {"DVC_NO_ANALYTICS": "1", "PYTHONPATH": str(ROOT / "src")},
    )


@pytest.fixture
def make_graph(tmp_path):
    """Return a function that makes a repository with one stage, which reads a file and `rate`."""

    def make(path: str, meanwhile: str):
        subprocess.run(["git", "init", "-q", tmp_path], check=True)
        subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], cwd=tmp_path, check=True)
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text("old")
        (tmp_path / "params.yaml").write_text("rate: 1\n")
        (tmp_path / "dvc.yaml").write_text(GRAPH.format(path=path, meanwhile=meanwhile))
        return tmp_path

    return make


@pytest.mark.fault("F14")
def test_code_and_params_that_change_while_a_stage_runs_make_the_next_run_make_it_again(make_graph):
    folder = make_graph("src/code.py", "echo new > src/code.py && sed -i s/1/2/ params.yaml")
    first = reproduce(folder)
    assert first.returncode == 0, first.stderr
    for changed in ("src/code.py", "params.yaml"):
        assert f"warning: {changed}: changed while slow was at work" in first.stdout
    again = reproduce(folder)
    assert "Running stage 'slow'" in again.stdout and "warning" not in again.stdout
    assert (folder / "made").read_text() == "new\n"


def test_data_that_change_while_a_stage_reads_them_are_an_error(make_graph):
    folder = make_graph("data/images", "echo new > data/images")
    first = reproduce(folder)
    assert first.returncode != 0
    assert "data/images: changed while slow was at work" in first.stderr
    assert not (folder / "dvc.lock").exists()
