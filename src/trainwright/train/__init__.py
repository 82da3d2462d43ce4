"""The loop, the optimizer and the rates (torch)."""
