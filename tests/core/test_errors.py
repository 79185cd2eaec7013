"""How a process ends that nobody has explained, and how a failure is said."""

import signal
import subprocess
import sys

import pytest

from diffusevae.core.errors import InputError
from tests.support.checkouts import ROOT


@pytest.mark.parametrize("package", ["apps", "benchmarks", "flows", "tasks"])
def test_ctrl_c_while_a_command_is_imported_is_one_line(package):
    code = f"import {package}, signal; signal.raise_signal(signal.SIGINT)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 128 + signal.SIGINT
    assert (done.stdout, done.stderr) == ("", "error: stopped by Ctrl-C\n")


@pytest.mark.fault("B6")
def test_a_failure_is_one_line_that_no_terminal_obeys_whatever_it_quotes():
    said = str(InputError("a\r\n  b\u2028c \x1b[31md\x07: bad; mend it"))
    assert said == "a b c \\x1b[31md\\x07: bad; mend it"
