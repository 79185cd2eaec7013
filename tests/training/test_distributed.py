"""Two processes train together: the same result as one, once; nothing of them is left behind."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch

import diffusevae.stages.__main__ as entry
from diffusevae.core.command import run_command
from diffusevae.core.errors import InputError
from diffusevae.training import launcher
from diffusevae.training.distributed import Group, join_group
from tests.support import together
from tests.support.toy_splits import write_split

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {
    "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
    "PYTHONUNBUFFERED": "1",
    "OMP_NUM_THREADS": "1",
    "DIFFUSEVAE_DEVICE": "cpu",
    "GLOO_SOCKET_IFNAME": "lo",
}
STAGE = (
    "train_vae",
    "smoke",
    "--train",
    "train",
    "--validation",
    "validation",
    "--best",
    "best.yaml",
    "--out",
    "out",
)
SECONDS_TO_END = 60  # on a busy machine


def torchrun(module: str, *arguments: Path | str) -> subprocess.CompletedProcess:
    """Run a module of tests/ in two processes."""
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            "2",
            "-m",
            module,
            *map(str, arguments),
        ],
        env=os.environ | ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_shards_are_each_row_once_and_their_weights_make_the_mean(size, count):
    shards = [Group(rank, size).shard(count) for rank in range(size)]
    taken = [row for rows, weight in shards if weight for row in range(count)[rows]]
    assert sorted(taken) == list(range(count))
    assert sum(weight for _, weight in shards) == pytest.approx(1)
    assert all(len(range(count)[rows]) > 0 for rows, _ in shards)  # no mean over nothing


@pytest.fixture(scope="module")
def by_rank(tmp_path_factory) -> list[dict]:
    """What each of two processes got."""
    folder = tmp_path_factory.mktemp("together")
    ended = torchrun("tests.support.together", folder)
    assert ended.returncode == 0, ended.stderr
    return [torch.load(folder / str(rank)) for rank in range(2)]


def test_the_gradient_is_the_mean_over_the_batch_however_it_is_sharded(by_rank):
    """Shards of 3 and 2 images, of 2 and 2, of 1 and none; each in two parts where it has two."""
    for found in by_rank:
        for count, gradient in found["gradients"].items():
            assert float(gradient) == pytest.approx(-2 * float(together.TARGETS[:count].mean()))


def test_two_processes_get_what_one_gets(by_rank):
    for name, (weights, history) in together.train()["models"].items():
        theirs, their_history = by_rank[0]["models"][name]
        for row, their_row in zip(history, their_history, strict=True):
            assert their_row == pytest.approx(row, rel=1e-5), name
        ours, theirs = (
            torch.cat([w.flatten() for w in each.values()]) for each in (weights, theirs)
        )
        # Where a gradient is nothing but rounding, Adam still steps: a few weights in a thousand.
        assert torch.isclose(ours, theirs, rtol=1e-4, atol=1e-5).float().mean() > 0.99, name
        assert (ours - theirs).norm() < 2e-4 * ours.norm(), name


def test_all_processes_hold_the_same_bytes(by_rank):
    first, second = (found["models"] for found in by_rank)
    for name, (weights, history) in first.items():
        assert history == second[name][1]
        assert all(torch.equal(weights[k], second[name][0][k]) for k in weights)


@pytest.mark.fault("T1", "T13")
def test_a_killed_training_of_two_goes_on_to_the_same_bytes(tmp_path):
    assert (
        torchrun("tests.support.resumable", tmp_path / "a", tmp_path / "unbroken").returncode == 0
    )
    again = [tmp_path / "b", tmp_path / "resumed"]
    assert torchrun("tests.support.resumable", *again, "6").returncode != 0
    assert not again[1].exists()
    ended = torchrun("tests.support.resumable", *again)
    # The one who is killed at a batch's end has not yet written it.
    assert ended.stdout.splitlines() == ["epoch 2 batch 1 history 1"]
    for name in ("model.safetensors", "history.csv"):
        assert (again[1] / name).read_bytes() == (tmp_path / "unbroken" / name).read_bytes()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    for seed, (name, count) in enumerate({"train": 95, "validation": 16}.items()):
        write_split(tmp_path / name, count, seed)
    (tmp_path / "best.yaml").write_text("{}")
    return tmp_path


@pytest.fixture
def start(checkout: Path):
    """Starts the stage train_vae; what it starts is ended with the test."""
    started = []

    def start_stage(processes: str = "2", epochs: int = 2) -> subprocess.Popen:
        params = checkout / "params.yaml"
        head, smoke = params.read_text().split("  smoke:", 1)
        params.write_text(f"{head}  smoke:{smoke.replace('epochs: 2', f'epochs: {epochs}')}")
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "diffusevae.stages", *STAGE],
                cwd=checkout,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=os.environ
                | ENVIRONMENT
                | {launcher.PROCESSES_VARIABLE: processes, "TMPDIR": str(checkout)},
            )
        )
        return started[-1]

    yield start_stage
    for process in started:
        process.kill()
        process.communicate()


def test_the_stage_trains_in_two_processes_and_speaks_and_writes_once(checkout, start):
    said, errors = start().communicate(timeout=300)
    assert [line.split("  ")[0] for line in said.splitlines() if "train_loss" in line] == [
        "epoch 1",
        "epoch 2",
    ], errors
    assert said.count("fitting") == 1
    assert {path.name for path in (checkout / "out").iterdir()} == {
        "model.safetensors",
        "prior.safetensors",
        "history.csv",
        "snapshots",
    }
    with sqlite3.connect(checkout / "mlflow/mlflow.db") as database:
        assert database.execute("select name, status from runs").fetchall() == [
            ("train_vae", "FINISHED")
        ]


def ranks_of(stage: subprocess.Popen) -> dict[int, psutil.Process]:
    """Return the stage's processes by rank as soon as it has said that the first epoch is done."""
    assert any(line.startswith("epoch 1 ") for line in stage.stdout)
    children = psutil.Process(stage.pid).children()
    return {int(child.environ()["RANK"]): child for child in children}


