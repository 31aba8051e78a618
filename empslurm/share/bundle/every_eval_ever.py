"""The results in the schema of Every Eval Ever, release 0.3.0 (evalevalai.com): a record per cell, answers per example.

The package needs a later Python than empslurm, so the fields that are used are written out here: `RECORD` and `ANSWER`
are JSON Schemas of them, with the schema's own names, limits and words for choices. An answer has no text of the data:
`input.raw` is empty. Ratings have no right or wrong answer, which the schema demands, so only labels have answers.
"""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from empslurm import files, ids
from empslurm.gather.verify import column
from empslurm.metrics import METRICS, of_kind
from empslurm.share.bundle.layout import Entry, StudyNote
from empslurm.store import predictions

if TYPE_CHECKING:
    from empslurm.gather import Gathered
    from empslurm.tasks import Registry
    from empslurm.tasks.schema import Task

SCHEMA_VERSION = "0.3.0"
TEXT = {"type": "string"}
DETAILS = {"type": "object", "additionalProperties": TEXT}
UUID4 = "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


def _object(required: Mapping[str, Any], **optional: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "required": list(required),
        "properties": {**required, **optional},
        "additionalProperties": False,
    }


RECORD: Mapping[str, Any] = _object(
    {
        "schema_version": {"const": SCHEMA_VERSION},
        "evaluation_id": TEXT,  # name/model/time
        "retrieved_timestamp": {"type": "string", "pattern": "^[0-9]+$"},  # seconds since 1970
        "source_metadata": _object(
            {
                "source_name": TEXT,
                "source_type": {"enum": ["documentation", "evaluation_run"]},
                "source_organization_name": TEXT,
                "evaluator_relationship": {"enum": ["first_party", "third_party", "collaborative", "other"]},
            }
        ),
        "eval_library": _object({"name": TEXT, "version": TEXT}),
        "model_info": _object(
            {
                "name": TEXT,
                "id": TEXT,
                "additional_details": {
                    **DETAILS,
                    "required": ["deployment_type", "model_availability"],
                },
            }
        ),
        "evaluation_results": {
            "type": "array",
            "items": _object(
                {
                    "evaluation_result_id": TEXT,
                    "evaluation_name": TEXT,
                    "source_data": _object(
                        {"dataset_name": TEXT, "source_type": {"const": "other"}, "additional_details": DETAILS}
                    ),
                    "metric_config": _object(
                        {
                            "metric_id": TEXT,
                            "metric_name": TEXT,
                            "lower_is_better": {"type": "boolean"},
                            "score_type": {"const": "continuous"},
                            "min_score": {"type": "number"},
                            "max_score": {"oneOf": [{"type": "number"}, {"const": "Infinity"}]},
                        }
                    ),
                    "score_details": _object({"score": {"type": "number"}, "details": DETAILS}),
                }
            ),
        },
    },
    evaluation_timestamp=TEXT,
    detailed_evaluation_results=_object(
        {
            "format": {"const": "jsonl"},
            "file_path": {"type": "string", "pattern": f"^data/[^/]+/[^/]+/[^/]+/{UUID4}_samples\\.jsonl$"},
            "hash_algorithm": {"const": "sha256"},
            "checksum": TEXT,
            "total_rows": {"type": "integer"},
        }
    ),
)
ANSWER: Mapping[str, Any] = _object(
    {
        "schema_version": {"const": SCHEMA_VERSION},
        "evaluation_id": TEXT,
        "model_id": TEXT,
        "evaluation_name": TEXT,
        "evaluation_result_id": TEXT,
        "sample_id": TEXT,
        "interaction_type": {"const": "single_turn"},
        "input": _object({"raw": {"const": ""}, "reference": {"type": "array", "items": TEXT}}),
        "output": _object({"raw": {"type": "array", "items": TEXT}}),
        "answer_attribution": {
            "type": "array",
            "items": _object(
                {
                    "turn_idx": {"const": 0},
                    "source": {"const": "output.raw"},
                    "extracted_value": TEXT,
                    "extraction_method": {"const": "exact_match"},
                    "is_terminal": {"const": True},
                }
            ),
        },
        "evaluation": _object({"score": {"type": "number"}, "is_correct": {"type": "boolean"}}),
    }
)


def entries(gathered: Gathered, note: StudyNote, folder: str) -> Iterator[Entry]:
    """A record for every finished cell that is scored, below `folder`, and its answers where it predicts labels."""
    for group in gathered.groups:
        scored = group.runs[group.runs["predictions"].notna() & group.runs["metric"].notna()]
        for run in scored.to_dict("records"):
            yield from _of_cell({str(name): value for name, value in run.items()}, note, gathered.registry, folder)


