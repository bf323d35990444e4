"""Arrays and images to SVG and PNG."""
