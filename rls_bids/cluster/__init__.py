"""Job scripts for clusters: written from a request, submitted, watched, and submitted again."""
