"""Installs the SQL side in the e-Res database, upgrades it and takes it out again."""
