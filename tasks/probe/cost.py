"""What a stage has to do and what that takes, and from two measured points what more would take."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """Of one stage: seconds, bytes of memory at most, bytes on the disk, and of each snapshot.

    gpu: bytes of a GPU's memory at most, 0 where none was used.
    """

    seconds: float
    memory: float
    disk: float
    snapshot: float = 0.0
    gpu: float = 0.0


@dataclass(frozen=True)
class Load:
    """What a stage has to do: images that pass a network; those it holds; snapshots it keeps."""

    work: float
    images: float
    snapshots: int = 0


def extrapolate(
    first: tuple[Load, Cost], second: tuple[Load, Cost], load: Load, image_bytes: int
) -> Cost:
    """Return the cost of `load`, told by two measured points, the second of which is larger.

    Seconds grow with the work and disk with the images, on the line through both points. Each
    further snapshot takes as much disk as the one that both have, each further image its bytes of
    memory, on a GPU too: what a network needs for a batch does not grow.
    """
    (load_a, cost_a), (load_b, cost_b) = first, second

    def follow(a: float, b: float, measure_a: float, measure_b: float, wanted: float) -> float:
        if measure_a == measure_b:
            return max(a, b)
        slope = max(0.0, (b - a) / (measure_b - measure_a))  # noise must not make more cost less
        return b + slope * (wanted - measure_b)

    disk = follow(cost_a.disk, cost_b.disk, load_a.images, load_b.images, load.images)
    gpu, more = max(cost_a.gpu, cost_b.gpu), image_bytes * (load.images - load_b.images)
    return Cost(
        follow(cost_a.seconds, cost_b.seconds, load_a.work, load_b.work, load.work),
        max(cost_a.memory, cost_b.memory) + more,
        disk + (load.snapshots - load_b.snapshots) * cost_b.snapshot,
        gpu=gpu + more if gpu else 0.0,
    )
