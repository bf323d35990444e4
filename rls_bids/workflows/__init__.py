"""Graphs only: no numbers, no file names typed by hand."""
