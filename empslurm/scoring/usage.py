"""The lines of a model card that use an adapter without this project."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from empslurm import files
from empslurm.backbones import Published
from empslurm.scoring.selection import SOURCE, Group
from empslurm.store.adapter_metadata import Measure
from empslurm.train.model.adapter_files import OWN_LAYOUT
from empslurm.train.model.families import family

FOLDER = "FOLDER OF THIS CARD"
FUNCTIONS = {"swish": "silu"}  # names of torch.nn.functional, where they differ from the library's


def _config(group: Group) -> Mapping[str, object]:
    return files.read_object(group.members[0].adapter / "adapter_config.json")


def in_library(group: Group) -> bool:
    """Whether the library `adapters` can load the group's adapters: it lacks some families of encoders."""
    return _config(group)["version"] != OWN_LAYOUT


def usage(group: Group, backbone: Published, names: Mapping[int, str], repository: str | None) -> str:
    """The section `Use`. names: seed -> its adapter's folder, "" at the top; repository: ORG/NAME on the hub."""
    measure = group.measure
    # Other weights than those of training would give wrong values without an error.
    exact = backbone.hub_id is not None and backbone.exact
    model = f'"{backbone.hub_id}"' if exact else '"FOLDER OF THE BACKBONE"'
    model += f', revision="{backbone.revision}"' if backbone.revision else ""
    if in_library(group):
        lines = _with_library(measure, model, repository)
    else:
        lines = _written_out(measure, model, str(_config(group)["model_type"]), repository)
    top = next(seed for seed, name in names.items() if not name)
    note = (
        f"This folder holds seed {top}, the best on validation; the other seeds are in its subfolders. "
        if len(names) > 1
        else ""
    )
    note += "`empslurm score --cells FOLDER INPUT` uses all seeds and gives mean and spread.\n"
    return "## Use\n\n```python\n" + "\n".join(lines) + f"\n```\n\n{note}"


def _batch(measure: Measure) -> str:
    """The line that tokenises a text as in training."""
    texts, cut = ('["a text"]', "True")
    if measure.input_rule[1] != "none":
        texts, cut = ('["an earlier turn"], ["a text"]', '"only_first"')
    return f'batch = tokenizer({texts}, truncation={cut}, max_length={measure.max_length}, return_tensors="pt")'


def _value(measure: Measure) -> str:
    return f"value = {measure.centre:.9g} + {measure.scale:.9g} * logits[0, 0]"


def _with_library(measure: Measure, model: str, repository: str | None) -> Sequence[str]:
    folder = repository or FOLDER
    load = [f'name = model.load_adapter("{folder}", use_safetensors=True)', "model.active_adapters = name"]
    if measure.source is not None:
        load = [
            f'folder = "{FOLDER}"' if repository is None else f'folder = snapshot_download("{repository}")',
            f'below = model.load_adapter(folder + "/{SOURCE}", load_as="{SOURCE}", use_safetensors=True)',
            "name = model.load_adapter(folder, use_safetensors=True)",
            "model.active_adapters = adapters.composition.Stack(below, name)",
        ]
    label = "label = model.get_labels_dict(name)[int(logits[0].argmax())]"
    return (
        "import adapters, torch",
        "from transformers import AutoTokenizer",
        *(["from huggingface_hub import snapshot_download"] if repository and measure.source is not None else []),
        "",
        f"model = adapters.AutoAdapterModel.from_pretrained({model})",
        f"tokenizer = AutoTokenizer.from_pretrained({model})",
        *load,
        "model.eval()",
        _batch(measure),
        "with torch.no_grad():",
        "    logits = model(**batch).logits",
        label if measure.kind == "classification" else _value(measure),
    )


def _written_out(measure: Measure, model: str, model_type: str, repository: str | None) -> Sequence[str]:
    plain = family(model_type).layout.without_library
    assert plain is not None
    non_linearity = str(measure.settings["adapter"]["non_linearity"])
    function = FUNCTIONS.get(non_linearity, non_linearity)
    folders = f'(folder + "/{SOURCE}", folder)' if measure.source is not None else "(folder,)"
    labels = f"label = {list(measure.labels)!r}[int(logits[0].argmax())]"
    return (
        "import torch",
        "from safetensors.torch import load_file",
        "from torch.nn import functional as F",
        "from transformers import AutoModel, AutoTokenizer",
        *(["from huggingface_hub import snapshot_download"] if repository else []),
        "",
        f'folder = "{FOLDER}"' if repository is None else f'folder = snapshot_download("{repository}")',
        f"model = AutoModel.from_pretrained({model}).eval()",
        f"tokenizer = AutoTokenizer.from_pretrained({model}, model_input_names=['input_ids', 'attention_mask'])",
        "",
        "def add(layer, w):  # w: the four tensors of the layer's bottleneck",
        "    def bottleneck(x):",
        f'        inner = F.{function}(F.linear(x, w["down.0.weight"], w["down.0.bias"]))',
        '        return F.linear(inner, w["up.weight"], w["up.bias"])',
        *(f"    {line}" for line in plain.hook),
        "",
        f"for path in {folders}:",
        '    tensors = load_file(path + "/adapter.safetensors")',
        f"    for index, layer in enumerate({plain.layers}):",
        '        own = {k.rsplit(".adapter_", 1)[1]: v for k, v in tensors.items() if f".{index}.output." in k}',
        "        add(layer, own)",
        'head = {k.split(".", 2)[2]: v for k, v in load_file(folder + "/model_head.safetensors").items()}',
        _batch(measure),
        "with torch.no_grad():",
        "    first = model(**batch).last_hidden_state[:, 0]",
        '    inner = torch.tanh(F.linear(first, head["1.weight"], head["1.bias"]))',
        '    logits = F.linear(inner, head["4.weight"], head["4.bias"])',
        labels if measure.kind == "classification" else _value(measure),
    )
