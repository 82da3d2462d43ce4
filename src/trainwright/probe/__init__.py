"""This machine to a Device and its Links (torch)."""
