"""Plan beside run: text, JSON and HTML."""
