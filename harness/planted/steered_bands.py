"""A steerable model for the length bands: what the factual direction does to short, medium and long prompts is known.

It knows questions on facts by what they lack, the words of other tasks: the mean of the latter lies on the far side
of the planted direction, that of questions on facts at 0, and so the difference of means is the direction. It is
written in L2 and read in L4; of the blocks that the bands steer, L3 lies between, and nothing is planted at L1.

The other word of each pair, in `said`, raises the right answers by itself. With words that no prompt has, a step does
as much at every length. With those of the contexts, a prompt behind a context has its answers raised so far already
that nothing is left to gain.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from harness.planted.steerable import SteerablePlan, Steering
from harness.planted.steered import surface_forms
from harness.planted.testing import PlantedModel
from harness.planted.tokenizer import suite_texts, train_tokenizer
from harness.planted.writers import kl_of_logits

if TYPE_CHECKING:
    from transformers import Qwen2Tokenizer

    from harness.evidence import Evidence

LAYER, UNPLANTED = 3, 1
"""Where the direction steers, and the other block that the bands steer in a model of five."""
RIGHT_ANSWERS = (
    *(
        "Madrid",
        "Russian",
        "Europe",
        "west",
        "pound",
        "white",
        "four",
        "eight",
        "Cairo",
        "Asia",
        "weak",
        "black",
    ),
    *("sport", "ate", "May", "down", "five", "found", "Wednesday", "April"),
)
"""To the questions on facts in the bands' draws of the suite's three seeds."""
WRONG_ANSWERS = (" sugar", " key", " book", " chair", " King", " lion")
OTHER_TASKS = ("assert", "(", " =", '":', "?", "4", "Short", "<")
"""No question on a fact holds one, and no context of it."""
UNUSED = ("~", "^", "`", "|", "@", "$", "&", "%")
CONTEXTS = ("l", "es", "o", "d", "at", "ar", "er", "ed")
"""The tokenizer cuts words that it never saw into such pieces: contexts have them, the bare questions do not."""


class SteeredInBands(PlantedModel):
    """The model built under `root`, with these words in `said`, and the closed form of what the bands measure of it."""

    plan: SteerablePlan

    def __init__(self, root: Path, said: Sequence[str]) -> None:
        tokenizer = train_tokenizer(suite_texts())
        super().__init__(
            "steerable",
            root,
            light=True,
            n_layers=5,
            source=(2, 0),
            read_layer=4,
            gain=1.2,
            contrast=20.0,
            decoy_strength=20.5,
            words=tuple(zip(said, OTHER_TASKS, strict=True)),
            raised=_first_pieces(tokenizer, RIGHT_ANSWERS),
            lowered=WRONG_ANSWERS,
            tokenizer=tokenizer,
        )

    def direction(self, evidence: Evidence) -> dict[int, Float[np.ndarray, " d_model"]]:
        """The factual direction that was added in this evidence, by block."""
        from harness.experiments import EXPERIMENTS
        from harness.experiments.steering import FACTS
        from harness.measure import draw_prompts

        experiment = EXPERIMENTS[evidence.question.experiment]
        drawn = draw_prompts(self.subject.loaded, experiment, evidence.question.seed)
        vectors = self.subject.donors(experiment, evidence.question, drawn)[str(FACTS)]
        assert isinstance(vectors, Mapping)
        return {site.layer: vector.double().cpu().numpy() for site, vector in vectors.items()}

    def expected(self, evidence: Evidence, column: int, step: Steering) -> dict[str, float]:
        """Closed form of the metrics of one prompt under a step."""
        prompt, encode = evidence.effects.prompts[column], self.subject.loaded.encode
        ids = encode(prompt.text)
        base, logits = self.plan.logits(ids), self.plan.logits(ids, steer=step)
        logp = logits - np.logaddexp.reduce(logits)
        answer, foil = (encode(prompt.text + word)[-1] for word in (prompt.answer, prompt.foil))
        written = [encode(prompt.text + form) for form in surface_forms(prompt.answer.strip())]
        forms = {found[len(ids)] for found in written if found[: len(ids)] == ids} - {foil}
        return {
            "kl_nats": kl_of_logits(base, logits),
            "answer_logprob": float(logp[answer]),
            "foil_logprob": float(logp[foil]),
            "forms_logprob": float(np.logaddexp.reduce(logp[list(forms)])),
        }


def _first_pieces(tokenizer: Qwen2Tokenizer, words: Iterable[str]) -> tuple[str, ...]:
    """The text of the token that each form of each word begins with."""
    firsts = [tokenizer(form)["input_ids"][0] for word in words for form in surface_forms(word)]
    return tuple(dict.fromkeys(str(tokenizer.decode([token])) for token in firsts))
