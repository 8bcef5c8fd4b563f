"""What is done to a bridge: install, check, show a payload, demonstrate."""
