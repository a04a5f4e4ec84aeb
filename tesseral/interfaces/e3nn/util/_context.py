"""Empty, as in e3nn."""
