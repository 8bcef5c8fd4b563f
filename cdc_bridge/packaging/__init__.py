"""What runs the daemon on a machine: systemd unit, example settings, man page, dashboards and alert rules."""
