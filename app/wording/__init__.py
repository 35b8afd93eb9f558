"""How labels, numbers and names are written."""
