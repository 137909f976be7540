"""Evidence: one experiment on one model, protocol and seed, with everything needed to judge and trace it.

A record is plain JSON: the question (what was asked, of what), the provenance (when, where, with which
versions), checks of the instrument, a readable summary, and the whole table of effects. The digest in the
file covers its content; a file that does not match its digest is refused. No torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.anatomy import Anatomy, Heads, Massive
from harness.edits import from_json, to_json
from harness.effects import Effects, PromptRecord
from harness.protocols import Protocol

FORMAT = 1
DIGITS = 8
"""Significant digits kept of a measured number: more than float32 holds after a forward pass."""


class EvidenceCorrupt(ValueError):
    """A record that is not what its digest says, or not a record at all."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """What was asked: equal questions have equal answers, so none is measured twice."""

    model: str
    experiment: str
    protocol: Protocol
    seed: int
    n_layers: int
    definition: str
    """Digest of the experiment's probes, suite and sample size."""
    suite_digest: str
    weights_digest: str
    tokenizer_digest: str
    dtype: str
    device: str
    attn_implementation: str
    torch: str
    transformers: str
    code: str
    """Digest of the measuring code, comments and docstrings aside."""
    heads: Heads = ()
    """Query heads per block; () where the probes do not depend on them."""
    massive: Massive | None = None
    """Where the massive activation is; None where the probes do not depend on it."""
    screen: float | None = None
    """Share of the probes that was measured, chosen by attribution; None: all of them."""
    kv_heads: Heads = ()
    d_model: int = 0
    ranked: tuple[int, ...] = ()
    """All three as in `Anatomy`, where the probes depend on them."""

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values; what of the anatomy and the screen is not given is left out."""
        optional = {
            "heads": list(self.heads) or None,
            "massive": None if self.massive is None else self.massive.to_json(),
            "screen": self.screen,
            "kv_heads": list(self.kv_heads) or None,
            "d_model": self.d_model or None,
            "ranked": list(self.ranked) or None,
        }
        return {
            **{name: value for name, value in asdict(self).items() if name not in optional},
            **{name: value for name, value in optional.items() if value is not None},
        }

    @property
    def anatomy(self) -> Anatomy:
        """What of the model the probes depend on."""
        return Anatomy(
            n_layers=self.n_layers,
            heads=self.heads,
            massive=self.massive,
            kv_heads=self.kv_heads,
            d_model=self.d_model,
            ranked=self.ranked,
        )

    @property
    def digest(self) -> str:
        """sha256 over the fields."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()

    @property
    def cell(self) -> str:
        """'smollm2_135m layer_sweep sound seed42', for messages; screened evidence says so."""
        screened = "" if self.screen is None else f" screened at {self.screen:g}"
        return f"{self.model} {self.experiment} {self.protocol} seed{self.seed}{screened}"


