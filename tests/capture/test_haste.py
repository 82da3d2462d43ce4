import subprocess
import sys

SCRIPT = """
import sys
from trainwright.capture.haste import make_haste
make_haste()
import torch
from scipy.optimize import linear_sum_assignment
assert torch._dynamo.disable(len) is len and torch._dynamo.allow_in_graph(len) is len
assert "torch._dynamo.config" not in sys.modules and "scipy.optimize._lsap" not in sys.modules
rows, columns = linear_sum_assignment([[1, 2], [0, 3]])
assert list(columns) == [1, 0]
from scipy.optimize import minimize
import scipy.optimize
assert scipy.optimize.minimize is minimize
assert torch._dynamo.config.verbose in (True, False)
"""


def test_what_stands_in_for_compiler_and_solvers_hands_over_when_asked_for_more():
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, timeout=120)
