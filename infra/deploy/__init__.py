"""What it takes to deploy: native services for one machine, container files."""
