"""How many of the heads that matter most a screen would keep: attribution against the exact sweep of all heads.

    python -m harness.screening --model smollm2_135m

prints, for each draw of prompts, the recall of the true top heads (largest mean KL when zeroed) among the top 10, 25
and 50% by attribution. The exact sweep is taken from the store, or measured and kept there.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np
from jaxtyping import Float

from harness.engine.attribution import Method, attribute
from harness.engine.screen import top_share
from harness.errors import plain_errors
from harness.experiments import EXPERIMENTS, SEEDS
from harness.protocols import Protocol
from harness.store import Store

if TYPE_CHECKING:
    from harness.measure import Subject

SHARES = (0.10, 0.25, 0.50)
HEAD_SWEEP = EXPERIMENTS["head_sweep"]


@dataclass(frozen=True, kw_only=True)
class Recall:
    """One model and draw of prompts under one attribution method. `recall` by k, then by share kept."""

    model: str
    seed: int
    method: Method
    n_heads: int
    n_prompts: int
    recall: Mapping[str, Mapping[str, float]]
    rank_correlation: float
    """Spearman's rho between attribution and exact mean KL over all heads."""
    worst_place: int
    """Place, from 1, that attribution gives to the worst placed of the true ten."""
    attribution_seconds: float
    exact_seconds: float


def recall(
    exact: Float[np.ndarray, " probe"], scores: Float[np.ndarray, " probe"], *, k: int, share: float
) -> float:
    """Share of the k largest of `exact` that are among the top `share` by `scores`.

    Raises ValueError for k below 1 or above the number of probes.
    """
    if not 1 <= k <= len(exact):
        raise ValueError(f"k is {k}: expected 1 to {len(exact)}, the number of probes")
    true = set(np.argsort(-exact, kind="stable")[:k].tolist())
    return len(true & set(top_share(scores, share))) / k


def counts(n: int) -> dict[str, int]:
    """The k whose recall is told, by name: 5, 10 and a tenth of the probes, where there are so many."""
    found = {"5": 5, "10": 10, "10%": math.ceil(0.1 * n)}
    return {name: k for name, k in found.items() if k <= n}


def measure_recall(
    subject: Subject, seed: int, store: Store, *, memory_bytes: int = 2 * 2**30
) -> list[Recall]:
    """The recall of each attribution method on one draw of prompts. Raises what measuring raises."""
    from harness.measure import draw_prompts, measure

    evidence = measure(subject, HEAD_SWEEP, Protocol.SOUND, seed, store, memory_bytes=memory_bytes)
    exact = evidence.effects.metrics["kl_nats"].mean(axis=1)
    items = draw_prompts(subject.loaded, HEAD_SWEEP, seed).items
    rows = []
    for method in get_args(Method):
        start = time.perf_counter()
        found = attribute(subject.stack, items, method=method, memory_bytes=memory_bytes)
        scores = found.probes(evidence.effects.probes).mean(axis=1)
        rows.append(
            Recall(
                model=subject.loaded.spec.id,
                seed=seed,
                method=method,
                n_heads=len(exact),
                n_prompts=len(items),
                recall={
                    name: {f"{share:.0%}": recall(exact, scores, k=k, share=share) for share in SHARES}
                    for name, k in counts(len(exact)).items()
                },
                rank_correlation=_spearman(exact, scores),
                worst_place=_worst_place(exact, scores, k=min(10, len(exact))),
                attribution_seconds=round(time.perf_counter() - start, 2),
                exact_seconds=float(evidence.provenance["seconds"]),
            )
        )
    return rows


def format_table(rows: Sequence[Recall]) -> str:
    """The recalls as lines of text, one a draw, method and k."""
    shares = [f"{share:.0%}" for share in SHARES]
    lines = [
        f"{'model':16} {'seed':>5} {'method':7} {'top':>4} "
        + " ".join(f"{f'in {s}':>7}" for s in shares)
        + "   rho  worst place  seconds: attribution, exact"
    ]
    for row in rows:
        for name, found in row.recall.items():
            lines.append(
                f"{row.model:16} {row.seed:5} {row.method:7} {name:>4} "
                + " ".join(f"{found[s]:7.2f}" for s in shares)
                + f"  {row.rank_correlation:.2f}  {row.worst_place:4} of {row.n_heads:<4} "
                f" {row.attribution_seconds:.1f}, {row.exact_seconds:.1f}"
            )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 1 where the model cannot be had or measured, with the reason in one line."""
    from harness.measure import Subject
    from harness.models import load
    from harness.models.registry import find_model, parse_model_path, with_paths

    asked = _parser().parse_args(arguments)
    rows: list[Recall] = []
    try:
        specs = with_paths(dict(parse_model_path(text) for text in asked.model_path))
        for model in asked.model:
            subject = Subject(load(find_model(model, specs), device=asked.device, download=asked.download))
            for seed in asked.seed or SEEDS:
                rows += measure_recall(
                    subject, seed, Store(root=asked.store), memory_bytes=int(asked.memory * 2**30)
                )
    except plain_errors() as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print(format_table(rows))
    if asked.out is not None:
        asked.out.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m harness.screening", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add(
        "--model",
        action="append",
        required=True,
        metavar="ID",
        help="a registered model, or the id of --model-path (repeatable)",
    )
    add("--model-path", action="append", default=[], metavar="ID=DIR", help="a local checkpoint")
    add(
        "--seed",
        action="append",
        type=int,
        metavar="N",
        help="draw of prompts (repeatable); default: 42 137 2026",
    )
    add("--device", default="cpu", metavar="DEV", help="cpu, cuda or cuda:N; default: cpu")
    add("--memory", type=float, default=2.0, metavar="GIB", help="memory for activations; default: 2")
    add("--download", action="store_true", help="fetch weights that are not on this machine")
    add("--store", type=Path, default=Path(".evidence"), metavar="DIR", help="default: .evidence")
    add("--out", type=Path, metavar="FILE", help="write the numbers as JSON too")
    return parser


def _spearman(exact: Float[np.ndarray, " probe"], scores: Float[np.ndarray, " probe"]) -> float:
    from scipy.stats import spearmanr

    return round(float(spearmanr(exact, scores).statistic), 4)


def _worst_place(exact: Float[np.ndarray, " probe"], scores: Float[np.ndarray, " probe"], *, k: int) -> int:
    place = np.empty(len(scores), dtype=int)
    place[np.argsort(-scores, kind="stable")] = np.arange(1, len(scores) + 1)
    return int(place[np.argsort(-exact, kind="stable")[:k]].max())


if __name__ == "__main__":
    raise SystemExit(main())
