"""The Prefect server of one run, asked by those who do not belong to the run."""

import httpx
import psutil
import pytest

from flows.prefect_server import TemporaryServer
from tests.support.checkouts import LOGIN, wait_for
from tests.support.routes import find_answered, list_starlette, require_loopback

# These say that it runs, or what Prefect's published interface is.
OPEN = {"/api/health", "/api/ready"} | {
    f"/{page}" for page in ("openapi.json", "docs", "docs/oauth2-redirect", "redoc", "ui-settings")
}
FOREIGN = {"Origin": "http://elsewhere.example"}
LOGGED_IN = tuple(LOGIN.split(":"))
SECONDS = 120  # after which an answer is given up


@pytest.mark.fault("S2")
def test_every_route_but_health_asks_for_the_login(prefect_server):
    from prefect.server.api.server import create_app

    routes = {*list_starlette(create_app().routes)}
    assert len(routes) > 200
    assert ("WEBSOCKET", "/api/events/in") in routes and ("POST", "/api/flow_runs/") in routes
    answered = find_answered(prefect_server.removesuffix("/api"), routes)
    assert {path for _, path in answered} == OPEN
    require_loopback(prefect_server)


def test_a_wrong_login_is_refused_and_the_right_one_is_not(prefect_server):
    address = f"{prefect_server}/flow_runs/count"
    for login, status in ((("run", "wrong"), 401), (LOGGED_IN, 200)):
        answer = httpx.post(address, auth=login, json={}, timeout=SECONDS)
        assert answer.status_code == status


@pytest.mark.parametrize("login", [None, LOGGED_IN])
@pytest.mark.fault("S6")
def test_a_page_of_another_origin_may_not_read_or_send(prefect_server, login):
    address = f"{prefect_server}/flow_runs/count"
    wish = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    with httpx.Client(headers=FOREIGN, timeout=SECONDS) as page:
        asked = page.options(address, headers=wish)
        answers = [
            asked,
            page.post(address, json={}, auth=login),
            page.get(f"{prefect_server}/health"),
        ]
    assert asked.status_code == 400
    for answer in answers:
        assert "access-control-allow-origin" not in answer.headers


def test_the_login_is_random_and_on_no_command_line(tmp_path):
    servers = [TemporaryServer(tmp_path / name) for name in "ab"]
    try:
        logins = [server.login for server in servers]
        assert len(set(logins)) == 2 and all(len(login) > 30 for login in logins)
        port = servers[0].api_url.split(":")[2].split("/")[0]
        # A process that is becoming another has no command line for a moment.
        listed = wait_for(lambda: port in (found := list_commands()) and found, "its command line")
        assert not [login for login in logins if login in listed]
        assert [server.log.stat().st_mode & 0o077 for server in servers] == [0, 0]
    finally:
        for server in servers:
            server.stop()


def list_commands() -> str:
    """Return the command lines of all processes of this machine."""
    return " ".join(
        " ".join(each.info["cmdline"] or []) for each in psutil.process_iter(["cmdline"])
    )
