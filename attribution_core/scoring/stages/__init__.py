"""The stages of a scoring run, a file each."""
