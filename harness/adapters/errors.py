"""What can go wrong with an adapter. No torch."""

from __future__ import annotations

from harness.models.spec import ModelError


class AdapterError(ModelError):
    """An adapter cannot be trained or used as it was asked for. The text is one line: what, and how to mend it."""


class AdapterMismatch(AdapterError):
    """An adapter was trained on another model than the one it is asked for."""
