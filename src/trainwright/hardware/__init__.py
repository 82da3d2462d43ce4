"""Devices, links and clusters: what the catalogue quotes and what a probe measures, in one type."""
