import json
import math
import subprocess
import sys

import pytest

from trainwright.cli.output import print_json


def test_help_loads_neither_torch_nor_numpy() -> None:
    code = (
        "import sys\nfrom trainwright.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'numpy', 'rich', 'transformers'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Commands" in done.stdout


def test_a_mistyped_command_is_told_the_nearest() -> None:
    done = subprocess.run([sys.executable, "-m", "trainwright", "trian"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "unknown command 'trian'\nhint: did you mean train?" in done.stderr


def test_json_knows_no_infinity(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"figure": (0.5, math.inf), "more": [{"x": math.nan}], "n": 1})
    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail) == {
        "figure": [0.5, None], "more": [{"x": None}], "n": 1,
    }  # fmt: skip
