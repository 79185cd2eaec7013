"""A captured function does what it does as it is, in each of its calls."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch._dynamo.backends.common import aot_autograd
from torch._dynamo.exc import BackendCompilerFailed

from diffusevae.core import capture
from diffusevae.core.capture import WARM_UP, Captured, compiled

DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
    ),
]


@pytest.mark.parametrize("device", DEVICES)
def test_each_call_takes_effect_once_on_what_it_is_given(device):
    total = torch.zeros(3, device=device)

    def add(x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
        total.add_(factor * x)
        return 2 * total

    captured, expected = Captured(add), torch.zeros(3)
    for call in range(WARM_UP + 3):
        x = torch.arange(3.0) + call
        doubled = captured(x.to(device), torch.full((1,), 2.0, device=device))
        expected += 2 * x
        assert torch.equal(total.cpu(), expected) and torch.equal(doubled.cpu(), 2 * expected)
    assert (captured.graph is not None) == (device == "cuda")


def test_what_is_given_keeps_its_memory_format_and_is_left_alone():
    seen = []
    captured = Captured(lambda x: seen.append(x.stride()) or x.add_(1))
    x = torch.zeros(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    assert torch.equal(captured(x), x + 1) and not x.any()
    assert seen == [x.stride()]
    with pytest.raises(AssertionError, match="another shape"):
        captured(x[:1])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_function_that_waits_for_the_gpu_runs_as_it_is(capsys):
    captured = Captured(lambda x: nn.functional.dropout(x * float(x.sum())))
    x = torch.ones(3, device="cuda")
    for _ in range(WARM_UP + 3):
        assert set(captured(x).tolist()) <= {0.0, 6.0}
    assert capsys.readouterr().err.count("no CUDA graph, steps are slower") == 1


class Told(torch.Tensor):
    """A tensor on the CPU that says it is on a GPU."""

    @property
    def device(self):
        return torch.device("cuda", 0)


@pytest.fixture
def told_gpu(monkeypatch):
    """Say that there is a GPU, which records nothing; return what is done to its allocator."""
    stream, done = SimpleNamespace(wait_stream=lambda other: None), []

    @contextmanager
    def record(graph, pool, *_, **__):
        done.append(("begin", pool))
        try:
            yield
        finally:  # torch's own ends with an error of its own, after one in what it records
            raise RuntimeError("the recording is invalid")

    for name, stand_in in {
        "CUDAGraph": object,
        "graph": record,
        "graph_pool_handle": lambda: (0, 1),
        "device": lambda device: nullcontext(),
        "stream": lambda stream: nullcontext(),
        "current_stream": lambda: stream,
        "default_generators": (torch.default_generator,),
    }.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    for name in ("end", "release"):
        of_torch = {"end": "_cuda_endAllocateToPool", "release": "_cuda_releasePool"}[name]
        monkeypatch.setattr(
            torch._C, of_torch, lambda _, pool, name=name: done.append((name, pool))
        )
    monkeypatch.setattr(capture, "_stream", lambda device: stream)
    rand = torch.rand
    monkeypatch.setattr(torch, "rand", lambda *shape, device: rand(*shape))
    return done


def test_where_recording_fails_each_call_still_takes_effect_once(told_gpu, capsys):
    total, x = torch.zeros(3), torch.ones(3)

    def add(x: torch.Tensor) -> torch.Tensor:
        if told_gpu and told_gpu[-1][0] == "begin":
            raise RuntimeError("waits for the\nGPU")
        return nn.functional.dropout(total.add_(x))

    captured = Captured(add)
    for call in range(1, WARM_UP + 4):
        torch.manual_seed(call)
        expected = nn.functional.dropout(call * x)
        torch.manual_seed(call)
        assert torch.equal(captured(x.as_subclass(Told)).as_subclass(torch.Tensor), expected)
    assert told_gpu == [("begin", (0, 1)), ("end", (0, 1)), ("release", (0, 1))]
    assert capsys.readouterr().err == "no CUDA graph, steps are slower: waits for the GPU\n"


def test_a_recording_that_was_ended_is_not_ended_again(told_gpu, monkeypatch):
    """So it is where the memory does not do: what was recorded until then is a graph."""

    def fail(*_):
        raise RuntimeError("not currently recording to mempool_id")

    monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", fail)
    captured = Captured(lambda x: 2 * x, (0, 7))
    for _ in range(WARM_UP + 1):
        assert torch.equal(captured(torch.ones(3).as_subclass(Told)), 2 * torch.ones(3))
    assert captured.failed and told_gpu == [("begin", (0, 7))]


def test_a_thread_records_what_it_has_run_itself_to_the_end(told_gpu):
    """Each thread has its own handles of libraries, made when it needs them, not in a recording."""
    failing = iter([True, False, False])

    def double(x: torch.Tensor) -> torch.Tensor:
        if next(failing, False):
            raise torch.OutOfMemoryError("of 80 GiB")
        return 2 * x

    captured, x = Captured(double), torch.ones(3).as_subclass(Told)
    with pytest.raises(torch.OutOfMemoryError):
        captured(x)
    for _ in range(WARM_UP):
        captured(x)
    with ThreadPoolExecutor(1) as pool:
        for _ in range(WARM_UP):
            pool.submit(captured, x).result()
    assert not told_gpu
    captured(x)
    assert told_gpu


def test_any_number_of_functions_with_one_code_is_compiled(monkeypatch):
    compile_, graphs = torch.compile, []

    def trace(function, **_):
        return compile_(function, dynamic=False, backend=lambda g, _: graphs.append(g) or g.forward)

    def add(x: torch.Tensor) -> torch.Tensor:
        return x + 1

    monkeypatch.setattr(torch, "compile", trace)
    for count in range(1, 11):
        assert torch.equal(compiled(add)(torch.ones(count)), torch.full((count,), 2.0))
    assert len(graphs) == 10


def test_what_cannot_be_compiled_runs_as_it_is(monkeypatch, capsys):
    def fail(function, **_):
        def call(*_):
            raise BackendCompilerFailed(function, RuntimeError("no C compiler\nwas found"), None)

        return call

    monkeypatch.setattr(torch, "compile", fail)
    double = compiled(lambda x: 2 * x)
    assert [double(x) for x in (1, 2)] == [2, 4]
    said = capsys.readouterr().err
    assert said.startswith("not compiled, steps are slower: ") and said.count("\n") == 1


def test_what_has_a_gradient_that_cannot_be_compiled_runs_as_it_is(monkeypatch, capsys):
    """Torch compiles the gradient when it is asked for, unless it is told to do so at once."""

    def fail(*_):
        raise BackendCompilerFailed(fail, RuntimeError("no memory to compile in"), None)

    compile_ = torch.compile
    backend = aot_autograd(fw_compiler=lambda graph, _: graph, bw_compiler=fail)
    monkeypatch.setattr(torch, "compile", lambda f, **_: compile_(f, backend=backend))
    weight = torch.ones(3, requires_grad=True)
    square = compiled(lambda x: (weight * x).square().sum())
    for _ in range(2):
        square(torch.ones(3)).backward()
    assert torch.equal(weight.grad, torch.full((3,), 4.0))
    assert capsys.readouterr().err.count("not compiled, steps are slower") == 1


def test_a_compiled_function_s_own_failure_is_raised(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    with pytest.raises(torch.OutOfMemoryError):
        compiled(run_out)()


def run_out():
    raise torch.OutOfMemoryError("of 80 GiB")
