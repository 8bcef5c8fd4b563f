"""Installs, upgrades and removes the SQL side, and knows which version of it is needed."""
