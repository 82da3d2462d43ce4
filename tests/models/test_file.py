import json
from pathlib import Path

import pytest

from trainwright.errors import InvalidInputError
from trainwright.models.catalogue import model
from trainwright.models.file import load_model, save_model


@pytest.mark.parametrize("name", ["llama-3-8b", "mixtral-8x7b", "bert-base"])
def test_a_model_survives_its_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    save_model(model(name), path)
    assert load_model(path) == model(name)
    assert model(str(path)) == model(name)


def test_files_that_hold_no_model(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    save_model(model("llama-3-8b"), path)
    good = json.loads(path.read_text())
    for text, says in [
        ("{", "is not JSON"),
        ("[]", "holds no captured model"),
        (json.dumps({**good, "schema_version": 9}), "schema version 9, this Trainwright reads 1"),
        (json.dumps({**good, "blocks": [{"name": "x"}]}), "not a whole captured model: 'ops'"),
    ]:
        path.write_text(text)
        with pytest.raises(InvalidInputError, match=says) as caught:
            load_model(path)
        assert caught.value.hint
    with pytest.raises(InvalidInputError, match="there is no"):
        load_model(tmp_path / "absent.json")
    with pytest.raises(InvalidInputError, match="cannot write"):
        save_model(model("llama-3-8b"), path / "no" / "folder.json")
