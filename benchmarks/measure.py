"""Sides that take turns, so that other work on the machine slows all of them alike.

A side's run returns the seconds that one item took (an image, a stage, a table). A ratio is taken
within each turn; of ratios and seconds the median, the least and the greatest are told.
"""

import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch

from benchmarks.networks import Cost


@dataclass(frozen=True)
class Side:
    """One of those compared: its name, what runs it once, and what one item costs."""

    name: str
    run: Callable[[], float]
    cost: Cost | None = None


@dataclass(frozen=True)
class Spread:
    """Median, least and greatest of n values."""

    median: float
    least: float
    greatest: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Return the spread of these values."""
        return cls(statistics.median(values), min(values), max(values), len(values))

    def __str__(self) -> str:
        return f"{self.median:.4g} [{self.least:.4g}, {self.greatest:.4g}]"


Ratios = dict[str, Spread]
Turns = dict[str, list[float]]  # each side's seconds, one for each turn


def clock(device: torch.device) -> float:
    """Return the time in seconds when all work given to the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def time_call(call: Callable[[], object], device: torch.device) -> float:
    """Return the seconds that a call takes."""
    start = clock(device)
    call()
    return clock(device) - start


def take_turns(sides: Sequence[Side], repeats: int, warm_up: int = 1) -> Turns:
    """Run the sides A B C A B C ... and return their seconds, the first turns left out."""
    turns = [[side.run() for side in sides] for _ in range(warm_up + repeats)][warm_up:]
    return {side.name: [turn[i] for turn in turns] for i, side in enumerate(sides)}


@contextmanager
def processes(names: Sequence[str]) -> Iterator[dict[str, Callable]]:
    """Give each name a process of its own, in which it calls functions (of modules, by pickle).

    So none runs with what another has set: the product, for one, keeps freed memory.
    """
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        pools = {name: stack.enter_context(context.Pool(1)) for name in names}
        for pool in pools.values():  # ends in good order, or it leaves its semaphores behind
            stack.callback(pool.join)
            stack.callback(pool.close)
        yield {
            name: lambda function, *arguments, pool=pool: pool.apply(function, arguments)
            for name, pool in pools.items()
        }


def divide(a: Sequence[float], b: Sequence[float]) -> Spread:
    """Return the spread of a / b, taken turn by turn."""
    return Spread.of([x / y for x, y in zip(a, b, strict=True)])


def fastest(turns: Turns, names: Sequence[str]) -> str:
    """Return which of these sides has the least median."""
    return min(names, key=lambda name: statistics.median(turns[name]))


def show_sides(title: str, item: str, sides: Sequence[Side], turns: Turns) -> None:
    """Print the sides as a table: seconds of an item, items a second, sizes, the rate reached."""
    n = len(next(iter(turns.values())))
    sized = any(side.cost is not None for side in sides)
    rows = [
        ("", f"ms for one {item}", f"{item}s a second")
        + (("parameters", "MFLOP", "GFLOP/s") if sized else ())
    ]
    for side in sides:
        seconds = turns[side.name]
        cells = [
            side.name,
            Spread.of([1000 * s for s in seconds]),
            f"{1 / statistics.median(seconds):.4g}",
        ]
        if side.cost is not None:
            rate = side.cost.flops / statistics.median(seconds) / 1e9
            cells += [f"{side.cost.parameters:,}", f"{side.cost.flops / 1e6:.1f}", f"{rate:.1f}"]
        rows.append(cells)
    show_table(f"{title} (n = {n})", rows)


def show_ratios(ratios: Ratios, targets: Mapping[str, str]) -> None:
    """Print the ratios as a table, each with what is asked of it."""
    rows = [("", "median [least, greatest]", "n", "target")]
    rows += [(name, ratio, ratio.n, targets.get(name, "")) for name, ratio in ratios.items()]
    show_table("Ratios", rows)


def show_table(title: str, rows: Sequence[Sequence[object]]) -> None:
    """Print rows, the first of which names the columns, so that Markdown can read them."""
    head, *rest = [[str(cell) for cell in row] for row in rows]
    print(f"\n{title}\n")
    for row in (head, ["---"] * len(head), *rest):
        print(f"| {' | '.join(row)} |", flush=True)
