"""Defaults for turning data into inputs. Loads without torch, so that help and forms can show them."""

AUTO = "auto"  # no encoder was named: TF-IDF, beside which label quality tries MINILM where it is installed
TFIDF = "tfidf"  # the encoder of texts that needs no model
MINILM = "minilm"  # the sentence encoder that a package carries
