"""Thin nipype wrappers: load, call one kernel, save."""
