"""Work with scored runs: verify, summarize, clean, import scores, and compute F-SI live."""
