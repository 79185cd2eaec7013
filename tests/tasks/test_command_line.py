"""DVC's command line: dvc.lock as DVC's own writes it, and no other DVC than that one."""

import shutil

import pytest
from dvc.utils.serialize import modify_yaml

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
            shutil.copy(ROOT / "dvc.lock", path)
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


def test_it_is_made_for_the_version_of_dvc_that_is_pinned():
    assert f"dvc=={command_line.MADE_FOR}" in (ROOT / "constraints.txt").read_text().split()


def test_another_version_of_dvc_is_refused_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr(command_line, "version", lambda name: "3.68.0")
    assert command_line.main(["status"]) == EnvironmentFailure.exit_code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ERROR: DVC 3.68.0 is installed, but dvc.lock is written for DVC 3.67.1")
