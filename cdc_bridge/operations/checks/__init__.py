"""Preflight checks: whether the bridge can work, and the command that mends what stands in its way.

``cdc-bridge check`` runs them all and shows them all; the daemon runs at its start those without which it would lose
its way, and stops at the first that fails.
"""
