"""The app's own browser components."""
