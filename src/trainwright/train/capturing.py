"""A classifier as it is trained, for capture: frozen as the job says, with its loss."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor, nn

from trainwright.capture.autocast import Autocast
from trainwright.jobs.job import Transfer
from trainwright.runtime.loss import loss_sum
from trainwright.runtime.model import logits_of, set_training
from trainwright.train.lora import adapt
from trainwright.train.transfer import freeze_for, settled_at, thaw


class WithLoss(nn.Module):
    """Images and labels to the loss, as the loop computes it."""

    def __init__(self, model: nn.Module, precision: str) -> None:
        super().__init__()
        self.model = model
        self.lowers = precision == "bf16"

    def train(self, mode: bool = True) -> WithLoss:
        """As the loop does it: frozen parts stay in evaluation."""
        super().train(mode)
        if mode:
            set_training(self.model)
        return self

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Summed cross-entropy."""
        with Autocast(torch.bfloat16) if self.lowers else nullcontext():
            return loss_sum(logits_of(self.model, images), labels)


def priced(
    model: nn.Module, transfer: Transfer | None, precision: str = "fp32", n_steps: int | None = None
) -> nn.Module:
    """The module that capture traces: one step's forward to its loss, in fp32 or bf16.

    Frozen is what the job freezes; with gradual unfreezing what is still frozen at the end of ``n_steps``, since memory
    must hold that.
    """
    if transfer is not None and transfer.lora_rank is not None:
        adapt(model, transfer.lora_rank, seed=0)
    freeze_for(model, transfer)
    thaw(model, transfer, settled_at(model, transfer, n_steps))
    return WithLoss(model, precision)
