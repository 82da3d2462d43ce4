"""This machine to a Device and its Links: what it really reaches, in each way of cutting it into processes."""
