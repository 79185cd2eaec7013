"""A real server, a real worker, and runs that the schedule makes; what a dying worker leaves."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import psutil
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.server.schemas.schedules import CronSchedule
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelling, Crashed

from diffusevae.core.errors import EnvironmentFailure, InputError
from diffusevae.experiments.experiment import load_experiment, load_latent_study
from flows import worker as worker_module
from flows.bootstrap import DEAD_RUNS
from flows.prefect_server import TemporaryServer
from tests.support.checkouts import DEPLOYMENTS, LOGIN, SmokeRun, wait_for

SECONDS = 180


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server of its own, whose scheduler looks every 2 seconds, and its client."""
    started = TemporaryServer(
        tmp_path_factory.mktemp("prefect"),
        {"PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2"},
        LOGIN,
    )
    try:
        with temporary_settings({PREFECT_API_URL: started.wait()}):
            with get_client(sync_client=True) as client:
                yield client
    finally:
        started.stop()


def run_module(checkout: Path, *arguments: str) -> subprocess.Popen:
    """Start `python -m <arguments>` there on the checkout's own code."""
    variables = {
        "PREFECT_API_URL": PREFECT_API_URL.value(),
        "PYTHONPATH": os.pathsep.join([str(checkout), str(checkout / "src")]),
    }
    return subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=checkout,
        text=True,
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


@pytest.fixture(scope="module")
def deployments(server, smoke_run: SmokeRun) -> dict:
    """The deployments by name, put on the server twice: the second time changes nothing."""
    for _ in range(2):
        process = run_module(smoke_run.checkout, "diffusevae", "bootstrap")
        said, _ = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, said
    found = server.read_deployments()
    assert len(found) == len(DEPLOYMENTS)
    return {each.name: each for each in found}


def runs_of(server, state: str) -> list:
    runs = server.read_flow_runs(
        deployment_filter=DeploymentFilter(name=DeploymentFilterName(any_=["smoke"]))
    )
    return [run for run in runs if run.state_type == state]


@contextmanager
def work(checkout: Path):
    """Yield a worker of the cpu pool there."""
    process = run_module(checkout, "diffusevae", "worker", "cpu")
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


@pytest.fixture
def worker(server, deployments, smoke_run: SmokeRun):
    """A worker in the checkout where the pipeline ran on smoke."""
    with work(smoke_run.checkout) as process:
        yield process


def test_a_run_that_the_schedule_made_completes_on_a_worker(server, deployments, worker):
    smoke = deployments["smoke"]
    interval = IntervalSchedule(interval=timedelta(seconds=30))
    [schedule] = server.create_deployment_schedules(smoke.id, [(interval, True)])
    try:
        [run, *_] = wait_for(lambda: runs_of(server, "COMPLETED"), "a completed run")
    finally:
        server.delete_deployment_schedule(smoke.id, schedule.id)
    assert run.created_by.type == "SCHEDULE" and run.auto_scheduled
    assert run.parameters == {"experiment": "smoke"}
    # The last lines may reach the server after the state does.
    wait_for(
        lambda: "nothing changed" in "".join(log.message for log in server.read_logs()),
        "the run's lines",
    )


def test_a_cancelled_run_ends_with_all_its_processes(server, deployments, smoke_run, tmp_path):
    checkout = tmp_path / "checkout"
    shutil.copytree(smoke_run.checkout, checkout, symlinks=True)
    params = checkout / "params.yaml"
    params.write_text(params.read_text().replace("n_trials: 2\n", "n_trials: 500\n"))  # minutes
    with work(checkout) as process:
        run = server.create_flow_run_from_deployment(deployments["smoke"].id)

        def is_there() -> bool:
            with suppress(psutil.NoSuchProcess):  # a child that ended meanwhile
                children = psutil.Process(process.pid).children(recursive=True)
                return any("diffusevae.stages" in child.cmdline() for child in children)
            return False

        wait_for(is_there, "a stage")
        children = psutil.Process(process.pid).children(recursive=True)
        server.set_flow_run_state(run.id, Cancelling())
        wait_for(lambda: server.read_flow_run(run.id).state.is_final(), "the run's end")
        assert server.read_flow_run(run.id).state_type == "CANCELLED"
        assert not psutil.wait_procs(children, timeout=30)[1]


def kill_during_a_run(server, deployments, worker):
    """Start a run, kill its worker outright; return the run and the processes it had."""
    run = server.create_flow_run_from_deployment(deployments["smoke"].id)
    wait_for(lambda: server.read_flow_run(run.id).state_type == "RUNNING", "the run's start")
    children = psutil.Process(worker.pid).children(recursive=True)
    assert children
    worker.kill()
    return run, children


