"""The two pages of sliders in headless Chromium, on a wide and on a narrow screen."""

import base64
import http.client
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from flows.prefect_server import free_port
from tests.support.checkouts import ROOT, mark_checkout, wait_for
from tests.support.pages import SCHEMES, WIDTHS, find_faults, find_faults_of_file
from tests.support.routes import find_answered, list_starlette, require_loopback
from tests.support.toy_latents import copy_store, register_toy, write_checkout
from tests.support.toy_overview import write_overview

MILLISECONDS = 60_000  # a wait ends when what it waits for is there
SOCKETS = [  # inside the app that NiceGUI mounts at /_nicegui_ws/, which has no table
    ("GET", "/_nicegui_ws/socket.io/?EIO=4&transport=polling"),
    ("POST", "/_nicegui_ws/socket.io/?EIO=4&transport=polling"),
    ("WEBSOCKET", "/_nicegui_ws/socket.io/?EIO=4&transport=websocket"),
]


@dataclass(frozen=True)
class Served:
    """The page of `diffusevae explore`: its address and login, and where it was started."""

    address: str
    login: dict[str, str]
    folder: Path


@pytest.fixture(scope="module")
def served(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The page of a registered toy study, in a process of its own."""
    folder = tmp_path_factory.mktemp("explore")
    port = free_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", copy_store(empty_store, folder))
        mark_checkout(folder)
        write_checkout(folder)
        register_toy()
        variables = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])}
        log = open(folder / "log", "w+")
        process = subprocess.Popen(
            [sys.executable, "-m", "diffusevae", "explore", "toy_study", "--port", str(port)],
            env=os.environ | variables,
            stdout=log,
            stderr=log,
        )
    address = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert process.poll() is None, Path(log.name).read_text()[-3000:]
        try:
            urllib.request.urlopen(address, timeout=5)
        except urllib.error.HTTPError as error:
            return error.code == 401
        except OSError:
            return False
        return True

    try:
        wait_for(answers, "the page")
        said = Path(log.name).read_text()
        login = dict(re.findall(r"^(user|password) +(\S+)$", said, re.MULTILINE))
        assert f"page      {address}" in said and "latents-toy_study version 1" in said
        yield Served(address, {"username": login["user"], "password": login["password"]}, folder)
    finally:
        process.terminate()
        process.wait(30)
        log.close()


@pytest.fixture
def page(request, browser: Browser, served: Served) -> Iterator[Page]:
    """The page of sliders, opened after logging in, at the width asked for; no error in it."""
    width = getattr(request, "param", WIDTHS[0])
    context = browser.new_context(
        viewport={"width": width, "height": 800}, http_credentials=served.login
    )
    context.set_default_timeout(MILLISECONDS)
    opened, asked, errors = context.new_page(), [], []
    opened.on("request", lambda sent: asked.append(sent.url))
    opened.on("pageerror", lambda error: errors.append(error))
    opened.goto(served.address)
    wait_until_refined(opened)
    yield opened
    assert errors == []
    assert all(url.startswith((served.address, "data:", "blob:")) for url in asked)
    context.close()


def wait_until_refined(page: Page) -> None:
    page.wait_for_function(
        "document.querySelector('.diffusevae img')?.src"
        " && !document.querySelector('.diffusevae img.stale')"
    )


def source(page: Page, selector: str) -> str:
    return page.locator(selector).get_attribute("src")


def wait_for_another(page: Page, selector: str, before: str) -> None:
    page.wait_for_function(
        "([selector, before]) => document.querySelector(selector).src != before",
        arg=[selector, before],
    )


def assert_no_sideways_scroll(page: Page) -> None:
    width = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert width[0] <= width[1]


@pytest.mark.fault("S2")
def test_the_page_is_for_who_can_log_in(served):
    from apps.explore.server import make_app

    routes = {*list_starlette(make_app(None, 0).routes), *SOCKETS}
    assert ("GET", "/") in routes and len(routes) > 8
    wrong = base64.b64encode(b"admin:wrong").decode()
    for headers in ({}, {"Authorization": f"Basic {wrong}"}):
        assert find_answered(served.address, routes, headers) == {}
    require_loopback(served.address)
    assert (served.folder / "mlflow/login.json").stat().st_mode & 0o777 == 0o600


SOCKET = "/_nicegui_ws/socket.io/?EIO=4&transport="
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}


@pytest.mark.parametrize(
    "method, path, extra, own",
    [
        ("GET", "/", {}, 200),
        (
            "POST",
            SOCKET + "polling",
            {},
            400,
        ),  # socket.io's word for a session that it does not know
        ("GET", SOCKET + "websocket", UPGRADE, 101),
    ],
)
@pytest.mark.fault("S6")
def test_no_other_page_can_use_the_login_that_a_browser_keeps(served, method, path, extra, own):
    token = base64.b64encode(":".join(served.login.values()).encode()).decode()
    port = int(served.address.rpartition(":")[2])

    def ask(**headers: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        sent = extra | {"Authorization": f"Basic {token}"} | headers
        connection.request(method, path, headers=sent)
        answer = connection.getresponse()
        text = "" if answer.status == 101 else answer.read(200).decode()
        connection.close()
        return answer.status, text

    for host in (f"127.0.0.1:{port}", f"localhost:{port}"):
        for headers in ({"Host": host}, {"Host": host, "Origin": f"http://{host}"}):
            assert ask(**headers)[0] == own
    for origin in ("http://elsewhere.example", f"http://127.0.0.1:{port + 1}", "null"):
        assert ask(Origin=origin) == (403, "asked for by another page")
    for host in ("elsewhere.example", f"elsewhere.example:{port}", "127.0.0.1"):
        assert ask(Host=host) == (400, f"ask for {served.address}")


@pytest.mark.parametrize("page", WIDTHS, indirect=True)
def test_moving_a_slider_changes_the_picture_and_then_its_refinement(page):
    titles = page.locator(".latent .meaning").all_inner_texts()
    assert titles[:3] == ["Slant", "Detail", "Width, class"]
    decoded = source(page, ".vae img")
    slider = page.get_by_label("latent 1, 2.50 nats")
    slider.click(position={"x": slider.bounding_box()["width"] * 0.9, "y": 10})
    wait_for_another(page, ".vae img", decoded)
    expect(page.locator(".latent .value").first).to_contain_text("+2")
    wait_until_refined(page)
    assert_no_sideways_scroll(page)


def test_a_test_image_sets_the_sliders_and_can_be_an_end_of_the_strip(page):
    decoded, strip = source(page, ".vae img"), source(page, ".strip img")
    values = page.locator(".latent .value").all_inner_texts()
    page.locator(".thumbs button").nth(3).click()
    wait_for_another(page, ".vae img", decoded)
    expect(page.locator(".latent .value").first).not_to_have_text(values[0])
    page.get_by_role("button", name="To this picture").click()
    wait_for_another(page, ".strip img", strip)


def test_a_drawing_is_encoded_and_an_empty_one_is_refused_in_one_line(page):
    page.get_by_role("button", name="Use the drawing").click()
    expect(page.get_by_text("the drawing: is empty; draw something in white")).to_be_visible()
    decoded = source(page, ".vae img")
    page.locator("#pad").scroll_into_view_if_needed()
    box = page.locator("#pad").bounding_box()
    page.mouse.move(box["x"] + 50, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + 120, box["y"] + 150, steps=5)
    page.mouse.up()
    page.get_by_role("button", name="Use the drawing").click()
    wait_for_another(page, ".vae img", decoded)


@pytest.mark.parametrize(
    ("button", "name", "width"),
    [
        (".diffusevae .q-btn", "generated-diffusevae.png", 128),
        (".between .q-btn >> nth=-1", "generated-strip.png", 9 * 128),
    ],
)
def test_a_downloaded_picture_tells_that_it_was_generated(page, tmp_path, button, name, width):
    with page.expect_download() as download:
        page.locator(button).click()
    assert download.value.suggested_filename == name
    download.value.save_as(tmp_path / name)
    with Image.open(tmp_path / name) as png:
        assert png.size == (width, 128)
        assert png.text["Source"].startswith("generated image")
        assert png.text["Model"] == "latents-toy_study version 1"


@pytest.mark.parametrize("width", WIDTHS)
def test_the_sliders_of_the_report_work_without_a_server(browser, tmp_path, width):
    context = browser.new_context(viewport={"width": width, "height": 800}, offline=True)
    context.set_default_timeout(MILLISECONDS)
    page, errors = context.new_page(), []
    page.on("pageerror", lambda error: errors.append(error))
    page.on("console", lambda message: errors.append(message.text))
    page.goto(write_overview(tmp_path).as_uri())
    drawn = 'document.querySelector(".latent[data-row=\\"0\\"] canvas").toDataURL()'
    blank = "document.createElement('canvas').toDataURL()"
    page.wait_for_function("document.querySelector('.latent output').value != '0'")
    before = page.evaluate(drawn)
    assert before != page.evaluate(blank)
    page.get_by_label("Slant").fill("-2.5")
    assert page.evaluate(drawn) != before
    expect(page.locator(".latent output").first).to_have_text("−2.5")
    page.get_by_label("the ideal 7").check()
    expect(page.locator(".latent output").first).to_have_text("1.0")
    expect(page.get_by_label("Unused")).to_be_hidden()
    assert_no_sideways_scroll(page)
    assert errors == []
    context.close()


def test_everybody_can_read_and_use_the_page_of_sliders(browser, tmp_path):
    assert find_faults_of_file(browser, write_overview(tmp_path)) == []


@pytest.mark.parametrize("page", WIDTHS, indirect=True)
def test_everybody_can_read_and_use_the_explorer(page):
    found = {}
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        expect(page.locator("body")).to_have_class(re.compile(f"body--{scheme}"))
        found[scheme] = find_faults(page)
    assert found == {scheme: [] for scheme in SCHEMES}
