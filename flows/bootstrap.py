"""Prepare a Prefect server: work pools, deployments, schedules, the end of dead runs, alerts.

Again, it changes only what is not as it should be.
"""

import os
import subprocess
import sys
from datetime import timedelta

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound

from diffusevae.core.errors import EnvironmentFailure
from flows.alerts import set_alerts
from flows.worker import CHECKOUT_VARIABLE, HEARTBEAT_SECONDS, require_server

POOLS = ("cpu", "gpu")
# A run is dead when its heartbeats are missing for as long as its slot is kept without a renewal
# (flow_engine, 300 s): its machine lost power or network. Those that the server misses while it
# restarts are never sent again, so a shorter rule would crash all that run meanwhile.
# Where only the worker dies, its run ends itself (flows.pipeline).
SILENCE = timedelta(seconds=10 * HEARTBEAT_SECONDS)
DEAD_RUNS = AutomationCore(
    name="runs without a heartbeat have crashed",
    trigger=EventTrigger(
        after={"prefect.flow-run.heartbeat"},
        expect={
            "prefect.flow-run.heartbeat",
            "prefect.flow-run.Completed",
            "prefect.flow-run.Failed",
            "prefect.flow-run.Cancelled",
            "prefect.flow-run.Crashed",
        },
        match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=SILENCE,
    ),
    actions=[
        ChangeFlowRunState(
            name=None,
            force=False,
            state=StateType.CRASHED,
            message="no heartbeat: its machine went away",
        )
    ],
)


def bootstrap() -> None:
    """Make pools, rules and deployments.

    Raises EnvironmentFailure without a server, InputError for alerts to no address.
    """
    require_server()
    with get_client(sync_client=True) as client:
        for name in POOLS:
            try:
                client.read_work_pool(name)
            except ObjectNotFound:
                client.create_work_pool(WorkPoolCreate(name=name, type="process"))
        rules = [known for known in client.read_automations() if known.name == DEAD_RUNS.name]
        if not rules:
            client.create_automation(DEAD_RUNS)
        elif getattr(rules[0].trigger, "within", None) != SILENCE:  # an older version's
            client.update_automation(rules[0].id, DEAD_RUNS)
        set_alerts(client)
    # Each worker names its own checkout: here the name must stay a name.
    environment = {key: value for key, value in os.environ.items() if key != CHECKOUT_VARIABLE}
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    if subprocess.run(command, env=environment).returncode != 0:
        raise EnvironmentFailure("prefect deploy: failed; its lines above say why")
