"""Who may use dashboard, HTTP API and portal: tokens with a name and a right."""
