"""The two definitions every experiment is run under."""

from __future__ import annotations

from enum import StrEnum


class Protocol(StrEnum):
    """`published`: the atlas's operational definition. `sound`: the corrected one, with controls."""

    PUBLISHED = "published"
    SOUND = "sound"
