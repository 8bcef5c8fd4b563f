"""From a reservation's row to the bytes that are sent."""
