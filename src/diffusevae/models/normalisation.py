"""Group normalisation that reads and writes its images as seldom as it can."""

from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# A group of fewer channels is slow in torch's own GroupNorm on a CPU where the channels lie last,
# its forward pass only below so many positions (`python -m benchmarks layers`).
NARROW, MANY_POSITIONS = 8, 1024


class GroupNorm(nn.GroupNorm):
    """torch's GroupNorm (Wu and He, 2018), by sums and products where torch's own is slow.

    That is in channels-last, on a CPU for groups of few channels, on a GPU for all: torch's own
    copies there to channels-first and to float32, and what follows copies back. Under autocast ours
    takes and returns bfloat16, all sums being float32. The results are the same up to rounding. A
    compiled network has torch's, which the compiler fuses without copies.
    """

    def forward(self, x: Tensor) -> Tensor:
        narrow = x.dtype == torch.float32 and self.num_channels // self.num_groups < NARROW
        slow = narrow if x.device.type == "cpu" else x.device.type == "cuda"
        last = x.is_contiguous(memory_format=torch.channels_last)
        if torch.compiler.is_compiling() or not slow or not last:
            return super().forward(x)
        # Of bfloat16 autocast would make float32 before each sum.
        as_it_is = torch.autocast(x.device.type, enabled=False)
        with nullcontext() if x.dtype == torch.float32 else as_it_is:
            return SumNorm.apply(x, self.weight, self.bias, self.num_groups, self.eps)


class SumNorm(torch.autograd.Function):
    """y = weight (x - mean) rstd + bias, mean and rstd being those of an image's group.

    x and y are channels-last, float32 or bfloat16, all else is float32. Below, what belongs to a
    group is B x G x 1, what belongs to a channel B x G x C / G.
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> Tensor:
        positions = x.shape[2:].numel()
        if x.device.type == "cpu" and x.dtype == torch.float32 and positions >= MANY_POSITIONS:
            y, mean, rstd = torch.native_group_norm(
                x, weight, bias, x.shape[0], x.shape[1], positions, groups, eps
            )
            mean, rstd = mean[:, :, None], rstd[:, :, None]
        else:
            rows = _to_rows(x)
            n = positions * x.shape[1] // groups
            mean, power = (
                _split(sums, groups).sum(2, keepdim=True).div_(n)
                for sums in (rows.sum(1, dtype=torch.float32), _sum_squares(rows))
            )
            rstd = torch.addcmul(power, mean, mean, value=-1).clamp_(min=0).add_(eps).rsqrt_()
            scale = rstd * _split(weight, groups)
            shift = torch.addcmul(_split(bias, groups), mean, scale, value=-1)
            y = _to_images(_addcmul(_join(shift), rows, _join(scale)), x)
        ctx.save_for_backward(x, weight, mean, rstd)
        ctx.groups = groups
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, rstd = ctx.saved_tensors
        rows, dy = _to_rows(x), _to_rows(gradient)
        n = x[0].numel() // ctx.groups
        weight = _split(weight, ctx.groups)
        dy_sum = _split(dy.sum(1, dtype=torch.float32), ctx.groups)
        dy_rows_sum = _split(_sum_products(dy, rows), ctx.groups)
        dy_normed_sum = rstd * torch.addcmul(dy_rows_sum, mean, dy_sum, value=-1)
        # dx = rstd (w dy - mean(w dy) - normed mean(w dy normed)), means over the group; normed
        # is (x - mean) rstd. As a polynomial in dy and x that is two passes over the images.
        of_dy, of_dy_normed = (
            (weight * sums).sum(2, keepdim=True).div_(n) for sums in (dy_sum, dy_normed_sum)
        )
        by_x = -rstd * rstd * of_dy_normed
        constant = -torch.addcmul(rstd * of_dy, mean, by_x)
        by_x, constant = (_join(each.expand_as(dy_sum)) for each in (by_x, constant))
        part = torch.addcmul(constant, dy, _join(rstd * weight))
        dx = _addcmul(part, rows, by_x, part if part.dtype == rows.dtype else None)
        return (
            _to_images(dx, x),
            dy_normed_sum.sum(0).flatten(),
            dy_sum.sum(0).flatten(),
            None,
            None,
        )


def _to_rows(x: Tensor) -> Tensor:
    """Return images B x C x h x w as B x (h w) x C: the same memory where the channels lie last."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def _to_images(rows: Tensor, like: Tensor) -> Tensor:
    return rows.unflatten(1, like.shape[2:]).permute(0, 3, 1, 2)


def _sum_squares(rows: Tensor) -> Tensor:
    """Return the sums over positions, B x C, in float32."""
    if rows.dtype == torch.float32:
        return (rows * rows).sum(1)
    return torch.linalg.vector_norm(rows, dim=1, dtype=torch.float32).square()


def _sum_products(dy: Tensor, rows: Tensor) -> Tensor:
    """Return the sums over positions, B x C, of float32 products."""
    if rows.dtype == torch.float32:
        return (dy * rows).sum(1)
    zeros = torch.zeros_like(rows[:, :1], dtype=torch.float32)
    return torch.addcmul(zeros, dy, rows).sum(1)


def _addcmul(constant: Tensor, rows: Tensor, by: Tensor, out: Tensor | None = None) -> Tensor:
    """Return constant + rows by in the dtype of rows, rounded once."""
    return torch.addcmul(constant, rows, by, out=torch.empty_like(rows) if out is None else out)


def _split(of_channels: Tensor, groups: int) -> Tensor:
    return of_channels.unflatten(-1, (groups, -1))


def _join(of_channels: Tensor) -> Tensor:
    """Return B x G x C / G as B x 1 x C, to go with rows."""
    return of_channels.flatten(1)[:, None]


def group_norm(channels: int) -> GroupNorm:
    """GroupNorm with min(8, channels) groups."""
    return GroupNorm(min(8, channels), channels)
