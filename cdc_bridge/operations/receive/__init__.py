"""A receiver for development: takes calls over HTTPS, says what it makes of each, and misbehaves as it is told."""
