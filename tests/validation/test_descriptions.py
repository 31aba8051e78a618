"""The JSON Schemas describe every key of a manifest, a profile or a card, for editors and references."""

from collections.abc import Iterator
from typing import Any

import pytest

from empslurm.launch.profile import ProfileFile, profile_json_schema
from empslurm.manifest.load import manifest_json_schema
from empslurm.manifest.schema import ManifestFile, SearchFile
from empslurm.tasks.card_schema import Card, card_json_schema
from empslurm.validation.reader import json_schema

CONDITION = "if"  # of a manifest's schema: it repeats the key `kind` to distinguish the two kinds


def properties(schema: Any, where: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Each property at any depth, in alternatives, items and the values of mappings too."""
    if isinstance(schema, list):
        for part in schema:
            yield from properties(part, where)
    elif isinstance(schema, dict):
        for name, inner in schema.get("properties", {}).items():
            yield f"{where}.{name}", inner
            yield from properties(inner, f"{where}.{name}")
        for key, inner in schema.items():
            if key not in ("properties", CONDITION):
                yield from properties(inner, where)


@pytest.mark.parametrize(
    "schema",
    [manifest_json_schema(), profile_json_schema(), card_json_schema()],
    ids=["manifest", "profile", "card"],
)
def test_every_property_has_a_description(schema: dict[str, Any]):
    described = {where: inner.get("description", "") for where, inner in properties(schema)}
    assert described
    lacking = [where for where, text in described.items() if not (text[:1] and text.endswith("."))]
    assert not lacking, "give each field of these a Doc that ends with a full stop"


def test_the_walk_finds_properties_at_every_depth():
    forms = (ManifestFile, SearchFile, ProfileFile, Card)
    names = {where for form in forms for where, _ in properties(json_schema(form))}
    nested = {".pairs.source", ".training.per_task.lr", ".embed.encoder.name", ".space.adapters.kind", ".mail.user"}
    assert {*nested, ".columns.part", ".hub.revision", ".shares.test"} <= names
