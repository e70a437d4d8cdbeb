"""Inputs of any kind for everything that reads foreign bytes, guided by what they reach: `python -m fuzz TARGET`."""
