"""Processes that promote a version each, all at once, round after round; says what each was told.

    MLFLOW_TRACKING_URI=... python -m tests.support.promoters 8 20

Each round all read who the champion is, wait for each other, then promote. Prints a JSON list with
a list for each round: the version that a promoter chose, and "" or what it was told.
"""

import json
import multiprocessing
import sys
import time

from diffusevae.tracking.mlflow_store import connect
from tasks.registry import champions

NAME = "toy"


def register(num_versions: int) -> None:
    """Make a registered model with versions that hold nothing."""
    client = connect()
    client.create_registered_model(NAME)
    for _ in range(num_versions):
        client.create_model_version(NAME, "s3://nowhere/model")


def promote(place: int, num_promoters: int, num_rounds: int, barrier, told) -> None:
    """Promote one of this promoter's two versions each round, whichever is not the champion."""
    for number in range(num_rounds):
        before = champions.find_champion(NAME)
        own = (str(place + 1), str(place + 1 + num_promoters))
        version = own[before == own[0]]
        barrier.wait(120)
        start = time.monotonic()
        try:
            champions.appoint(NAME, version, before, "promoted", f"round {number}")
            answer = ""
        except champions.Overtaken as error:
            answer = str(error)
        told.put((number, version, answer, time.monotonic() - start))
        barrier.wait(120)


def race(num_promoters: int, num_rounds: int) -> list[list[tuple[str, str]]]:
    """Let them race; return what is printed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mlflow", "tasks.registry.champions"])
    barrier, told = context.Barrier(num_promoters), context.Queue()
    promoters = [
        context.Process(
            target=promote, daemon=True, args=(place, num_promoters, num_rounds, barrier, told)
        )
        for place in range(num_promoters)
    ]
    for each in promoters:
        each.start()
    answers = [told.get(timeout=120) for _ in range(num_promoters * num_rounds)]
    for each in promoters:
        each.join(60)
    seconds = sorted(answer[3] for answer in answers)
    middle = seconds[len(seconds) // 2]
    print(f"an answer took {middle:.2f} s (median), at most {seconds[-1]:.2f} s", file=sys.stderr)
    return [
        [answer[1:3] for answer in answers if answer[0] == number] for number in range(num_rounds)
    ]


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    register(2 * given[0])
    print(json.dumps(race(*given)))
