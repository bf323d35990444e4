"""Pages and methods text."""
