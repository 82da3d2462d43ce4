"""One thread for every test: two on busy cores spin, and oneDNN's own copies depend on how many there are."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
