"""Sizes of all test models."""

VOCABULARY = 96
LONGEST = 1056
WIDTH = 16
HEADS = 4
LAYERS = 2
HIDDEN = 32
