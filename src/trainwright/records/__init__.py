"""Flat, versioned files between the stages; they know nobody."""
