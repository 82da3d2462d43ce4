"""Text to tokens: what is read, what is held out, and what is said when it cannot be."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainwright.data.order import Order, windows
from trainwright.data.text import read_documents, split_held_out
from trainwright.data.tokenizer import load_tokenizer
from trainwright.data.tokens import prepare_tokens
from trainwright.errors import DataError, InvalidInputError
from trainwright.jobs.job import TextData

PROSE = "The quick brown fox jumps over the lazy dog; naïve façades, 東京. "


def make(folder: Path, **files: Any) -> Path:
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_", ".", 1)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


@pytest.mark.parametrize("tokenizer", ["bytes", "bpe"])
def test_text_comes_back_from_its_tokens(tmp_path: Path, tokenizer: Any) -> None:
    texts = make(tmp_path / "texts", a_txt=PROSE * 20, sub__b_md="# Title\n" + PROSE * 20, c_bin=b"\xff")
    data = TextData(paths=(texts,), tokenizer=tokenizer, vocabulary=300, held_out_share=0.0)
    tokens = prepare_tokens(tmp_path / "data", data, seq=8)
    assert [Path(name).name for name, _ in tokens.documents] == ["a.txt", "b.md"]
    whole = load_tokenizer(tmp_path / "data").decode(tokens.train[: tokens.documents[1][1] - 1].tolist())
    assert whole == PROSE * 20
    assert tokens.train[tokens.documents[1][1] - 1] == tokens.end_of_text
    assert tokens.document_at(tokens.documents[1][1]).endswith("b.md")
    assert tokens.vocabulary == (256 if tokenizer == "bytes" else 300)


def test_whole_topics_are_held_out() -> None:
    documents = read_documents(TextData(builtin="python-reference"))
    train, held_out = split_held_out(documents, 0.1)
    assert {d.name for d in train} | {d.name for d in held_out} == {d.name for d in documents}
    assert not {d.name for d in train} & {d.name for d in held_out}
    share = sum(len(d.text) for d in held_out) / sum(len(d.text) for d in documents)
    assert 0.08 < share <= 0.1


def test_every_window_is_seen_once_an_epoch_in_another_order_each_time() -> None:
    order = Order(n_tokens=105, seq=10, global_batch=3, seed=5)
    assert order.per_epoch == 9
    first, second = (np.concatenate([order.starts(s) for s in range(3 * e, 3 * e + 3)]) for e in (0, 1))
    assert len(set(first)) == len(set(second)) == 9
    assert list(first) != list(second)
    assert max(*first, *second) + 10 < 105
    assert windows(np.arange(105), first, 10).shape == (9, 11)


@pytest.mark.parametrize(
    ("files", "settings", "message"),
    [
        ({"a_txt": b"caf\xe9 noir\n"}, {}, r"a\.txt is not UTF-8: byte 0xe9 at line 1 \(offset 3\)"),
        ({"a_txt": "\n  \n"}, {}, "the text is empty"),
        ({"a_bin": "x"}, {}, "no text files in"),
        ({"a_txt": "too short"}, {}, "the training text has 10 tokens, shorter than one sequence of 64"),
        ({"a_txt": PROSE * 5}, {"held_out_share": 0.1}, "the held-out text has .* tokens, shorter than one sequence"),
    ],
)
def test_text_that_cannot_be_used(tmp_path: Path, files: Any, settings: Any, message: str) -> None:
    texts = make(tmp_path / "texts", **files)
    data = TextData(paths=(texts,), **{"tokenizer": "bytes", "held_out_share": 0.0, **settings})
    with pytest.raises(DataError, match=message):
        prepare_tokens(tmp_path / "data", data, seq=64)


def test_a_file_that_is_not_there_names_its_neighbours(tmp_path: Path) -> None:
    make(tmp_path, novel_txt=PROSE)
    with pytest.raises(DataError, match=r"no such file: .*navel\.txt\nhint: .* has novel\.txt"):
        read_documents(TextData(paths=(tmp_path / "navel.txt",)))
    with pytest.raises(InvalidInputError, match="unknown built-in text 'python'"):
        read_documents(TextData(builtin="python"))


def test_tokenizers_that_cannot_be(tmp_path: Path) -> None:
    make(tmp_path, a_txt=PROSE, tokenizer_json="{}")
    small = TextData(paths=(tmp_path / "a.txt",), vocabulary=200)
    with pytest.raises(InvalidInputError, match="a BPE vocabulary of 200 cannot hold the 256 bytes"):
        prepare_tokens(tmp_path / "data", small, seq=4)
    with pytest.raises(DataError, match="no such tokenizer"):
        load_tokenizer(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"tokenizer\.json is not a tokenizer"):
        load_tokenizer(tmp_path)


def test_sources_must_stay_what_they_were(tmp_path: Path) -> None:
    texts = make(tmp_path / "texts", a_txt=PROSE * 9, b_txt=PROSE * 9)
    data = TextData(paths=(texts,), tokenizer="bytes", held_out_share=0.0)
    prepare_tokens(tmp_path / "data", data, seq=8)
    (texts / "b.txt").write_text(PROSE.replace("fox", "cat") * 9)
    with pytest.raises(DataError, match=r"b\.txt changed since the run began: \d+ bytes then and now, other content"):
        prepare_tokens(tmp_path / "data", data, seq=8)
    (texts / "b.txt").unlink()
    with pytest.raises(DataError, match=r"b\.txt was part of the data when the run began and is gone"):
        prepare_tokens(tmp_path / "data", data, seq=8)
    make(texts, b_txt=PROSE * 9, c_txt=PROSE)
    with pytest.raises(DataError, match=r"c\.txt was not part of the data when the run began"):
        prepare_tokens(tmp_path / "data", data, seq=8)
    (texts / "c.txt").unlink()
    other = TextData(paths=(texts,), tokenizer="bytes", held_out_share=0.2)
    with pytest.raises(DataError, match=r"the \[data\] settings changed since the run began"):
        prepare_tokens(tmp_path / "data", other, seq=8)
    (tmp_path / "data" / "train.npy").write_bytes(b"")
    assert len(prepare_tokens(tmp_path / "data", data, seq=8).train) > 100  # made again from the sources
