"""The forms that a dataset may have, a reader each."""
