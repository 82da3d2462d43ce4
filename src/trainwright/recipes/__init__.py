"""One file a method, one line in the table (torch)."""
