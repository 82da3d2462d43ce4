"""Joules of a step: the power a device draws while it computes, moves bytes, talks and waits."""

from __future__ import annotations

from trainwright.cost.estimate import Estimate
from trainwright.hardware.device import Device
from trainwright.units import Number

IDLE_SHARE = 0.25
"""Share of the board power drawn while waiting, with a context loaded. H100 SXM: 70 W empty, 120 to 190 W between
kernels of 700 W (Samsi et al., arXiv:2310.03003; Patel et al., "Characterizing power in LLM clusters", ASPLOS 2024)."""

BUSY_SHARE = {
    "forward": 0.90, "backward": 0.95, "recompute": 0.90, "head_loss": 0.85, "optimizer": 0.60,
}  # fmt: skip
"""Share of the board power while computing. Training saturates it in wide products (ASPLOS 2024, figure 4: peaks at
the limit, dips at the end of every iteration); memory-bound updates draw less."""

TALK_SHARE = 0.45
"""Share while only collectives run (ASPLOS 2024, figure 4: the troughs between iterations)."""

HOST_SHARE = 0.35
"""Host, network and fans on top of the boards: a DGX H100 of 8 x 700 W is rated 10.2 kW, of which 5.6 kW are GPUs, and
draws some 35 % beyond them in training (NVIDIA DGX H100 user guide; MLPerf power submissions v4.0)."""


def step_joules(estimate: Estimate, device: Device) -> Number | None:
    """Joules of one step over all devices, hosts included; None where nobody knows the device's power.

    sum over parts of seconds * power share, times power and devices, times 1 + HOST_SHARE. Ignores clocks that fall
    when a rack is hot, and cooling outside the rack.
    """
    if device.power_w is None:
        return None
    total: Number = 0.0
    for part, seconds in estimate.time.items():
        share = BUSY_SHARE.get(part, TALK_SHARE if part.endswith("communication") else IDLE_SHARE)
        total = total + seconds * share
    return total * device.power_w * estimate.n_devices * (1.0 + HOST_SHARE)
