"""Whether all is well: what is behind and how far, proved by a canary and told by /readyz, /metrics and systemd."""
