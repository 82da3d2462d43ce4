import pytest

from trainwright.cost.intensity import standings
from trainwright.cost.stack import stack
from trainwright.hardware.parse import parse_cluster
from trainwright.jobs.job import Workload
from trainwright.jobs.strategy import Strategy
from trainwright.models.catalogue import model


def test_products_stand_under_the_roof_at_their_intensity():
    group = parse_cluster("8xH100-SXM").groups[0]
    strategy = Strategy(dp=8, micro_batch=2, precision="bf16")
    found = standings(model("llama-3-8b"), Workload(global_batch=64, seq=4096), strategy, group, stack("torchtitan"))
    down = next(one for one in found if one.name == "mlp_out")
    m, n, k = 2 * 4096, 4096, 14336
    assert down.flop_per_byte == pytest.approx(2 * m * n * k / (2 * (m * n + n * k + m * k)))
    for one in found:
        assert (
            0
            < one.flop_per_s
            < min(group.device.flop_per_s["bf16"], one.flop_per_byte * group.device.memory_bytes_per_s)
        )
