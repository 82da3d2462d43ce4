"""A Strategy to processes, meshes, shards and checkpoints on torch.distributed (torch)."""
