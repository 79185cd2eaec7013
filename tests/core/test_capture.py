"""A captured function does what it does as it is, in each of its calls."""

import pytest
import torch
from torch import nn
from torch._dynamo.exc import BackendCompilerFailed

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


def test_a_compiled_function_s_own_failure_is_raised(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    with pytest.raises(torch.OutOfMemoryError):
        compiled(run_out)()


def run_out():
    raise torch.OutOfMemoryError("of 80 GiB")
