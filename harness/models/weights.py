"""The torch side of loading: the device, the weights, and whether they are all there and finite."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.models.checkpoint import Checkpoint
from harness.models.spec import DeviceUnavailable, ModelError, ModelSpec, WeightsCorrupt

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def check_device(device: str) -> None:
    """Raise DeviceUnavailable for a device that torch does not know or this machine does not have."""
    import torch

    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise DeviceUnavailable(f"unknown device {device!r}: use cpu, cuda or cuda:N") from error
    if wanted.type == "cpu":
        return
    if wanted.type != "cuda":
        raise DeviceUnavailable(f"device {device!r} is not supported: use cpu, cuda or cuda:N")
    if not torch.cuda.is_available():
        build = "this torch has no CUDA" if torch.version.cuda is None else "no GPU is visible"
        raise DeviceUnavailable(f"device {device!r} is not available: {build}; use --device cpu")
    if wanted.index is not None and wanted.index >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise DeviceUnavailable(
            f"device {device!r} is not available: {count} GPU(s) are visible, counted from 0"
        )


def load_weights(checkpoint: Checkpoint, dtype: str, attn: str) -> PreTrainedModel:
    """The model on the CPU, in eval mode, without gradients. Raises WeightsCorrupt, ModelError (memory)."""
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    place = checkpoint.directory
    try:
        with _no_progress_bars():
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                place,
                dtype=getattr(torch, dtype),
                attn_implementation=attn,
                output_loading_info=True,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
            )
    except (OSError, RuntimeError, ValueError, KeyError, SafetensorError) as error:
        if "allocate memory" in str(error):
            raise ModelError(f"not enough memory to load {place} as {dtype} ({first_line(error)})") from error
        raise WeightsCorrupt(f"the weights in {place} do not load ({first_line(error)})") from error
    model: PreTrainedModel = loaded[0].eval().requires_grad_(False)
    _check_report(loaded[1], place)
    _check_finite(model, place)
    return model


def to_device(model: PreTrainedModel, spec: ModelSpec, dtype: str, device: str) -> PreTrainedModel:
    """The model on `device`. Raises ModelError where it does not fit."""
    import torch

    try:
        movable: Any = model  # transformers annotates its wrapper of `to` wrongly
        moved: PreTrainedModel = movable.to(torch.device(device))
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f"{spec.id} as {dtype} does not fit on {device} ({first_line(error)}); "
            f"free the device, choose a smaller dtype, or use --device cpu"
        ) from error
    return moved


def _check_report(report: Mapping[str, Any], place: Path) -> None:
    """Refuse what transformers would initialise at random (missing) or drop (left over)."""
    for kind, meaning in (
        ("missing_keys", "lack"),
        ("mismatched_keys", "have in another shape"),
        ("unexpected_keys", "hold, besides the model,"),
        ("error_msgs", "failed with"),
    ):
        if names := sorted(str(name) for name in report.get(kind, ())):
            rest = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise WeightsCorrupt(
                f"the weights in {place} {meaning} {names[0]}{rest}; fetch or copy the checkpoint again"
            )


def _check_finite(model: torch.nn.Module, place: Path) -> None:
    import torch

    for name, tensor in model.named_parameters():
        if not all(torch.isfinite(extreme) for extreme in torch.aminmax(tensor)):
            raise WeightsCorrupt(
                f"{name} in {place} holds NaN or infinity; fetch or copy the checkpoint again"
            )


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    from transformers.utils import logging as transformers_logging

    logging: Any = transformers_logging
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def first_line(error: Exception) -> str:
    """The first line of an error's text, cut to a readable length."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
