"""Tell people of runs that failed or crashed, and of verdicts of the gate, by webhook or mail.

DIFFUSEVAE_ALERTS holds the addresses, as Apprise writes them. Prefect's server tells, so a machine
that lost power is told of too: `diffusevae bootstrap` gives it the addresses and two rules,
and takes both away where the variable is empty. A server of one run has no rules, so a run by hand
without a server of the user's own tells its terminal alone.
"""

import os
import socket
from datetime import timedelta
from pathlib import Path
from uuid import UUID

from apprise import Apprise
from prefect.blocks.notifications import SlackWebhook
from prefect.client.orchestration import SyncPrefectClient
from prefect.events import emit_event
from prefect.events.actions import SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from pydantic import SecretStr

from diffusevae.core.errors import InputError
from diffusevae.experiments.experiment import Experiment
from tasks.registry.gate import describe_gate, read_verdict

VARIABLE = "DIFFUSEVAE_ALERTS"
BLOCK = "alerts"
VERDICT = "gate.verdict"
TOLD = ("refused", "promoted")  # promoted: the champion was worse
ENDS = {"prefect.flow-run.Failed", "prefect.flow-run.Crashed"}
OF_ENDS, OF_VERDICTS = "runs that failed or crashed are told", "verdicts of the gate are told"


def set_alerts(client: SyncPrefectClient) -> None:
    """Have the server tell whom the variable names, and nobody else.

    Raises InputError for an address that Apprise does not know.
    """
    for rule in client.read_automations():
        if rule.name in (OF_ENDS, OF_VERDICTS):
            client.delete_automation(rule.id)
    addresses = os.environ.get(VARIABLE, "").strip()
    if not addresses:
        return
    if not Apprise().add(addresses):
        raise InputError(
            f"{VARIABLE}: holds an address that Apprise does not know; write such as "
            "mailtos://USER:PASSWORD@HOST?to=WHO@HOST or jsons://HOST/PATH"
        )
    # Of the blocks that Prefect's server knows, this one hands any addresses on to Apprise.
    block = SlackWebhook(url=SecretStr(addresses)).save(BLOCK, overwrite=True)
    assert isinstance(block, UUID)  # no coroutine, for nothing runs asynchronously here
    ends = "{{ flow.name }} {{ flow_run.name }}: {{ flow_run.state.message }}"
    page = "{{ (flow_run|ui_url) or 'flow run ' ~ flow_run.id }}"  # where it knows its address
    client.create_automation(_make_rule(OF_ENDS, ENDS, "prefect.flow-run.*", ends, page, block))
    said, where = "{{ event.payload.line }}", "{{ event.payload.report }}"
    client.create_automation(
        _make_rule(OF_VERDICTS, {VERDICT}, "registered-model.*", said, where, block)
    )


def tell_verdict(experiment: Experiment, version: str, report: Path) -> None:
    """Let the server know what the gate said of a version, where people should."""
    if read_verdict(experiment, version) in TOLD:
        emit_event(
            VERDICT,
            {"prefect.resource.id": f"registered-model.{experiment.name}"},
            payload={
                "line": f"{experiment.name}: {describe_gate(experiment, version)}",
                "report": f"{socket.gethostname()}:{report}",
            },
        )


def _make_rule(
    name: str, events: set[str], resource: str, line: str, where: str, block: UUID
) -> AutomationCore:
    return AutomationCore(
        name=name,
        trigger=EventTrigger(
            expect=events,
            match=ResourceSpecification({"prefect.resource.id": [resource]}),
            for_each={"prefect.resource.id"},
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        ),
        actions=[SendNotification(block_document_id=block, subject=line, body=f"{line}\n{where}")],
    )
