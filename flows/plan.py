"""What an experiment will take, before it is run.

Its stages are tried on a few images (`tasks.probe`).
"""

from collections.abc import Mapping

from diffusevae.core.disk import megabytes
from diffusevae.experiments.experiment import load_experiment
from tasks.probe.cost import Cost
from tasks.probe.networks import memory_of_steps
from tasks.probe.prediction import predict
from tasks.probe.trial_checkout import make_variables
from tasks.probe.warm_process import WarmProcess

ROW = "{:<34}{:>12}{:>14}{:>12}"


def plan(name: str) -> None:
    """Print time, memory and disk of each stage and of all, and what it takes of a GPU.

    Raises InputError and others.
    """
    with WarmProcess(make_variables()) as stages:  # it imports while params.yaml is looked at
        experiment = load_experiment(name)
        costs, shape = predict(experiment, stages, lambda text: print(f"trying {text}", flush=True))
    print("\n" + ROW.format("stage", "time", "memory, MB", "disk, MB"))
    for target, cost in costs.items():
        print(describe(target, cost))
    total = Cost(
        sum(cost.seconds for cost in costs.values()),
        max(cost.memory for cost in costs.values()),
        sum(cost.disk for cost in costs.values()),
    )
    print(describe("all", total))
    print(describe_gpu(costs) or describe_no_gpu(memory_of_steps(experiment, shape)))
    print("The flow adds its start and a few seconds a stage; a search that prunes takes less.")


def describe(name: str, cost: Cost) -> str:
    """Return a row of the table."""
    return ROW.format(name, duration(cost.seconds), megabytes(cost.memory), megabytes(cost.disk))


def describe_gpu(costs: Mapping[str, Cost]) -> str | None:
    """Return what was seen of the GPU that the stages ran on; None where they ran on none."""
    target, cost = max(costs.items(), key=lambda item: item[1].gpu)
    if not cost.gpu:
        return None
    seconds = sum(each.seconds for each in costs.values() if each.gpu)
    return (
        f"GPU: {megabytes(cost.gpu)} MB of its memory at most, by {target}; {duration(seconds)} of "
        "the time is that of stages on it."
    )


def describe_no_gpu(memory: Mapping[str, float]) -> str:
    """Return what can be told without one: the computed memory of a training's step."""
    steps = " and ".join(f"{megabytes(taken)} MB ({kind})" for kind, taken in memory.items())
    return (
        f"GPU: none here, so no time with one is told; a step of training would hold about {steps} "
        "in float32, less in bfloat16."
    )


def duration(seconds: float) -> str:
    """Return seconds in the two units that a person would use."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
