"""The model behind HTTP (torch in engine.py only)."""