def _of_cell(run: Mapping[str, Any], note: StudyNote, registry: Registry, folder: str) -> Iterator[Entry]:
    task = registry.tasks[str(run["target"])]
    name = str(uuid.UUID(bytes=bytes.fromhex(ids.digest([note.name, run["id"]], 32)), version=4))
    place = f"data/{note.name}/empslurm/{run['id']}"
    record = _record(run, task, note)
    if task.kind == "classification":
        lines = list(_answers(run, task, record))
        answers = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines).encode()
        path = f"{place}/{name}_samples.jsonl"
        record["detailed_evaluation_results"] = {
            "format": "jsonl",
            "file_path": path,
            "hash_algorithm": "sha256",
            "checksum": files.sha256_bytes(answers),
            "total_rows": len(lines),
        }
        yield Entry(path=f"{folder}/{path}", data=answers)
    yield Entry(path=f"{folder}/{place}/{name}.json", data=files.to_json(record))


def _record(run: Mapping[str, Any], task: Task, note: StudyNote) -> dict[str, Any]:
    setting = json.loads(str(run["setting"]))
    finished = run["finished"] if isinstance(run["finished"], str) else ""
    model, source = f"empslurm/{run['id']}", run["source"] if isinstance(run["source"], str) else ""
    details = {
        "deployment_type": "self_deployed",
        "model_availability": "open_weights",
        "base_model": str(setting["backbone"]["name"]).rstrip("/").rpartition("/")[2] or "tiny",
        "adapter": str((setting.get("adapter") or {}).get("kind")),
        "source_task": source,
        "seed": str(run["seed"]),
        "fraction": f"{run['fraction']:g}",
    }
    return {
        "schema_version": SCHEMA_VERSION,
        "evaluation_id": f"{note.name}/{model}/{finished or 'unknown'}",
        "retrieved_timestamp": str(_seconds(finished)),
        "source_metadata": {
            "source_name": f"transfer study {note.name}",
            "source_type": "evaluation_run",
            "source_organization_name": "not stated",
            "evaluator_relationship": "first_party",
        },
        "eval_library": {"name": "empslurm", "version": note.empslurm},
        "model_info": {"name": f"adapter {run['id']}", "id": model, "additional_details": details},
        "evaluation_results": [
            _result(run, task, metric)
            for metric in of_kind(task.kind)
            if math.isfinite(float(run[column("test", metric)]))
        ],
        **({"evaluation_timestamp": finished} if finished else {}),
    }


def _seconds(time: str) -> int:
    try:
        return int(datetime.fromisoformat(time).timestamp())
    except ValueError:
        return 0


def _result(run: Mapping[str, Any], task: Task, metric: str) -> dict[str, Any]:
    known = METRICS[metric]
    return {
        "evaluation_result_id": f"{run['id']}/{metric}",
        "evaluation_name": task.id,
        "source_data": {
            "dataset_name": task.dataset,
            "source_type": "other",
            "additional_details": {"part": "test", "data": str(run["data"])},
        },
        "metric_config": {
            "metric_id": metric,
            "metric_name": known.title,
            "lower_is_better": not known.higher_is_better,
            "score_type": "continuous",
            "min_score": known.low,
            "max_score": known.high if math.isfinite(known.high) else "Infinity",
        },
        "score_details": {
            "score": float(run[column("test", metric)]),
            "details": {"main": str(metric == run["metric"]).lower(), "flags": str(run["flags"] or "")},
        },
    }


def _answers(run: Mapping[str, Any], task: Task, record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One line per test example, in the order of the predictions."""
    part = predictions.read(Path(str(run["predictions"])))["test"]
    said = part.outputs.argmax(1) if part.outputs.ndim == 2 else np.zeros(len(part.ids))
    for example, gold, label in zip(part.ids, part.gold.astype(int), said.astype(int), strict=True):
        answer, right = task.labels[label], bool(label == gold)
        yield {
            "schema_version": SCHEMA_VERSION,
            "evaluation_id": record["evaluation_id"],
            "model_id": record["model_info"]["id"],
            "evaluation_name": task.id,
            "evaluation_result_id": f"{run['id']}/accuracy",
            "sample_id": example,
            "interaction_type": "single_turn",
            "input": {"raw": "", "reference": [task.labels[gold]]},
            "output": {"raw": [answer]},
            "answer_attribution": [
                {
                    "turn_idx": 0,
                    "source": "output.raw",
                    "extracted_value": answer,
                    "extraction_method": "exact_match",
                    "is_terminal": True,
                }
            ],
            "evaluation": {"score": float(right), "is_correct": right},
        }
