"""What an EPOS vendor builds against: contract, receivers, conformance test."""
