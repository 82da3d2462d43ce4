import csv
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from trainwright.api.competing import CompeteOptions, compete
from trainwright.cli.main import trainwright_group
from trainwright.data.listing import list_images
from trainwright.data.picture import write_picture
from trainwright.errors import DataError, InvalidInputError
from trainwright.jobs.job import ImageData

JOB = """
[model]
preset = "small-cnn"
[data]
images = "photos"
size = 8
channels = 1
[augment]
chain = ["shift 0.1"]
[training]
global_batch = 16
epochs = 12
precision = "fp32"
[optimizer]
learning_rate = 1e-2
[output]
folder = "{folder}/runs"
"""


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty images of each of two digits as files, one of them in the wrong folder."""
    folder = tmp_path_factory.mktemp("competition")
    for image in list_images(ImageData(builtin="digits", classes=("3", "8"))).images[:80]:
        (folder / "photos" / image.label).mkdir(parents=True, exist_ok=True)
        write_picture(folder / "photos" / image.label / f"{image.name}.png", image.read(8, 1).pixels)
    first = next((folder / "photos" / "3").iterdir())
    first.rename(folder / "photos" / "8" / "stray.png")
    (folder / "job.toml").write_text(JOB.format(folder=folder))
    return folder / "job.toml"


def test_folds_judge_every_image_and_the_mistakes_can_be_relabelled(job: Path) -> None:
    photos, output = job.parent / "photos", job.parent / "out"
    words = [
        "compete",
        str(job),
        "--folds",
        "2",
        "--views",
        "3",
        "--test",
        str(photos),
        "--output",
        str(output),
        "--json",
    ]
    result = CliRunner().invoke(trainwright_group, words, catch_exceptions=False)
    found = json.loads(result.stdout)
    said = result.stderr.splitlines()
    assert said[0].startswith("3 views will take about ")
    assert said[0].endswith("more for the 240 times that an image is judged")
    assert said[1].startswith("fold 1 of 2: ")
    assert np.array(found["confusion"]).sum() == 80
    assert np.diag(found["confusion"]).sum() > 60
    assert found["mistakes"][0]["file"] == "8/stray.png"
    with (output / "submission.csv").open(newline="") as file:
        rows = {row["file"]: row["label"] for row in csv.DictReader(file)}
    assert len(rows) == 80
    assert rows["8/stray.png"] == "3"
    assert "taken for 3" in (output / "mistakes.html").read_text()
    again = list_images(ImageData(source=output / "relabel.csv"))
    assert len(again.images) == 80
    assert again.images[0].read(8, 1).pixels.shape == (1, 8, 8)


def test_what_cannot_be_judged_is_said(job: Path, tmp_path: Path) -> None:
    (tmp_path / "text.csv").write_text("name\nphoto.png\n")
    options = CompeteOptions(folds=2, views=3, test=tmp_path, output=job.parent / "out")
    with pytest.raises(DataError, match="no images to classify in"):
        compete(job, options, lambda _: None)
    with pytest.raises(DataError, match=r"text\.csv has no column of files"):
        compete(job, CompeteOptions(folds=2, views=1, test=tmp_path / "text.csv", output=tmp_path), lambda _: None)
    with pytest.raises(DataError, match="cannot read"):
        compete(job, CompeteOptions(folds=2, views=1, test=tmp_path / "none.csv", output=tmp_path), lambda _: None)
    plain = job.parent / "plain.toml"
    plain.write_text(job.read_text().replace('chain = ["shift 0.1"]', ""))
    with pytest.raises(InvalidInputError, match="3 views need augmentations"):
        compete(plain, options, lambda _: None)
