from pathlib import Path

import pytest

pytest.importorskip("torch")

from trainwright.capture.source import load_builder
from trainwright.errors import InvalidInputError

SAMPLES = str(Path(__file__).parent / "samples.py")


def test_a_function_of_a_file_or_a_module() -> None:
    assert load_builder(f"{SAMPLES}:build")().first.in_features == 4
    assert load_builder("tests.capture.samples:build")().first.in_features == 4


@pytest.mark.parametrize(
    ("text", "says", "hint"),
    [
        ("model.py", "'model.py' names no function", "model.py:build"),
        (f"{SAMPLES}:biuld", "has no function 'biuld'", "it has build"),
        ("nowhere.py:build", "there is no file nowhere.py", "model.py:build"),
        ("no.such.module:build", "there is no module 'no.such.module'", "PYTHONPATH"),
        (f"{SAMPLES}:NOT_A_FUNCTION", "is int, not a function", "model.py:build"),
        (f"{SAMPLES}:build_sized", "needs arguments: width, depth", "return build_sized(width=..., depth=...)"),
    ],
)
def test_what_is_not_there_is_told(text: str, says: str, hint: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        load_builder(text)
    assert says in caught.value.message
    assert hint in str(caught.value.hint)


def test_a_side_effect_at_import_that_fails_is_told_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "trains.py"
    file.write_text("x = 1\nopen('/no/such/data')\ndef build(): pass\n")
    with pytest.raises(InvalidInputError, match=r"failed at .*trains.py:2: FileNotFoundError") as caught:
        load_builder(f"{file}:build")
    assert "__main__" in str(caught.value.hint)
    file.write_text("def build(:\n")
    with pytest.raises(InvalidInputError, match=r"trains.py:1: SyntaxError"):
        load_builder(f"{file}:build")
    file.write_text("raise SystemExit(1)\n")
    with pytest.raises(InvalidInputError, match="SystemExit"):
        load_builder(f"{file}:build")
