"""What this service tells its operators about itself: metrics and traces."""
