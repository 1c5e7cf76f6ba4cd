"""Optimizer steps that survive bad numbers and small memories, on one device or on several.

A step takes the mean gradient over a batch. The batch may be divided among processes, and each
share into parts that fit the memory: the sum of the parts' gradients is the batch's. The networks
are small, so the gradients of all processes are summed in one go after the backward pass; wrapping
them for overlapped communication does not bear the second derivatives of a gradient penalty.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils.memory import should_reduce_batch_size
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from runtime.errors import InputError

LossOf = Callable[[slice], tuple[Tensor, Mapping[str, Tensor]]]


class Descent:
    """Takes optimizer steps, and counts what went wrong on the way.

    Args:
        accelerator: The device and the other processes.
        patience: So many steps in a row may be skipped for a non-finite loss or gradient.
        micro_batch: Images of a batch that a process works on at a time; None for all of its share.
        bfloat16: Whether networks compute in bfloat16. Weights, and what a loss does outside of
            matrix products or says itself, stay float32.

    Attributes:
        skipped: Training steps of which a move was skipped, so far.
        in_a_row: Such steps since the last that was whole.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        patience: int,
        micro_batch: int | None = None,
        bfloat16: bool = False,
    ) -> None:
        self.accelerator = accelerator
        self.patience = patience
        self.micro_batch = micro_batch
        self.bfloat16 = bfloat16
        self.skipped = 0
        self.in_a_row = 0
        self._whole = True

    def down(
        self,
        optimizer: torch.optim.Optimizer,
        network: nn.Module,
        batch: int,
        loss_of: LossOf,
        clip: float = math.inf,
    ) -> dict[str, Tensor]:
        """One move: a step of an optimizer on the mean loss of a batch.

        Args:
            optimizer: Holds the parameters of `network`.
            network: What is changed.
            batch: Images, over all processes.
            loss_of: From the rows of a part of the batch to its mean loss and other figures, means
                too. The loss is reported as one of the figures where it is one of them.
            clip: Largest norm of the gradient.

        Returns:
            The figures' means over this process's share; none where the loss or its gradient was
            not finite and nothing was changed.

        Raises:
            InputError: If not even one image fits the memory.
        """
        parameters = [p for p in network.parameters() if p.requires_grad]
        loss, figures = self._gradients(optimizer, parameters, batch, loss_of)
        norm = get_total_norm([p.grad for p in parameters if p.grad is not None])
        finite = bool(torch.isfinite(norm) & torch.isfinite(loss))  # the step's one wait for a GPU
        if finite:
            if clip < math.inf:
                clip_grads_with_norm_(parameters, clip, norm)
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        self._whole = self._whole and finite
        return figures if finite else {}

    def close_step(self) -> None:
        """Count a training step, of one move or several, as whole or skipped.

        Raises:
            InputError: If `patience` steps in a row were skipped.
        """
        whole, self._whole = self._whole, True
        self.in_a_row = 0 if whole else self.in_a_row + 1
        self.skipped += not whole
        if self.in_a_row >= self.patience:
            raise InputError(
                f"the loss or its gradient was not finite in {self.in_a_row} steps in a row; lower "
                "learning_rate, or continue from the last checkpoint, which is kept, on another machine."
            )

    def anywhere(self, here: bool) -> bool:
        """Whether something is so on any of the processes."""
        if self.accelerator.num_processes == 1:
            return here
        flag = torch.tensor(float(here), device=self.accelerator.device)
        return bool(self.accelerator.reduce(flag, reduction="sum") > 0)

    def total(self, mean: Tensor, batch: int) -> float:
        """Sum over a batch of what `down` reported as the mean over this process's share."""
        share = self._share(batch)
        own = mean * (share.stop - share.start)
        if self.accelerator.num_processes > 1:
            own = self.accelerator.reduce(own, reduction="sum")
        return float(own)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, as JSON values."""
        return {"skipped": self.skipped, "in_a_row": self.in_a_row, "micro_batch": self.micro_batch}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put back what `state` gave."""
        self.skipped, self.in_a_row = state["skipped"], state["in_a_row"]
        self.micro_batch = state["micro_batch"]

    def _gradients(
        self, optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], batch: int, loss_of: LossOf
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Leave the batch's mean gradient in the parameters; return its loss, and the figures' means."""
        while True:
            try:
                loss, figures = self._own_gradients(batch, loss_of)
                break
            except RuntimeError as error:
                if not _out_of_memory(error):
                    raise
                optimizer.zero_grad(set_to_none=True)
                share = self._share(batch)
                self._shrink(share.stop - share.start)
        if self.accelerator.num_processes > 1:
            loss = self._sum_over_processes(parameters, loss)
        return loss, figures

    def _own_gradients(self, batch: int, loss_of: LossOf) -> tuple[Tensor, dict[str, Tensor]]:
        share, device = self._share(batch), self.accelerator.device
        own = share.stop - share.start
        total = torch.zeros((), device=device)
        sums: dict[str, Tensor] = {}
        for part in self._parts(share):
            weight = (part.stop - part.start) / batch
            # Not accelerate's own: it knows one precision per process, a study may have two.
            with torch.autocast(device.type, torch.bfloat16, enabled=self.bfloat16):
                loss, figures = loss_of(part)
            self.accelerator.backward(loss * weight)
            total += loss.detach() * weight
            for name, value in figures.items():
                scaled = value.detach() * ((part.stop - part.start) / own)
                sums[name] = sums[name] + scaled if name in sums else scaled
        return total, sums

    def _share(self, batch: int) -> slice:
        """The rows of this process."""
        number, count = self.accelerator.process_index, self.accelerator.num_processes
        return slice(batch * number // count, batch * (number + 1) // count)

    def _parts(self, share: slice) -> Iterator[slice]:
        size = self.micro_batch or max(1, share.stop - share.start)  # a share may be empty
        for start in range(share.start, share.stop, size):
            yield slice(start, min(start + size, share.stop))

    def _sum_over_processes(self, parameters: list[nn.Parameter], loss: Tensor) -> Tensor:
        """Leave the sums of all processes' gradients in the parameters; return that of their losses."""
        for p in parameters:
            if p.grad is None:  # the same parameters in the same order on every process
                p.grad = torch.zeros_like(p)
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([*(gradient.flatten() for gradient in gradients), loss.reshape(1)])
        total: Tensor = self.accelerator.reduce(flat, reduction="sum")
        *parts, summed = total.split([*(gradient.numel() for gradient in gradients), 1])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))  # keeps its memory format
        return summed.squeeze()

    def _shrink(self, own: int) -> None:
        """Halve the part of the batch that is worked on at a time."""
        size = min(self.micro_batch or own, own)
        if size <= 1:
            raise InputError(
                "out of memory with a single image at a time; choose a smaller image_size, fewer "
                "channels, or a larger device."
            ) from None
        self.micro_batch = size // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        print(
            f"out of memory: going on with {self.micro_batch} images at a time, same batch", file=sys.stderr
        )


def _out_of_memory(error: RuntimeError) -> bool:
    """On a GPU, which has a class for it, or on the CPU, which has only words."""
    return isinstance(error, torch.OutOfMemoryError) or bool(should_reduce_batch_size(error))