@pytest.mark.fault("T13")
def test_a_killed_process_ends_the_other_and_the_stage(start):
    stage = start(epochs=5000)
    ranks = ranks_of(stage)
    ranks[1].kill()
    assert stage.wait(SECONDS_TO_END) == 128 + signal.SIGKILL
    assert "torch/distributed/elastic" not in stage.stderr.read()
    assert not psutil.wait_procs(ranks.values(), SECONDS_TO_END)[1]


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_nothing_of_a_killed_stage_is_left(start, number):
    stage = start(epochs=5000)
    ranks = ranks_of(stage)
    assert sorted(ranks) == [0, 1]
    stage.send_signal(number)
    assert stage.wait(SECONDS_TO_END) in (-signal.SIGKILL, 128 + signal.SIGTERM)
    assert not psutil.wait_procs(ranks.values(), SECONDS_TO_END)[1]


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "65", "²"])
def test_a_wrong_number_of_processes_is_named_with_the_mend(monkeypatch, capsys, value):
    monkeypatch.setenv(launcher.PROCESSES_VARIABLE, value)
    assert run_command(lambda: entry._run_stage(["download"])) == InputError.exit_code
    assert capsys.readouterr().err == (
        f"error: DIFFUSEVAE_PROCESSES: {value!r} is not a number of processes; write a whole "
        "number from 1 to 64\n"
    )


def test_one_process_is_the_default(monkeypatch):
    monkeypatch.delenv(launcher.PROCESSES_VARIABLE, raising=False)
    assert launcher.num_processes() == 1


@pytest.mark.parametrize(
    "device, mend",
    [
        ("", "there are 2; use no more than that, or DIFFUSEVAE_DEVICE=cpu"),
        ("cuda:1", "DIFFUSEVAE_DEVICE is cuda:1; name GPUs by CUDA_VISIBLE_DEVICES"),
    ],
)
def test_every_process_has_a_gpu_of_its_own(monkeypatch, device, mend):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("DIFFUSEVAE_DEVICE", device)
    with pytest.raises(InputError, match=f"3 processes need a GPU each, and {mend}"):
        launcher.launch(list(STAGE), 3)


def test_stages_that_do_not_train_together_refuse_torchrun(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(InputError, match="stage sample: runs as one process; use torchrun for"):
        entry._run_stage(["sample"])


@pytest.mark.parametrize("rank", [None, "", "one", "-1"])
def test_half_of_torchruns_environment_is_one_line(monkeypatch, capsys, rank):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    if rank is not None:
        monkeypatch.setenv("RANK", rank)
    assert entry.main(list(STAGE)) == 2
    assert capsys.readouterr().err.startswith(f"error: RANK: {rank or ''!r} is no rank")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(InputError, match="^LOCAL_RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT: not"):
        join_group(torch.device("cpu"))


@pytest.mark.parametrize(
    "codes, failed",
    [
        ({0: 143, 1: 2}, 1),  # the launcher ended the first one when the second had failed
        ({0: 1, 1: -9}, 1),  # the first one lost its connection to a process that was killed
        ({0: 2, 1: 2}, 0),
        ({0: -15, 1: 1}, 1),
    ],
)
def test_the_process_that_failed_first_decides_the_exit_code(codes, failed):
    assert launcher._cause(codes) == failed
