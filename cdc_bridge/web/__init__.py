"""What the daemon shows by HTTP, on this machine's loopback."""
