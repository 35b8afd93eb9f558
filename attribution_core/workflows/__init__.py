"""What is done with a scored run, or to make the next one: verify, summarize, clean, import scores."""
