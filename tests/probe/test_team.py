import pytest

from trainwright.errors import TrainwrightError
from trainwright.probe import machine as probing
from trainwright.probe.division import Division
from trainwright.probe.team import measured, started


def test_a_process_that_fails_is_told_with_its_last_words(tmp_path):
    division = Division(device="nonsense", n_processes=1, n_threads=1)
    orders = probing._orders(division, 0, tmp_path, probing.Ask(quick=True, first=False))
    with (
        pytest.raises(TrainwrightError, match="measuring with 1 processes failed"),
        started([[orders]]) as ((member,),),
    ):
        measured([member])
    assert member.process.returncode is not None
