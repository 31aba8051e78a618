"""DistilBERT: BERT's layers without segments, under names of its own.

Its `sinusoidal_pos_embds` only says how the position table began, and the table is among the weights.
"""

from empslurm.backbones.families.facts import (
    Activation,
    Depth,
    FamilyFacts,
    Heads,
    Inner,
    Key,
    Positions,
    Rate,
    Refused,
    TokenId,
    Vocabulary,
    Width,
)

FACTS = FamilyFacts(
    source="Sanh et al. (2019)",
    keys={
        "vocab_size": Key(Vocabulary),
        "dim": Key(Width),
        "n_layers": Key(Depth),
        "n_heads": Key(Heads),
        "hidden_dim": Key(Inner),
        "max_position_embeddings": Key(Positions),
        "activation": Key(Activation, "gelu"),
        "dropout": Key(Rate, 0.1),
        "attention_dropout": Key(Rate, 0.1),
        "pad_token_id": Key(TokenId | None, 0),
    },
    # transformers would read them over the family's own
    others={
        other: Refused(f"this family calls it {own}")
        for other, own in {
            "hidden_size": "dim",
            "num_hidden_layers": "n_layers",
            "num_attention_heads": "n_heads",
        }.items()
    },
    without={"prompt_tuning": "the library `adapters` fails with an IndexError on it"},
    hidden_key="dim",
    layers_key="n_layers",
    heads_key="n_heads",
)
