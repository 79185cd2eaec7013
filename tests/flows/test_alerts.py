"""Alerts to a web server and a mail server of the test's own, by a real Prefect server's rules."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Crashed

from diffusevae.core.errors import EnvironmentFailure, InputError
from flows import alerts
from tests.support.checkouts import CANARY, wait_for
from tests.support.loopback import Answer, serve
from tests.support.toy_registry import TOY


@pytest.fixture
def client(prefect_server: str):
    with temporary_settings({PREFECT_API_URL: prefect_server}):
        with get_client(sync_client=True) as client:
            yield client


def rules_of(client) -> list[str]:
    return sorted(rule.name for rule in client.read_automations())


@contextmanager
def webhook() -> Iterator[tuple[str, list[dict]]]:
    """Yield the address of a web server as Apprise writes it, and what it was sent."""
    got: list[dict] = []

    def take(handler) -> None:
        got.append(json.loads(handler.rfile.read(int(handler.headers["Content-Length"]))))
        handler.send_response(200)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    answers: dict[str, Answer] = {"/told": take}
    with serve(answers) as (address, _):
        yield f"{address.replace('http:', 'json:')}/told", got


@contextmanager
def mail_server() -> Iterator[tuple[str, list[str]]]:
    """Yield the address of an SMTP server as Apprise writes it, and the mails that it took."""
    mails: list[str] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def talk() -> None:
        connection, _ = listener.accept()
        with connection, connection.makefile("rw", newline="\r\n") as lines:

            def say(text: str) -> None:
                lines.write(f"{text}\n")
                lines.flush()

            say("220 test")
            while line := lines.readline():
                if line.upper().startswith("DATA"):
                    say("354 go on")
                    mails.append("".join(iter(lines.readline, ".\r\n")))
                say("221 end" if line.upper().startswith("QUIT") else "250 test")

    thread = Thread(target=talk, daemon=True)
    thread.start()
    try:
        yield f"mailto://127.0.0.1:{listener.getsockname()[1]}?from=a@x.org&to=b@x.org", mails
    finally:
        listener.close()


def test_a_run_that_fails_or_crashes_is_told_by_webhook_and_mail(client, monkeypatch):
    @flow(name="pipeline", flow_run_name="smoke")
    def fail() -> None:
        raise EnvironmentFailure("disk: full; free disk space")

    @flow(name="latents", flow_run_name="gone")
    def vanish() -> None: ...

    with webhook() as (web, told), mail_server() as (post, mails):
        monkeypatch.setenv(alerts.VARIABLE, f"{web} {post}")
        for _ in range(2):  # the second time changes nothing
            alerts.set_alerts(client)
        assert rules_of(client) == sorted([alerts.OF_ENDS, alerts.OF_VERDICTS])
        with pytest.raises(EnvironmentFailure):
            fail()
        wait_for(lambda: told and mails, "the alert")
        line = "pipeline smoke: Flow run encountered an exception: EnvironmentFailure: disk: full; "
        assert told[0]["title"].startswith(line) and told[0]["message"].startswith(line)
        assert told[0]["message"].splitlines()[1].startswith("flow run ")
        assert "EnvironmentFailure: disk: full" in mails[0].replace("=\r\n", "")
        # As the worker, or the rule for dead machines, says of one that is gone.
        run = client.create_flow_run(vanish)
        client.set_flow_run_state(run.id, Crashed(message="no heartbeat"), force=True)
        wait_for(lambda: len(told) == 2, "the alert")
        assert told[1]["title"] == f"latents {run.name}: no heartbeat"
        monkeypatch.delenv(alerts.VARIABLE)
        alerts.set_alerts(client)
    assert rules_of(client) == []


@pytest.mark.parametrize("verdict", ["refused", "promoted", "held", "first"])
def test_a_verdict_that_people_should_know_is_told_with_the_report(client, monkeypatch, verdict):
    monkeypatch.setattr(alerts, "read_verdict", lambda experiment, version: verdict)
    monkeypatch.setattr(alerts, "describe_gate", lambda experiment, version: f"was {verdict}: why")
    with webhook() as (web, told):
        monkeypatch.setenv(alerts.VARIABLE, web)
        alerts.set_alerts(client)

        @flow(name="judging")
        def judge() -> None:
            alerts.tell_verdict(TOY, "2", Path("/x/reports/toy-rerun.html"))

        @flow(name="last", flow_run_name="last")
        def fail() -> None:
            raise InputError("the end")

        judge()
        with pytest.raises(InputError):
            fail()
        wait_for(lambda: any("the end" in each["title"] for each in told), "the last alert")
        monkeypatch.delenv(alerts.VARIABLE)
        alerts.set_alerts(client)
    messages = [each["message"] for each in told if "the end" not in each["title"]]
    if verdict in alerts.TOLD:
        [message] = messages
        assert message.splitlines()[0] == f"toy: was {verdict}: why"
        assert message.endswith(":/x/reports/toy-rerun.html")
    else:
        assert messages == []


@pytest.mark.parametrize("value", [f"nonsense://{CANARY}", CANARY])
def test_an_address_that_is_none_is_named_and_not_shown(client, monkeypatch, value):
    monkeypatch.setenv(alerts.VARIABLE, value)
    with pytest.raises(InputError, match="DIFFUSEVAE_ALERTS: .*; write such as mailtos://") as no:
        alerts.set_alerts(client)
    assert CANARY not in str(no.value) and rules_of(client) == []
