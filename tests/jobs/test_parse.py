import json
from pathlib import Path

import pytest

from trainwright.errors import InvalidInputError
from trainwright.jobs.keys import KEYS
from trainwright.jobs.parse import example_job, load_job, parse_job
from trainwright.jobs.store import job_from_dict, job_to_dict

GOOD = """name = "mine"
[model]
layers = 2
hidden = 64
heads = 4
[data]
text = "book.txt"
[training]
global_batch = 8
sequence = 128
tokens = "2M"
"""


def test_the_example_parses_and_survives_json() -> None:
    job = example_job()
    assert job.model.shape is not None
    assert job.data.builtin == "python-reference"
    again = job_from_dict(job_to_dict(job))
    assert job_to_dict(again) == job_to_dict(job)


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "job.toml").write_text(GOOD)
    job = load_job(tmp_path / "job.toml")
    assert job.data.paths == (tmp_path / "book.txt",)
    assert job.stopping.tokens == 2_000_000
    (tmp_path / "photos.toml").write_text(
        '[model]\npreset = "small-cnn"\n[data]\nimages = "photos"\n[training]\nglobal_batch = 4\nepochs = 1\n'
    )
    monkeypatch.chdir(tmp_path)
    images = load_job(Path("photos.toml"))
    assert images.images is not None
    assert images.images.source == tmp_path / "photos"
    assert job_from_dict(job_to_dict(images)).images == images.images  # as a run compares them


def test_a_job_that_makes_its_inputs_up(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("")
    text = """[model]
function = "net.py:build"
[data]
example = ["x=float32[batch,3,8,8]", "int64[batch]<10"]
[training]
global_batch = 8
steps = 3
"""
    (tmp_path / "job.toml").write_text(text)
    job = load_job(tmp_path / "job.toml")
    assert job.model.function == f"{tmp_path / 'net.py'}:build"
    assert [each.shape(8, job.seq) for each in job.example] == [(8, 3, 8, 8), (8,)]
    assert job_from_dict(job_to_dict(job)).example == job.example
    for wrong, says in (
        ('example = ["float32[batch,3,8,8"]', r"job.toml:4: .* is not an input; write it like"),
        ('example = ["int64[batch,seq]"]', "training.sequence is missing"),
        ('example = ["float32[batch]"]\ntext = "a"', r"\[data\] needs either"),
    ):
        with pytest.raises(InvalidInputError, match=says):
            parse_job(text.replace('example = ["x=float32[batch,3,8,8]", "int64[batch]<10"]', wrong), "job.toml")
    with pytest.raises(InvalidInputError, match=r"no stopping rule: give training\.steps"):
        parse_job(text.replace("steps = 3", ""), "job.toml")
    with pytest.raises(InvalidInputError, match=r"data\.example is for model\.function"):
        parse_job(text.replace('function = "net.py:build"', 'preset = "gpt2"'), "job.toml")


def test_all_problems_come_together_each_with_its_line() -> None:
    text = GOOD.replace("global_batch = 8", "global_bacth = 8").replace("heads = 4", "heads = 5")
    text += '[optimizer]\nlearning_rate = "fast"\nname = "adamww"\n'
    with pytest.raises(InvalidInputError) as caught:
        parse_job(text, "job.toml")
    message = caught.value.message
    assert message.startswith("4 problems in the job file")
    assert "job.toml:9: unknown key training.global_bacth; did you mean training.global_batch?" in message
    assert "job.toml:5: model.hidden 64 does not divide into 5 heads; 4 would" in message
    assert "job.toml:13: optimizer.learning_rate = 'fast' must be a number above 0, without quotes" in message
    assert "job.toml:14: optimizer.name = 'adamww' must be one of sgd, adam, adamw" in message
    assert "did you mean adamw?" in message


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('tokens = "2M"\n', "", "no stopping rule"),
        ("sequence = 128\n", "", "training.sequence is missing"),
        ("sequence = 128", "sequence = 1", "must be a whole number of at least 2"),
        ("layers = 2\n", "", "a model shape needs layers too"),
        ("layers = 2", 'preset = "gpt2"', "needs a preset, huggingface, function or a shape, and has preset, hidden"),
        ('text = "book.txt"\n', "", "needs either text"),
        ('tokens = "2M"', 'tokens = "2 cats"', "must be a number; use a plain number or k, M, B, T"),
        ("heads = 4", "heads = 4\nkv_heads = 3", "model.heads 4 is not a multiple of kv_heads 3"),
        ("layers = 2", "layers = 2\nsteps = 10", "did you mean training.steps?"),
        ('text = "book.txt"', 'text = "book.txt"\ntokenizer = "wordpiece"', "must be bytes, bpe, or the path"),
        ('text = "book.txt"', "text = []", "must be a path in quotes or a list"),
        ("layers = 2", 'layers = 2\ntied = "yes"', "must be true or false"),
        ('name = "mine"', "name = 3", "must be text in quotes"),
        ('name = "mine"', "name = mine", "is not TOML"),
    ],
)
def test_each_wrong_file_is_told_what_would_work(old: str, new: str, expected: str) -> None:
    assert old in GOOD
    with pytest.raises(InvalidInputError) as caught:
        parse_job(GOOD.replace(old, new), "job.toml")
    assert expected in caught.value.message


def test_a_missing_or_binary_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="there is no job file"):
        load_job(tmp_path / "absent.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInputError, match="cannot read"):
        load_job(tmp_path / "binary.toml")


def test_the_docs_page_lists_every_key() -> None:
    page = (Path(__file__).parents[2] / "docs" / "job-file.md").read_text()
    missing = [key.dotted for key in KEYS if f"`{key.dotted}`" not in page]
    assert not missing


IMAGES = """
[model]
preset = "small-cnn"
[data]
builtin = "digits"
{data}
[training]
global_batch = 8
epochs = 2
{more}
"""


def test_an_image_job_needs_no_sequence_and_survives_its_record() -> None:
    more = (
        '[transfer]\nstart = "before"\nfreeze = 2\nsynonyms = ["car = auto"]\n[augment]\nchain = ["flip", "mixup 0.3"]'
    )
    job = parse_job(IMAGES.format(data='classes = ["1", "2"]', more=more), "job.toml")
    assert job.images is not None
    assert job.images.classes == ("1", "2")
    assert job.transfer is not None
    assert job.transfer.synonyms == (("car", "auto"),)
    assert [step.values for step in job.augment] == [(0.5,), (0.3,)]
    assert job_from_dict(json.loads(json.dumps(job_to_dict(job)))).images == job.images


@pytest.mark.parametrize(
    ("data", "more", "message"),
    [
        ("folds = 3\nfold = 3", "", "data.fold counts from 0 and must be below data.folds"),
        ("", '[augment]\nchain = ["flop"]', r"has 'flop', not one of .*; did you mean flip\?"),
        ("", "[transfer]\nfreeze = 2", "transfer.start is missing"),
        ("", '[transfer]\nstart = "x"\nfreeze = "some"', 'must be a number of blocks, or "all but head"'),
        ("", '[transfer]\nstart = "x"\nsynonyms = ["car"]', r'must be a list such as \["car = automobile"\]'),
    ],
)
def test_problems_of_image_jobs_are_named(data: str, more: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        parse_job(IMAGES.format(data=data, more=more), "job.toml")
