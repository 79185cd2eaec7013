"""A toy DVC project stands in for the real one: what is tested is how a stage is run, not which."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

import tasks.dvc.process
from command.line import main
from diffusevae.core.errors import EnvironmentFailure, InputError
from tasks.dvc.checkout_lock import own_checkout
from tasks.dvc.failure import StageFailure
from tasks.dvc.process import changed_stages, reproduce
from tasks.terminal import ENDINGS, run_on_terminal
from tests.support.processes import alive, wait_for

DVC_YAML = """\
stages:
  first:
    cmd: exec python first.py
    deps: [first.py]
    outs: [first.txt]
  second:
    cmd: cat first.txt > second.txt
    deps: [first.txt]
    outs: [second.txt]
"""
SLEEPER = """\
import pathlib, signal, subprocess, sys
{extra}
child = subprocess.Popen(["sleep", "60"])
pathlib.Path("pids").write_text(f"{{__import__('os').getpid()}} {{child.pid}}")
print("started", flush=True)
child.wait()
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy")
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "-q"], cwd=folder, check=True)
    (folder / "dvc.yaml").write_text(DVC_YAML)
    return folder


@pytest.fixture
def toy(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of two stages, the first of which runs first.py; the test works inside it."""
    folder = tmp_path / "toy"
    shutil.copytree(template, folder)
    monkeypatch.chdir(folder)
    write_first(folder, "print('hello')")
    return folder


def write_first(folder: Path, code: str) -> None:
    text = f"{code}\nopen('first.txt', 'w').write('done')\n"
    (folder / "first.py").write_text(text)


def silent(line: str) -> None:
    pass


def find_shell(name: str) -> str:
    return shutil.which(name) or pytest.skip(f"there is no {name} here")


def test_only_what_changed_runs_and_its_lines_arrive_while_it_runs(toy):
    write_first(toy, "import time\nprint('one')\ntime.sleep(1.5)\nprint('two')")
    assert changed_stages("first", "second") == {"first", "second"}
    times = {}
    assert reproduce("first", lambda line: times.setdefault(line, time.monotonic()), {})
    assert reproduce("second", silent, {})
    assert times["two"] - times["one"] > 1  # both at once, had the lines been kept until the end
    assert changed_stages("first", "second") == set()
    assert not reproduce("second", silent, {})
    write_first(toy, "print('other')")
    assert changed_stages("first", "second") == {"first"}


def test_a_stage_gets_the_variables_and_this_environment_s_python(toy):
    write_first(toy, "import os, sys\nprint(os.environ['TOY'], sys.executable)")
    lines = []
    reproduce("first", lines.append, {"TOY": "42"})
    assert f"42 {sys.executable}" in lines


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        (
            "print('error: a.yaml: bad; mend it', file=sys.stderr); sys.exit(2)",
            InputError,
            "a.yaml: bad; mend it",
        ),
        (
            "print('error: disk: full; free some', file=sys.stderr); sys.exit(3)",
            EnvironmentFailure,
            "disk: full; free some",
        ),
        (
            "print('error: not what ended it'); sys.exit(1)",
            StageFailure,
            "first: ended with exit code 1; its output above says why",
        ),
        ("import os; os.kill(os.getpid(), 9)", EnvironmentFailure, "killed from outside"),
    ],
)
def test_a_failed_stage_s_own_line_and_kind_are_passed_on(toy, code, kind, message):
    write_first(toy, f"import sys\n{code}")
    with pytest.raises(kind, match=message):
        reproduce("first", silent, {})


def test_a_remote_that_went_away_costs_no_work(toy):
    """The run cache names a result that is not here any more, and who has it does not answer."""
    assert reproduce("first", silent, {})
    for path in ("first.txt", "dvc.lock"):
        (toy / path).unlink()
    shutil.rmtree(toy / ".dvc/cache/files")
    (toy / ".dvc/config.local").write_text(
        "[core]\nremote = store\n['remote \"store\"']\nurl = ssh://127.0.0.1:1/nowhere\n"
    )
    lines = []
    assert reproduce("first", lines.append, {}, remote=True)
    assert (toy / "first.txt").read_text() == "done"
    [said] = [line for line in lines if line.startswith("DVC's remote: ")]
    assert said.endswith("; going on with what is here")


@pytest.mark.parametrize("extra", ["", "signal.signal(signal.SIGTERM, signal.SIG_IGN)"])
def test_cancelling_ends_the_stage_and_its_children(toy, extra, monkeypatch):
    monkeypatch.setattr(tasks.dvc.process, "SECONDS_TO_STOP", 1)
    write_first(toy, SLEEPER.format(extra=extra))

    def interrupt(line: str) -> None:
        if line == "started":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reproduce("first", interrupt, {})
    pids = [int(pid) for pid in (toy / "pids").read_text().split()]
    assert not any(map(alive, pids))
    write_first(toy, "print('again')")  # and DVC can go on here
    assert reproduce("first", silent, {})


def test_a_child_that_ends_between_two_looks_at_it_is_reaped():
    """Else its number is that of a process, which DVC then names as at work."""
    process = subprocess.Popen(["sleep", "60"], start_new_session=True)
    look, looks = process.poll, []

    def end_after_a_look() -> int | None:
        looks.append(look())
        if len(looks) == 2:
            process.kill()
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        return looks[-1]

    process.poll = end_after_a_look
    tasks.dvc.process._end_group(process, signal.SIGCONT, 30)
    assert looks[:2] == [None, None] and not psutil.pid_exists(process.pid)


@pytest.mark.parametrize("shell", ["bash", "dash"])  # dash does not exec a lone command itself
@pytest.mark.fault("F4")
def test_killing_the_flow_s_process_ends_the_stage(toy, shell):
    write_first(toy, SLEEPER.format(extra="import ctypes; ctypes.CDLL(None).prctl(1, 15)"))
    code = "from tasks.dvc.process import reproduce; reproduce('first', print, {})"
    environment = os.environ | {
        "PYTHONPATH": str(Path(tasks.dvc.process.__file__).parents[2]),
        "SHELL": find_shell(shell),
    }
    flow = subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.DEVNULL
    )
    assert wait_for((toy / "pids").is_file)
    stage, child = (int(pid) for pid in (toy / "pids").read_text().split())
    flow.kill()
    flow.wait()
    try:
        assert wait_for(lambda: not alive(stage), 10)
    finally:
        os.kill(child, signal.SIGKILL)  # a real stage has none


@pytest.mark.fault("F13")
def test_a_second_dvc_is_told_that_the_first_is_at_work(toy):
    write_first(toy, SLEEPER.format(extra=""))
    first = subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro", "first"],
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        assert wait_for((toy / "pids").is_file)
        with own_checkout():  # its lock is not stale: that DVC lives
            with pytest.raises(EnvironmentFailure, match="another DVC is at work.*PID"):
                reproduce("first", silent, {})
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()


@pytest.mark.parametrize(
    "content",
    ["", '{"write": {"PATH/first.txt": {"pid": 1, "cmd": "dvc repro"}}}'],
    ids=["cut short", "names a process that is no DVC"],
)
@pytest.mark.fault("F10")
def test_a_lock_that_a_killed_dvc_left_is_cleared(toy, content):
    lock = toy / ".dvc/tmp/rwlock"
    lock.parent.mkdir(exist_ok=True)
    lock.write_text(content.replace("PATH", str(toy)))
    with pytest.raises(EnvironmentFailure, match="rwlock|another DVC"):
        reproduce("first", silent, {})
    with own_checkout():
        assert reproduce("first", silent, {})


@pytest.mark.fault("F7", "F13")
def test_one_checkout_belongs_to_one_run_at_a_time(toy):
    with own_checkout():
        with pytest.raises(EnvironmentFailure, match=f"PID {os.getpid()}"), own_checkout():
            pass
    with own_checkout():
        pass


def test_where_dvc_cannot_run_one_line_says_so(toy, monkeypatch):
    with pytest.raises(EnvironmentFailure, match="nosuch.*not found"):
        reproduce("nosuch", silent, {})
    with pytest.raises(EnvironmentFailure, match="nosuch"):
        changed_stages("nosuch")
    monkeypatch.setattr(tasks.dvc.process.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentFailure, match="make setup"):
        reproduce("first", silent, {})
    monkeypatch.undo()
    monkeypatch.chdir("/")
    with pytest.raises(EnvironmentFailure, match="no dvc.yaml"):
        changed_stages("first")


def raise_(error: BaseException):
    raise error


@pytest.fixture
def terminal():
    """run_on_terminal, whose handlers of signals are taken away at the end."""
    before = {number: signal.getsignal(number) for number in ENDINGS}
    yield run_on_terminal
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("bad\n  input"), 2),
        (EnvironmentFailure("no disk"), 3),
        (StageFailure("bug"), 1),
        (OSError(errno.ENOSPC, "No space left", "/a/file"), 3),
        (OSError(errno.ENOTDIR, "Not a directory", "/a/file"), 3),
        (KeyboardInterrupt(), 130),
        (httpx.ConnectError("refused"), 3),
        (RuntimeError("Failed to reach API at http://x"), 3),
    ],
)
def test_a_failure_is_one_line_on_stderr_and_an_exit_code(error, code, capsys, terminal):
    assert terminal(lambda: raise_(error)) == code
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1
    named = {2: "bad input", 1: "bug", 130: "Ctrl-C"}.get(code)
    assert (
        named in said
        if named
        else any(name in said for name in ("no disk", "/a/file: No", "Prefect's server: "))
    )


def test_a_failure_without_an_explanation_keeps_its_traceback(terminal):
    with pytest.raises(ZeroDivisionError):
        terminal(lambda: 1 / 0)


def test_help_and_bad_arguments_are_no_signal(terminal, capsys):
    for argument, code in (("--help", 0), ("--none", 2)):
        assert main(["compare", argument], Path.cwd()) == code
    assert "stopped" not in "".join(capsys.readouterr())


# A command as command/runs.py has them, with a flow of one stage.
COMMAND = """
import sys
from prefect import flow
from tasks.terminal import run_on_terminal
from tasks.stage import run_stage

@flow
def toy_flow():
    run_stage("first")

def run():
    {work}
    print("the end")

sys.exit(run_on_terminal(run))
"""


def start_command(work: str, **variables: str) -> subprocess.Popen:
    environment = (
        os.environ | {"PYTHONPATH": str(Path(tasks.dvc.process.__file__).parents[2])} | variables
    )
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND.format(work=work)],
        env=environment,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_to_a_flow_is_one_line_and_ends_its_stage(toy, prefect_server, number):
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    write_first(toy, SLEEPER.format(extra=""))
    command = start_command("toy_flow()", PREFECT_API_URL=prefect_server)
    assert wait_for((toy / "pids").is_file)
    pids = [int(pid) for pid in (toy / "pids").read_text().split()]
    command.send_signal(number)
    _, complaint = command.communicate(timeout=60)
    assert command.returncode == 128 + number
    *logged, last = complaint.splitlines()
    assert last == f"error: stopped by {number.name}; what was finished is kept"
    assert "Traceback" not in complaint and not any(map(alive, pids))
    with temporary_settings({PREFECT_API_URL: prefect_server}), get_client(sync_client=True) as api:
        newest = max(api.read_flow_runs(), key=lambda run: run.created)
    assert newest.state.is_crashed()


@pytest.mark.fault("F15")
def test_readers_that_go_away_neither_end_a_command_nor_bring_a_traceback(toy):
    command = start_command(
        "sys.stdin.readline(); print('a line', flush=True); open('done', 'w').close()"
    )
    command.stdout.close()
    command.stdin.write("go on\n")
    command.stdin.close()
    complaint = command.stderr.read()
    assert (command.wait(60), complaint) == (0, "")
    assert (toy / "done").exists()


def test_a_stage_s_task_has_its_name_and_logs_its_lines_on_the_server(toy, prefect_server):
    from prefect import flow
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import LogFilter, LogFilterTaskRunId
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from tasks.stage import run_stage

    write_first(toy, "print('hello from the stage')")

    @flow
    def toy_flow():
        return run_stage("first")

    with temporary_settings({PREFECT_API_URL: prefect_server}):
        result = toy_flow()
        assert result.ran and result.target == "first"
        with get_client(sync_client=True) as client:
            found = lambda: [run for run in client.read_task_runs() if run.name == "first"]  # noqa: E731
            assert wait_for(lambda: found() and found()[0].state.is_completed())
            # The server is shared: by default it gives the first 200 lines of all runs.
            own = LogFilter(task_run_id=LogFilterTaskRunId(any_=[found()[0].id]))
            said = lambda: [log.message for log in client.read_logs(own)]  # noqa: E731
            assert wait_for(lambda: "hello from the stage" in said())