@pytest.mark.fault("F4")
def test_nothing_of_a_run_outlives_its_worker(server, deployments, worker):
    run, children = kill_during_a_run(server, deployments, worker)
    assert not psutil.wait_procs(children, timeout=30)[1]
    # It holds the one place that there is for runs of its deployment, until somebody says this.
    server.set_flow_run_state(run.id, Crashed(), force=True)


@pytest.mark.slow
@pytest.mark.fault("F3")
def test_a_run_whose_worker_died_is_marked_crashed(server, deployments, worker):
    [rule] = server.read_automations()
    sooner = DEAD_RUNS.trigger.model_copy(update={"within": timedelta(seconds=90)})
    server.update_automation(rule.id, DEAD_RUNS.model_copy(update={"trigger": sooner}))
    try:
        run, _ = kill_during_a_run(server, deployments, worker)
        # Nobody is left to say so: the rule for runs without a heartbeat does.
        wait_for(lambda: server.read_flow_run(run.id).state.is_final(), "the run's end")
        assert server.read_flow_run(run.id).state_type == "CRASHED"
    finally:
        server.update_automation(rule.id, DEAD_RUNS)


@pytest.mark.fault("F7")
def test_one_checkout_has_one_worker(server, deployments, smoke_run):
    both = [run_module(smoke_run.checkout, "diffusevae", "worker", "cpu") for _ in range(2)]
    try:
        refused = wait_for(lambda: [each for each in both if each.poll() is not None], "a refusal")
        assert [each.returncode for each in refused] == [3]
        assert "another worker has this checkout" in refused[0].communicate()[0]
    finally:
        for each in both:
            each.kill()


def test_pools_and_the_rule_for_dead_runs_are_there_once(server, deployments):
    assert {pool.name: pool.type for pool in server.read_work_pools()} == {
        "cpu": "process",
        "gpu": "process",
    }
    [rule] = server.read_automations()
    assert rule.enabled and rule.trigger.within == timedelta(minutes=5)


@pytest.mark.fault("F7")
def test_deployments_are_of_experiments_that_exist_one_run_at_a_time(deployments):
    for name, deployment in deployments.items():
        if deployment.entrypoint == "flows.latents.latents":
            experiment = load_latent_study(deployment.parameters["study"])
        else:
            experiment = load_experiment(deployment.parameters["experiment"])
        if deployment.entrypoint == "flows.tune.tune":
            assert deployment.global_concurrency_limit is None
            assert name == f"tune_{deployment.work_pool_name}"
        else:
            assert experiment.name == name
            assert deployment.global_concurrency_limit.limit == 1
            assert deployment.work_pool_name == ("gpu" if "mnist" in name else "cpu")


@pytest.mark.parametrize(
    "deployment",
    [d for d in DEPLOYMENTS if "schedules" in d],
    ids=lambda deployment: deployment["name"],
)
def test_schedules_keep_their_hour_through_the_change_of_clocks(deployment):
    [given] = deployment["schedules"]
    schedule = CronSchedule(cron=given["cron"], timezone=given["timezone"])
    start = datetime(2026, 10, 12, tzinfo=UTC)  # summer time ends on 25 October
    dates = asyncio.run(schedule.get_dates(4, start=start))
    hour = int(given["cron"].split()[1])
    assert [date.astimezone(ZoneInfo("Europe/Rome")).hour for date in dates] == [hour] * 4
    assert {date.astimezone(UTC).hour for date in dates} == {hour - 2, hour - 1}


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["tpu"],
        ["gpu"],
        ["gpu", "x"],
        ["gpu", "0,"],
        ["gpu", "1,1"],
        ["gpu", "0", "1"],
        ["cpu", "0"],
    ],
)
def test_wrong_arguments_get_the_right_ones(arguments):
    with pytest.raises(InputError, match="write `diffusevae worker cpu`"):
        worker_module.work(arguments)


@pytest.mark.parametrize(
    "arguments, read",
    [(["cpu"], ("cpu", [])), (["gpu", "1"], ("gpu", ["1"])), (["gpu", "0,1"], ("gpu", ["0", "1"]))],
)
def test_a_worker_has_one_gpu_or_several(arguments, read):
    assert worker_module._read(arguments) == read


def test_without_a_server_or_its_pool_the_mend_is_named(monkeypatch):
    with temporary_settings({PREFECT_API_URL: None}):
        with pytest.raises(EnvironmentFailure, match="PREFECT_API_URL: is not set; set it to"):
            worker_module.work(["cpu"])


def test_a_run_started_by_hand_watches_no_worker(monkeypatch):
    monkeypatch.delenv(worker_module.WORKER_VARIABLE, raising=False)
    worker_module.end_with_worker()
