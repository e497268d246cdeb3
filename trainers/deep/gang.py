"""Several processes that make each step together, as if they were one with all the images.

Every process has its share of a minibatch. Its loss is such that the mean over processes is the
loss of the whole minibatch; `Gang.average` makes one gradient of all. What a loss or a batch norm
needs of the others' images comes through `Gang.gather` and `Gang.mean`, which pass gradients
back to whoever they came from. So the weights are those of one process, but for rounding.

torch's DistributedDataParallel would overlap sending with the backward pass; it also wants to own
the forward call, and its buckets decide in which order gradients are summed. One sum at the end of
a step is the same on every rank and in every run.

Legend: ``W`` processes, ``b`` images of a share, ``B = W b``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

from trainers.pretraining import Seat

T = TypeVar("T")

_PATIENCE = timedelta(minutes=30)  # the executor ends a gang that has lost a member long before


@dataclass(frozen=True)
class Gang:
    """This process among those it works with."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def share(self, whole: Tensor) -> Tensor:
        """This process's rows of (B, …), the b that follow those of lower rank."""
        return whole.chunk(self.size)[self.rank] if self.size > 1 else whole

    def gather(self, share: Tensor) -> Tensor:
        """(b, …) of every process -> (B, …), in order of rank."""
        if self.size == 1:
            return share
        gathered: Tensor = _Gather.apply(share, self)
        return gathered

    def mean(self, value: Tensor) -> Tensor:
        """The mean over processes of a tensor of any shape."""
        if self.size == 1:
            return value
        summed: Tensor = _Sum.apply(value)
        return summed / self.size

    def average(self, weights: Sequence[Tensor]) -> None:
        """Replaces the gradients of `weights` by their mean over processes."""
        if self.size == 1:
            return
        grads = [weight.grad for weight in weights if weight.grad is not None]
        flat = torch.cat([grad.flatten() for grad in grads])
        distributed.all_reduce(flat)
        flat /= self.size
        parts = flat.split([grad.numel() for grad in grads])  # type: ignore[no-untyped-call]
        for grad, part in zip(grads, parts, strict=True):
            grad.copy_(part.view(grad.shape))

    def agreed(self, value: T) -> T:
        """What rank 0 has; for choices that hang on a measurement."""
        if self.size == 1:
            return value
        box: list[Any] = [value]
        distributed.broadcast_object_list(box)
        chosen: T = box[0]
        return chosen

    def synchronise(self, module: nn.Module) -> None:
        """Lets every batch norm of `module` see the images of all processes."""
        if self.size == 1:
            return
        for each in module.modules():
            if type(each) in _TOGETHER:
                each.__class__ = _TOGETHER[type(each)]  # names and weights stay as they are
                each.gang = self  # type: ignore[assignment]


ALONE = Gang()


@contextmanager
def seated(seat: Seat | None, device: str) -> Iterator[Gang]:
    """Joins the gang of a seat for as long as the block runs; without a seat there is none."""
    if seat is None or seat.size == 1:
        yield ALONE
        return
    distributed.init_process_group(
        "nccl" if device.startswith("cuda") else "gloo",
        init_method=f"file://{seat.rendezvous}",
        rank=seat.rank,
        world_size=seat.size,
        timeout=_PATIENCE,
    )
    try:
        yield Gang(seat.rank, seat.size)
    finally:
        distributed.destroy_process_group()


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, share: Tensor, gang: Gang) -> Tensor:
        ctx.gang = gang
        parts = [torch.empty_like(share) for _ in range(gang.size)]
        distributed.all_gather(parts, share.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        grad = grads[0].contiguous()
        distributed.all_reduce(grad)
        return ctx.gang.share(grad), None


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:  # noqa: ARG004 - autograd's signature
        summed = value.clone()
        distributed.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:  # noqa: ARG004
        grad = grads[0].clone()
        distributed.all_reduce(grad)
        return grad


class _TogetherMixin(nn.modules.batchnorm._BatchNorm):  # noqa: SLF001 - their common base
    """Batch norm over the images of all processes (torch's own does so on GPUs alone)."""

    gang: Gang

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        if not self.training:
            return super().forward(input)
        x = input.float()
        axes = [0, *range(2, x.dim())]
        shape = [1, -1] + [1] * (x.dim() - 2)
        mean = self.gang.mean(x.mean(axes))
        centred = x - mean.view(shape)
        var = self.gang.mean(centred.square().mean(axes))
        if self.track_running_stats:
            self._follow(mean.detach(), var.detach(), self.gang.size * x.numel() // x.shape[1])
        scaled = centred * (var + self.eps).rsqrt().view(shape)
        if self.affine:
            scaled = scaled * self.weight.view(shape) + self.bias.view(shape)
        return scaled.to(input.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, var: Tensor, count: int) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(var * count / (count - 1), self.momentum)


class _Together1d(_TogetherMixin, nn.BatchNorm1d):
    pass


class _Together2d(_TogetherMixin, nn.BatchNorm2d):
    pass


_TOGETHER: dict[type[nn.Module], type[nn.Module]] = {
    nn.BatchNorm1d: _Together1d,
    nn.BatchNorm2d: _Together2d,
}
