"""Drafts a mapping from the catalogue of a database."""
