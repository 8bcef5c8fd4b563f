"""What runs the daemon on a machine: systemd unit, image, man page, dashboard, alerts."""
