"""Where the formula of each part comes from: what `trainwright cite` lists."""

from __future__ import annotations

SOURCES = {
    "forward": "roofline: Williams et al., CACM 52(4), 2009; waves: Lee et al., ASPLOS 2025 (arXiv:2407.13853)",
    "backward": "two products for every forward one: Narayanan et al., SC21 (arXiv:2104.04473), appendix",
    "recompute": "Chen et al., arXiv:1604.06174; selective: Korthikanti et al., arXiv:2205.05198",
    "head_loss": "Yeung et al., vocabulary parallelism, arXiv:2411.05288",
    "optimizer": "bytes of states: Rajbhandari et al., ZeRO, SC20 (arXiv:1910.02054)",
    "tp_communication": "Shoeybi et al., arXiv:1909.08053; sequence parallel: Korthikanti et al., arXiv:2205.05198",
    "cp_communication": "ring: Liu et al., arXiv:2310.01889; all-to-all: Jacobs et al., arXiv:2309.14509",
    "ep_communication": "Lepikhin et al., GShard, arXiv:2006.16668",
    "dp_communication": "Patarasuk and Yuan, JPDC 69(2), 2009; Zhao et al., FSDP, VLDB 2023 (arXiv:2304.11277)",
    "pp_communication": "Narayanan et al., SC21 (arXiv:2104.04473), section 3.2",
    "bubble": "Huang et al., GPipe, arXiv:1811.06965; Narayanan et al., SC21; Qi et al., zero bubble, arXiv:2401.10241",
    "dispatch": "Fernandez et al., the framework tax, EMNLP 2023 (arXiv:2302.06117)",
    "data": "samples made on the cores that compute, as tried; on accelerators behind compute",
    "offload": "Ren et al., ZeRO-Offload, USENIX ATC 2021 (arXiv:2101.06840)",
}
"""One line a part of Estimate.time."""
