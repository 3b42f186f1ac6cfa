"""Settings from Backstage's `app-config.yaml`."""
