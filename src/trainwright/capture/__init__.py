"""Any nn.Module to a ModelSpec, without running it (torch)."""
