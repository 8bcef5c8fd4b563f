"""Calls that no change asks for: tried again, replayed, backfilled, and the proof that none is missing."""
