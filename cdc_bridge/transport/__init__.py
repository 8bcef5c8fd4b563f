"""One request: from a body to its outcome."""
