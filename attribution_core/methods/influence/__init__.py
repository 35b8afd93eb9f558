"""Influence functions and the proximal Bregman response."""
