"""Trainwright: plan a training job, run exactly that plan, check the prediction against what happened."""

__version__ = "0.1.0"
