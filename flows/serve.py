"""A registered model behind HTTP, on this machine only, for bad requests as well as good ones.

A model is that of an experiment, whose champion it is, or an address as MLflow writes it, such as
models:/diffusevae-quickstart/3. It asks for the login that MLflow's pages ask for. The requests are
those of `mlflow models serve`, which answers some bad ones with its stack trace, takes bodies of
any size, and asks nobody for a login.
"""

import asyncio
import json
import re
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from diffusevae.core.errors import InputError
from diffusevae.registered.own_code import forget_package
from diffusevae.tracking.mlflow_store import connect, first_line
from tasks.loopback import ADDRESS, Login, OwnPages, require_free
from tasks.parent_run import mlflow_failures, require_mlflow
from tasks.registry.model_folder import fetch_model
from tasks.tracking_server import login, make_netrc

USAGE = "`diffusevae serve --help` says how models are named"
OPEN = ("/ping", "/health")
PREDICT = "/invocations"
PATHS = (PREDICT, *OPEN, "/version")
MOST_BYTES = 64 * 2**20  # of a request's body; as many images as a model takes are 45 MB of JSON
AT_WORK = 2  # predictions at once: each may take half a gigabyte, and has all cores
WAITING = 62  # requests, their bodies not yet read; one more is sent away
SOON = 5  # seconds after which who was sent away should ask again
FOR_A_BODY = 60  # seconds, in which nobody else has the place
FOR_A_PREDICTION = 3600  # seconds; MLflow's minute ends the answer, but not the work
LONGEST = 300  # characters of a line


def serve(model: str, port: int) -> None:
    """Load the model, print where it is, and serve it until Ctrl-C.

    Raises InputError for wrong arguments or a model that there is not, EnvironmentFailure where
    the port is taken or MLflow fails.
    """
    require_free(port, f"diffusevae serve {model} --port {port + 1}")
    if not model.startswith("models:/"):
        model = f"models:/diffusevae-{model}@champion"
    forget_package()  # the model brings its own code, and has the process for itself
    known = login()
    app = Login(make_app(model, port), known["user"], known["password"], OPEN)
    print(
        f"model  {model}\nsend   POST http://{ADDRESS}:{port}/invocations\n"
        f"login  curl --netrc-file {make_netrc(known)}\nstop with Ctrl-C",
        flush=True,
    )
    import uvicorn

    uvicorn.run(app, host=ADDRESS, port=port, log_level="critical")


def make_app(model: str, port: int) -> ASGIApp:
    """Return MLflow's app of a model, asked by its own address and answering by one line.

    Raises InputError for a model that there is not, EnvironmentFailure where MLflow fails.
    """
    from mlflow.environment_variables import MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT
    from mlflow.exceptions import MlflowException
    from mlflow.pyfunc import load_model, scoring_server

    require_mlflow()
    MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT.set(FOR_A_PREDICTION)
    with mlflow_failures():
        try:
            loaded = load_model(find_sound(model))
        except MlflowException as error:
            raise InputError(f"{model}: {first_line(error)}; {USAGE}") from error
        except Exception as error:
            if not hasattr(error, "exit_code"):  # the class is that of the model's own code
                raise
            raise InputError(f"{model}: {error}") from error
    return OwnPages(Queue(OneLine(scoring_server.init(loaded))), port)


def find_sound(model: str) -> str:
    """Return where a registered version lies whose files are all sound; what is no version is
    looked at as it is loaded, by its own loader. Raises InputError, MlflowException.
    """
    from mlflow.store.artifact.utils.models import get_model_name_and_version

    client = connect()
    name, *version = get_model_name_and_version(client, model)
    if not version:
        return model
    client.get_model_version(name, *version)  # or the reason that there is none
    return str(fetch_model(name, *version))


class Queue:
    """The app with AT_WORK predictions at a time: WAITING more take turns, others get 503."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._free, self._waiting = asyncio.Semaphore(AT_WORK), 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; what is no prediction does not wait."""
        if scope["type"] != "http" or scope["path"] != PREDICT:
            return await self.app(scope, receive, send)
        if self._waiting == WAITING:
            text = f"{AT_WORK} requests are at work and {WAITING} wait; ask again in {SOON} s"
            answer = _refuse(503, text, {"Retry-After": str(SOON)})
            return await answer(scope, receive, send)
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        try:
            await self.app(scope, receive, send)
        finally:
            self._free.release()


class OneLine:
    """The app with bodies of at most MOST_BYTES, whose refusals are {"error": one line}."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        if scope["path"] not in PATHS:
            return await _refuse(404, f"there are {', '.join(PATHS)}")(scope, receive, send)
        kind = Headers(scope=scope).get("content-type", "").partition(";")[0].strip()
        if scope["method"] == "POST" and kind != "application/json":
            return await _refuse(415, "send application/json")(scope, receive, send)
        try:
            async with asyncio.timeout(FOR_A_BODY):
                body = await _read(scope, receive)
        except TimeoutError:
            text = f"the body did not come within {FOR_A_BODY} s"
            return await _refuse(408, text)(scope, receive, send)
        except ClientDisconnect:  # while it waited: there is nobody to answer
            return
        if body is None:
            text = f"the body is of more than {MOST_BYTES} bytes; send fewer images at a time"
            return await _refuse(413, text)(scope, receive, send)
        refusal: dict = {}

        async def take() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def pass_on(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] >= 400:
                refusal.update(status=message["status"], body=b"")
            elif refusal:
                refusal["body"] += message.get("body", b"")
            else:
                await send(message)

        try:
            await self.app(scope, take, pass_on)
        except Exception as error:  # MLflow does not expect every kind of nonsense
            refusal = {"status": 400, "body": f"cannot be read ({type(error).__name__})".encode()}
        if refusal:
            await _refuse(refusal["status"], _shorten(refusal["body"]))(scope, receive, send)


async def _read(scope: Scope, receive: Receive) -> bytes | None:
    """Return a request's body, or None where it is too large, of which no more is read.

    Raises ClientDisconnect.
    """
    told = Headers(scope=scope).get("content-length", "")
    if told.isdecimal() and int(told) > MOST_BYTES:
        return None
    body, more = bytearray(), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MOST_BYTES:
            return None
    return bytes(body)


def _refuse(status: int, text: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": text}, status, headers)


def _shorten(body: bytes) -> str:
    """Return the reason in a refusal of MLflow's, which repeats the data before it."""
    text = body.decode(errors="replace")
    with suppress(ValueError, TypeError, KeyError):
        text = json.loads(text)["message"]
    reason = re.split(r"\sError: ", text)[-1].strip() or "refused"
    return reason.splitlines()[0][:LONGEST]
