"""What the tests stand on: real PostgreSQL, a real HTTPS receiver, the real daemon as a process."""
