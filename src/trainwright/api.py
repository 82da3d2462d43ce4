"""The library in one place: what the command line calls, and what Python users import."""
