"""The kinds of adapters that a family is said to have work in the library `adapters`, and the others do not."""

import copy
from typing import Any

import pytest

from empslurm.backbones.families import FAMILIES
from empslurm.backbones.families.facts import NOT_IN_LIBRARY
from empslurm.config import ADAPTER_KINDS
from tests.backbones.real import REAL, smaller
from tests.library import library

CASES = [(family, kind) for family in FAMILIES for kind in ADAPTER_KINDS]
SMALL: dict[str, dict[str, Any]] = {
    "prefix_tuning": {"bottleneck_size": 16, "prefix_length": 3},
    "prompt_tuning": {"prompt_length": 3},
    "compacter": {"reduction_factor": 4, "phm_dim": 4},
}


def small_config(family: str) -> Any:
    from transformers import CONFIG_MAPPING

    written = next(config for config, *_ in REAL.values() if config["model_type"] == family)
    return CONFIG_MAPPING[family](**smaller(written))


def trained_once(family: str, kind: str) -> tuple[float, float]:
    """One step of a new adapter. The largest gradient, and how far padding moves an output."""
    import torch

    adapters = library()

    torch.manual_seed(0)
    config = copy.deepcopy(small_config(family))
    model = adapters.AutoAdapterModel.from_config(config, attn_implementation="eager")
    model.add_adapter("a", config=getattr(adapters, ADAPTER_KINDS[kind].library)(**SMALL.get(kind, {})))
    model.add_classification_head("a", num_labels=2)
    model.train_adapter("a")
    model.eval()
    ids = torch.randint(3, 99, (2, 12))
    mask = torch.ones_like(ids)
    mask[1, 8:] = 0
    model(input_ids=ids, attention_mask=mask, labels=torch.tensor([0, 1])).loss.backward()
    weights = [
        value for name, value in model.named_parameters() if value.requires_grad and not name.startswith("heads")
    ]
    assert weights
    assert all(value.grad is not None for value in weights)
    with torch.no_grad():
        padded = model(input_ids=ids[1:], attention_mask=mask[1:]).logits
        alone = model(input_ids=ids[1:, :8], attention_mask=mask[1:, :8]).logits
    largest = max(float(value.grad.abs().max()) for value in weights if value.grad is not None)
    return largest, float((padded - alone).abs().max())


@pytest.mark.heavy
@pytest.mark.parametrize(("family", "kind"), CASES)
def test_the_library_trains_the_kinds_that_a_family_is_said_to_have(family: str, kind: str) -> None:
    facts = FAMILIES[family]
    if facts.without == NOT_IN_LIBRARY:
        with pytest.raises(ValueError, match="Unrecognized configuration class"):
            trained_once(family, kind)
    elif kind in facts.adapter_kinds:
        largest, moved = trained_once(family, kind)
        assert largest > 0
        assert moved < 1e-6
    elif family == "distilbert":
        with pytest.raises(IndexError):
            trained_once(family, kind)
    else:
        _, moved = trained_once(family, kind)
        assert (family, kind) == ("deberta-v2", "prompt_tuning")
        assert moved > 1e-5
