"""A job file, parsed and checked in one place; and how a step is divided."""
