"""Functional connectivity in restless legs syndrome, from raw BIDS data to group inference."""

__version__ = "0.1.0"
