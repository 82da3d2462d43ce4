import sys

import pytest

from trainwright.probe.allocator import keep_pages


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc can be told")
def test_glibc_can_be_told():
    assert keep_pages()
