"""A sentence encoder small enough for tests: random weights, saved as sentence-transformers saves its models."""

from pathlib import Path

import torch

_WORDS = ["a", "warm", "and", "clever", "film", "dull", "tired"]


def make_sentence_encoder(folder: Path) -> Path:
    """Write an encoder whose vectors have 16 numbers."""
    # Imported here because it takes ten seconds, which most tests need not wait for.
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    base = folder.with_name(f"{folder.name}-base")
    base.mkdir(parents=True)
    vocabulary = base / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *_WORDS, *map(str, range(10))]))
    BertTokenizerFast(vocab_file=str(vocabulary)).save_pretrained(base)
    torch.manual_seed(0)
    config = BertConfig(vocab_size=64, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    BertModel(config).save_pretrained(base)
    words = Transformer(str(base))
    SentenceTransformer(modules=[words, Pooling(16)], device="cpu").save(str(folder))
    return folder
