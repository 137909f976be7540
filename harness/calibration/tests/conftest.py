from __future__ import annotations

from pathlib import Path

import pytest

from harness.calibration.cards import load_claims
from harness.calibration.models import Workshop
from harness.calibration.pool import Tokens, build_pool

CLAIMS = Path(__file__).parents[3] / "claims"


@pytest.fixture(scope="session")
def shop() -> Workshop:
    from harness.planted import train_tokenizer
    from harness.planted.tokenizer import suite_texts

    tokens = Tokens(train_tokenizer(suite_texts()))
    return Workshop(tokens=tokens, pool=build_pool(tokens, per_template=2), claims=load_claims(CLAIMS))
