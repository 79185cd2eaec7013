"""Many requests at once to a served model: few at work, a bounded number waiting, none lost."""

import asyncio
import json

import pytest

from flows import serve

JSON = [(b"content-type", b"application/json")]


class Model:
    """In the model's place: it answers when told, and knows how many it was asked at once."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.at_once = self.most = self.asked = 0

    async def __call__(self, scope, receive, send) -> None:
        self.asked += 1
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await self.gate.wait()
        self.at_once -= 1
        await serve.JSONResponse((await receive())["body"].decode())(scope, receive, send)


class Client:
    """One request, answered or not yet."""

    def __init__(self, app, path: str = serve.PREDICT, messages: list[dict] | None = None) -> None:
        body = {"type": "http.request", "body": b"{}", "more_body": False}
        self.messages = [body] if messages is None else messages
        self.sent: list[dict] = []
        scope = {"type": "http", "method": "POST", "path": path, "headers": JSON}
        self.task = asyncio.create_task(app(scope, self.receive, self.send))

    async def receive(self) -> dict:
        if not self.messages:
            await asyncio.Event().wait()  # a client that sends nothing more
        return self.messages.pop(0)

    async def send(self, message: dict) -> None:
        self.sent.append(message)

    async def status(self) -> int:
        await asyncio.wait_for(self.task, 60)
        return self.sent[0]["status"]


async def settle() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


def test_few_are_at_work_the_others_wait_and_one_too_many_is_told_when_to_ask():
    async def play() -> None:
        model = Model()
        app = serve.Queue(serve.OneLine(model))
        clients = [Client(app) for _ in range(serve.AT_WORK + serve.WAITING)]
        await settle()
        assert model.asked == serve.AT_WORK
        assert sum(bool(client.messages) for client in clients) == serve.WAITING  # bodies unread
        late = Client(app)
        assert await late.status() == 503
        assert dict(late.sent[0]["headers"])[b"retry-after"] == str(serve.SOON).encode()
        [line] = json.loads(late.sent[1]["body"]).values()
        assert line == "2 requests are at work and 62 wait; ask again in 5 s"
        health = Client(app, "/ping")
        await settle()
        assert model.asked == serve.AT_WORK + 1  # which waits for nobody
        model.gate.set()
        assert {await client.status() for client in [*clients, health]} == {200}
        assert model.most == serve.AT_WORK + 1

    asyncio.run(play())


@pytest.mark.parametrize("messages", [[{"type": "http.disconnect"}], []])
def test_a_client_that_is_gone_or_sends_nothing_leaves_its_place(messages, monkeypatch):
    monkeypatch.setattr(serve, "FOR_A_BODY", 0.05)

    async def play() -> None:
        model = Model()
        model.gate.set()
        app = serve.Queue(serve.OneLine(model))
        bad = [Client(app, messages=[*messages]) for _ in range(2 * serve.AT_WORK)]
        assert await Client(app).status() == 200 and model.asked == 1
        for client in bad:
            await client.task
            assert client.sent == [] if messages else client.sent[0]["status"] == 408

    asyncio.run(play())
