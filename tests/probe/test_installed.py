import subprocess
import sys

from trainwright.probe import installed


def test_what_is_missing_is_told_with_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("TRAINWRIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(installed, "version", lambda name: None)
    found = {finding.what: finding for finding in installed.findings()}
    assert found["torch"].verdict == "note"
    assert "trainwright[train]" in found["torch"].advice
    assert "torchvision" not in found
    assert found["cache folder"].found.endswith("writable")


def test_a_broken_torchvision_is_wrong(monkeypatch, tmp_path):
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(installed, "version", lambda name: "0.1")
    broken = installed._companion("torchvision")
    assert broken.verdict == "wrong"
    assert "torchvision::nms does not exist" in broken.found
    assert "pip uninstall torchvision" in broken.advice
    (tmp_path / "torchvision.py").write_text("")
    assert installed._companion("torchvision").verdict == "fine"


def test_a_cache_that_cannot_be_written_is_noted(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TRAINWRIGHT_CACHE", str(tmp_path / "file" / "cache"))
    assert "cannot be written" in installed._cache_folder().found


def test_findings_import_no_torch():
    code = (
        "import sys\nfrom trainwright.probe import installed\ninstalled._import_failure = lambda name: None\n"
        "installed.findings()\nassert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
