"""Where networks run and in which arithmetic: the one place that decides it."""

import torch

from winnow.embeddings.base import Runtime
from winnow.errors import InvalidRequest


def chosen_device(wish: str) -> torch.device:
    """`auto` is the first CUDA device, or the processor; a device that is named must be there."""
    if wish == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    device = torch.device(wish)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InvalidRequest(f"WINNOW_DEVICE is {wish}, and this machine has {torch.cuda.device_count()} such devices")
    return device


def chosen_dtype(runtime: Runtime, device: torch.device) -> torch.dtype:
    """Half as many bits where the hardware multiplies them natively; elsewhere they are emulated, and slower."""
    if runtime.precision != "auto":
        return torch.float32 if runtime.precision == "float32" else torch.bfloat16
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    can = torch.cpu.get_capabilities()
    return torch.bfloat16 if can.get("avx512_bf16") or can.get("amx_bf16") else torch.float32
