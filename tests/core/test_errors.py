"""How a process ends that nobody has explained: Ctrl-C before its command has begun."""

import signal
import subprocess
import sys

import pytest

from tests.support.checkouts import ROOT


@pytest.mark.parametrize("package", ["apps", "benchmarks", "flows", "tasks"])
def test_ctrl_c_while_a_command_is_imported_is_one_line(package):
    code = f"import {package}, signal; signal.raise_signal(signal.SIGINT)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 128 + signal.SIGINT
    assert (done.stdout, done.stderr) == ("", "error: stopped by Ctrl-C\n")
