"""What ``check`` and ``status`` look at."""
