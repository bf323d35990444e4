"""BIDS in and out: the only place that knows pybids and file names."""
