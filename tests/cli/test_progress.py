import pytest

from trainwright.cli.progress import TrainingProgress
from trainwright.records.run import Evaluation
from trainwright.records.step import StepRecord


def test_off_a_terminal_progress_is_plain_lines_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    step = StepRecord(step=0, loss=2.5, learning_rate=1e-3, gradient_norm=1.0, tokens=100, seconds=0.5, time={})
    with TrainingProgress() as progress:
        progress.expect(11)
        progress(step)
        progress(Evaluation(step=1, loss=2.0, perplexity=7.389))
        progress("a note [with brackets]")
    heard = capsys.readouterr()
    assert heard.out == ""
    assert "step 1/11, loss 2.500, 200 tokens/s, 5.00 s left" in heard.err
    assert "held-out loss 2.000, perplexity 7.4" in heard.err
    assert "a note [with brackets]" in heard.err
