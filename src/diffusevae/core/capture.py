"""A function of tensors as one CUDA graph, all of whose kernels are launched at once.

Small kernels take less time than their launches; a graph has one launch for all of them.
"""

import sys
import threading
from collections import Counter
from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

Output = TypeVar("Output")
WARM_UP = 2  # calls before the one that is recorded: kernels are loaded, workspaces allocated


class Captured(Generic[Output]):
    """A function of tensors, replayed on a GPU once it has run WARM_UP times in one thread.

    The first call's tensors are copied; what later calls give is written into these copies, on
    which alone the function works. So it takes effect once in each call, be it run, or recorded and
    replayed: it may change weights. What it returns is memory of the graph, which the next call
    writes anew. It must launch the same kernels each time, and wait for none. Where it cannot be
    recorded it runs as it is, and one line says so; so it does on a CPU.

    Graphs with the same `pool` share the memory for what they need on the way; then none may run
    while another does.
    """

    def __init__(self, function: Callable[..., Output], pool: Any = None) -> None:
        self.function = function
        self.pool = pool
        self.inputs: list[Tensor] = []
        self.output: Output | None = None
        self.graph: torch.cuda.CUDAGraph | None = None
        # By thread, for each has handles of cuBLAS and cuDNN, which cannot be made in a recording.
        self.runs: Counter[int] = Counter()
        self.failed = False

    def __call__(self, *inputs: Tensor) -> Output:
        """Return what the function makes of these tensors, each of the shape that it first had."""
        if not self.inputs:
            self.inputs = [given.clone() for given in inputs]
        for mine, given in zip(self.inputs, inputs, strict=True):
            assert mine.shape == given.shape, "a captured function got another shape"
            mine.copy_(given)
        if self.inputs[0].device.type != "cuda" or self.failed:
            return self.function(*self.inputs)
        with torch.cuda.device(self.inputs[0].device):
            if self.graph is None and self.runs[threading.get_ident()] < WARM_UP:
                return self._run_aside()
            if self.graph is None:
                self._record()
            if self.graph is None:
                return self.function(*self.inputs)
            self.graph.replay()
        return self.output  # type: ignore[return-value]  # there is one when there is a graph

    def _run_aside(self) -> Output:
        """Run the function on the stream on which it will be recorded, as torch asks for."""
        aside, current = _stream(self.inputs[0].device), torch.cuda.current_stream()
        aside.wait_stream(current)
        with torch.cuda.stream(aside):
            output = self.function(*self.inputs)
        current.wait_stream(aside)
        self.runs[threading.get_ident()] += 1
        return output

    def _record(self) -> None:
        """Record the function, which runs nothing yet."""
        device = self.inputs[0].device
        graph, pool = torch.cuda.CUDAGraph(), self.pool or torch.cuda.graph_pool_handle()
        try:
            # Where recording fails the inner context does not put the old stream back.
            with (
                torch.cuda.stream(_stream(device)),
                torch.cuda.graph(graph, pool, _stream(device), capture_error_mode="thread_local"),
            ):
                self.output = self.function(*self.inputs)
        except RuntimeError as error:
            self.failed = True
            _clear_up(device, pool)
            # Ending it fails for what failed in it.
            _say("no CUDA graph", error.__context__ or error)
        else:
            self.graph = graph


def _clear_up(device: torch.device, pool: Any) -> None:
    """Undo what torch leaves where a recording fails (CUDAGraph::capture_end, which then throws).

    Its allocator would go on as if under a recording: it would give no unused memory back for want
    of memory, and let no other graph have this pool. Before 2.13 its generator would draw nothing;
    one that draws is kept, for other graphs read the seed from its state.
    """
    try:
        torch._C._cuda_endAllocateToPool(device.index, pool)
    except RuntimeError:
        pass  # the recording was ended, only what was recorded has failed
    else:
        torch._C._cuda_releasePool(device.index, pool)
    generator = torch.cuda.default_generators[device.index]
    state = generator.get_state()
    try:
        torch.rand(1, device=device)
    except RuntimeError:
        generator.graphsafe_set_state(generator.clone_state())
    generator.set_state(state)


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)


def compiled(function: Callable[..., Output]) -> Callable[..., Output]:
    """Return a function compiled by torch, anew for other shapes.

    Of kernels that round differently none is chosen by its time, for the next run may find another.
    Where the machine cannot (it lacks a C compiler, or Triton), it runs as it is, and one line says
    so; hence its gradient is compiled at once, which torch else leaves until it is asked for.
    """
    from torch._dynamo.exc import TorchDynamoException
    from torch._functorch import config

    fast = torch.compile(_copy(function), dynamic=False, options={"deterministic": True})
    can = True

    def call(*arguments: Any) -> Output:
        nonlocal can
        if can:
            try:
                with config.patch(force_non_lazy_backward_lowering=True):
                    return fast(*arguments)
            except TorchDynamoException as error:
                can = False
                _say("not compiled", error)
        return function(*arguments)

    return call


def _copy(function: Callable[..., Output]) -> Callable[..., Output]:
    """Return a function with a code object of its own; modules are left as they are.

    Torch compiles a code object eight times, for all its functions, then leaves it as it is: how
    the ninth of a process' trainings ran would depend on which of them the process began with.
    """
    if not isinstance(function, FunctionType):
        return function
    code, name = function.__code__.replace(), function.__name__
    defaults, closure = function.__defaults__, function.__closure__
    copied = FunctionType(code, function.__globals__, name, defaults, closure)
    copied.__kwdefaults__ = function.__kwdefaults__
    return copied


def _say(what: str, error: BaseException) -> None:
    reason = " ".join(str(error).split())[:200]
    print(f"{what}, steps are slower: {reason}", file=sys.stderr, flush=True)
