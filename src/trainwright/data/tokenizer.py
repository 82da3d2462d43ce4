"""Text to token ids: bytes, byte-pair encoding trained on the text, or a tokenizer file the user brings.

All three are one ``tokenizers.Tokenizer``, so that every model folder holds a tokenizer.json that others can read.
"""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

from trainwright.errors import DataError, InvalidInputError
from trainwright.jobs.job import TextData

END_OF_TEXT = "<|endoftext|>"
"""The token between documents. With bytes it is the zero byte, which text does not have."""


def make_tokenizer(data: TextData, texts: list[str]) -> Tokenizer:
    """The tokenizer a job asks for; ``texts`` are the training documents (held-out text is never looked at)."""
    if isinstance(data.tokenizer, Path):
        return load_tokenizer(data.tokenizer)
    return _bytes_tokenizer() if data.tokenizer == "bytes" else _train_bpe(texts, data.vocabulary)


def load_tokenizer(path: Path) -> Tokenizer:
    """Read a tokenizer.json, or the folder that holds one."""
    file = path / "tokenizer.json" if path.is_dir() else path
    if not file.exists():
        raise DataError(
            f"no such tokenizer: {file}", hint="give a tokenizer.json or the folder of a model that has one"
        )
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:
        raise DataError(f"{file} is not a tokenizer: {error}", hint="save it again with `tokenizers`") from error


def end_of_text_id(tokenizer: Tokenizer) -> int | None:
    """The id put between documents; None when the tokenizer has none of the usual names for it."""
    for name in (END_OF_TEXT, "</s>", "<|end_of_text|>", "<eos>", _byte_letters()[0]):
        token = tokenizer.token_to_id(name)
        if token is not None:
            return int(token)
    return None


def _train_bpe(texts: list[str], vocabulary: int) -> Tokenizer:
    if vocabulary < 257:
        raise InvalidInputError(
            f"a BPE vocabulary of {vocabulary} cannot hold the 256 bytes and {END_OF_TEXT}",
            hint='make data.vocabulary at least 257, or use tokenizer = "bytes"',
        )
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    trainer = BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _bytes_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(BPE(vocab={letter: byte for byte, letter in enumerate(_byte_letters())}, merges=[]))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = ByteLevelDecoder()
    return tokenizer


def _byte_letters() -> list[str]:
    """The printable letter that byte-level BPE writes for each byte (GPT-2's table, Radford et al. 2019).

    >>> letters = _byte_letters()
    >>> letters[ord("a")], letters[ord(" ")], len(set(letters))
    ('a', 'Ġ', 256)
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    letters = {byte: chr(byte) for byte in printable}
    others = (byte for byte in range(256) if byte not in letters)
    letters.update({byte: chr(256 + i) for i, byte in enumerate(others)})
    return [letters[byte] for byte in range(256)]
