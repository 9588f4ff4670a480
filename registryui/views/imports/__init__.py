"""Imports of images: all runs and the form that begins one, and a run with its report."""
