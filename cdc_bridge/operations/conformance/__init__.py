"""A vendor's acceptance test: invented reservations, called as the daemon calls, and how an endpoint answers."""
