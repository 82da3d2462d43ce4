"""Text and images to batches (torch)."""
