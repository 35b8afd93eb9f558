"""How good the scores are, measured against really training again."""
