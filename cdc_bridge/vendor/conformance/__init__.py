"""The acceptance test behind ``cdc-bridge conformance``."""