@dataclass(frozen=True, kw_only=True)
class Check:
    """A sanity check or control of one measurement. A failed gate makes every verdict on it `invalid`."""

    name: str
    passed: bool
    value: float
    sentence: str
    gate: bool = True


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A question with its answer."""

    question: Question
    effects: Effects
    checks: tuple[Check, ...]
    provenance: Mapping[str, Any]
    summary: tuple[Mapping[str, Any], ...] = ()

    @property
    def failed(self) -> tuple[Check, ...]:
        """Gates that did not hold."""
        return tuple(check for check in self.checks if check.gate and not check.passed)

    def check(self, name: str) -> Check | None:
        """The check of that name, if it was made."""
        return next((check for check in self.checks if check.name == name), None)


def to_text(evidence: Evidence) -> str:
    """The record as JSON text, one table row a line, digest included."""
    body = _body(evidence)
    body = {"format": FORMAT, "digest": _digest(body), **body}
    return _pretty(body) + "\n"


def from_text(text: str, source: str = "evidence") -> Evidence:
    """The record in this text. Raises EvidenceCorrupt, naming `source`, when it cannot be trusted."""
    try:
        body = json.loads(text)
        if body.pop("format") != FORMAT:
            raise ValueError("unknown format")
        stated = body.pop("digest")
        if _digest(body) != stated:
            raise ValueError("its content does not match its digest")
        return _parse(body)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EvidenceCorrupt(
            f"{source} cannot be trusted ({error or type(error).__name__}): delete it and measure again"
        ) from error


def read(path: Path) -> Evidence:
    """The record in a file. Raises EvidenceCorrupt; FileNotFoundError as usual."""
    try:
        return from_text(path.read_text(encoding="utf-8"), source=str(path))
    except UnicodeDecodeError as error:
        raise EvidenceCorrupt(f"{path} is not text: delete it and measure again") from error


def _body(evidence: Evidence) -> dict[str, Any]:
    effects = evidence.effects
    prompts: dict[str, list[Any]] = {
        name: [getattr(p, name) for p in effects.prompts] for name in PromptRecord.__dataclass_fields__
    }
    for name in ("spots", "n_in_spots"):
        if not any(prompts[name]):
            del prompts[name]
    return {
        "question": evidence.question.to_json(),
        "provenance": dict(evidence.provenance),
        "checks": [
            {**asdict(c), "value": c.value if np.isfinite(c.value) else None} for c in evidence.checks
        ],
        "summary": [dict(row) for row in evidence.summary],
        "prompts": prompts,
        "baseline": {name: _numbers(values) for name, values in effects.baseline.items()},
        "probes": [to_json(probe) for probe in effects.probes],
        **({"unmeasured": [to_json(probe) for probe in effects.unmeasured]} if effects.unmeasured else {}),
        **({"floor_nats": effects.floor_nats} if effects.floor_nats else {}),
        "metrics": {name: [_numbers(row) for row in values] for name, values in effects.metrics.items()},
    }


def _parse(body: dict[str, Any]) -> Evidence:
    asked = body["question"]
    massive = asked.get("massive")
    question = Question(
        **{
            **asked,
            "protocol": Protocol(asked["protocol"]),
            "heads": tuple(asked.get("heads", ())),
            "kv_heads": tuple(asked.get("kv_heads", ())),
            "ranked": tuple(asked.get("ranked", ())),
            "massive": None if massive is None else Massive.from_json(massive),
        }
    )
    columns = body["prompts"]
    prompts = tuple(
        PromptRecord(**dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)
    )
    prompts = tuple(
        replace(prompt, spots=tuple(prompt.spots), n_in_spots=tuple(prompt.n_in_spots)) for prompt in prompts
    )
    effects = Effects(
        probes=tuple(from_json(p) for p in body["probes"]),
        prompts=prompts,
        metrics={name: _table(rows, len(prompts)) for name, rows in body["metrics"].items()},
        baseline={name: _table([row], len(prompts))[0] for name, row in body["baseline"].items()},
        unmeasured=tuple(from_json(p) for p in body.get("unmeasured", ())),
        floor_nats=float(body.get("floor_nats", 0.0)),
    )
    return Evidence(
        question=question,
        effects=effects,
        checks=tuple(
            Check(**{**check, "value": np.nan if check["value"] is None else check["value"]})
            for check in body["checks"]
        ),
        provenance=body["provenance"],
        summary=tuple(body["summary"]),
    )


def _numbers(values: np.ndarray) -> list[float | None]:
    """JSON has no NaN: a value that is not finite is written as null, and read back as NaN."""
    return [float(f"{x:.{DIGITS}g}") if np.isfinite(x) else None for x in values.tolist()]


def _table(rows: Sequence[Sequence[float | None]], width: int) -> np.ndarray:
    filled = [[np.nan if x is None else x for x in row] for row in rows]
    return np.array(filled, dtype=np.float64).reshape(len(rows), width)


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _pretty(value: Any, indent: int = 0) -> str:
    """JSON with nested containers indented and the innermost lists on one line each."""
    pad = "  " * indent
    if isinstance(value, dict) and any(isinstance(v, dict | list) for v in value.values()):
        rows = [f"{pad}  {json.dumps(k)}: {_pretty(v, indent + 1)}" for k, v in value.items()]
        return "{\n" + ",\n".join(rows) + f"\n{pad}}}"
    if isinstance(value, list) and any(isinstance(v, dict | list) for v in value):
        rows = [f"{pad}  {_pretty(v, indent + 1)}" for v in value]
        return "[\n" + ",\n".join(rows) + f"\n{pad}]"
    return json.dumps(value, ensure_ascii=False)
