"""A deep belief network: restricted Boltzmann machines trained one on top of the other (Hinton 2006)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional


class BoltzmannMachine(nn.Module):
    """Visible and hidden binary units; contrastive divergence through the free energy."""

    def __init__(self, visible: int, hidden: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.01 * torch.randn(hidden, visible))
        self.visible_bias, self.hidden_bias = nn.Parameter(torch.zeros(visible)), nn.Parameter(torch.zeros(hidden))

    def up(self, v: Tensor) -> Tensor:
        """Probabilities of the hidden units."""
        return torch.sigmoid(functional.linear(v, self.weight, self.hidden_bias))

    def free_energy(self, v: Tensor) -> Tensor:
        """Mean over the batch of -log sum over hidden states of exp(-energy)."""
        hidden = functional.softplus(functional.linear(v, self.weight, self.hidden_bias)).sum(1)
        return -(hidden + v @ self.visible_bias).mean()

    def reconstructed(self, v: Tensor) -> Tensor:
        """One step of Gibbs sampling, without gradients."""
        with torch.no_grad():
            hidden = torch.bernoulli(self.up(v))
            return torch.sigmoid(functional.linear(hidden, self.weight.t(), self.visible_bias))


class DeepBelief(nn.Module):
    """Stacked machines; each trains on what the one below makes of the data."""

    def __init__(self, widths: tuple[int, ...] = (96, 64, 48, 32)) -> None:
        super().__init__()
        self.machines = nn.ModuleList([BoltzmannMachine(a, b) for a, b in pairwise(widths)])

    def training_step(self, v: Tensor) -> Iterator[tuple[Tensor, nn.Module]]:
        """One loss for each machine, from the lowest up."""
        v = torch.sigmoid(v)
        for machine in self.machines:
            yield machine.free_energy(v) - machine.free_energy(machine.reconstructed(v)), machine
            with torch.no_grad():
                v = machine.up(v)
