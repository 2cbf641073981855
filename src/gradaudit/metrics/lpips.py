"""LPIPS, a learned perceptual distance (Zhang et al., 2018), available only with the published weights."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ..values.errors import AuditError
from ..values.measures import Compared, Computed, Metric
from ..values.tensor_files import read_tensor_file
from ..values.types import Modality
from ._image_pairs import clean_pair

LPIPS_NEEDS = "needs grey or RGB images of at least 31 x 31 pixels"
"""The reason why `lpips` returned `None`."""

VARIABLE = "GRADAUDIT_LPIPS"
_BACKBONE = "alexnet-owt-7be5be79.pth"
_ADDRESS = f"https://download.pytorch.org/models/{_BACKBONE}"
_DIGEST = "7be5be79"  # the start of the file's SHA-256, which is part of its name
_TRUNK = "lpips_trunk_alexnet.npz"
_TRUNK_DIGEST = "276812cc"  # of the values of the convolutions, in the order of their names
_CONVOLUTIONS = tuple(f"features.{layer}.{part}" for layer in (0, 10, 3, 6, 8) for part in ("bias", "weight"))
_SMALLEST_SIDE = 31  # AlexNet's two poolings leave no pixel of a smaller image


def perceptual_network() -> tuple[nn.Module | None, str]:
    """Return the LPIPS network v0.1 on AlexNet if its weights are on this machine; nothing is ever downloaded.

    The network needs the optional package `lpips`, which contains the linear heads, and the weights of AlexNet:
    torchvision's file, or a file that holds only its five convolutions (`features.0.weight`, ...; `.npz`,
    `.safetensors` or `.pth`), which is known by the digest of their values. It is the file that the environment
    variable GRADAUDIT_LPIPS names (`--lpips` sets it), or otherwise searched for in the folder that GRADAUDIT_ASSETS
    names and then in torch.hub's checkpoints folder. It is built once per process.

    Returns:
        `(network, "")` in evaluation mode on the CPU, or `(None, reason)`, which says what is missing and where to put
        it.
    """
    if importlib.util.find_spec("lpips") is None:  # importing it takes seconds, so find_spec only looks for it
        return None, 'the package lpips is missing: pip install "gradaudit[perceptual]"'
    folders = _folders()
    named = os.environ.get(VARIABLE)
    places = (
        [Path(named).expanduser()] if named else [folder / name for folder in folders for name in (_BACKBONE, _TRUNK)]
    )
    found = next((path for path in places if path.is_file()), None)
    if found is None and named:
        return None, f"weights missing: no file at {_shown(places[0])}, which {VARIABLE} names"
    if found is None:
        searched = " or ".join(_shown(folder) for folder in folders)
        hint = "" if len(folders) > 1 else ", or into a folder that GRADAUDIT_ASSETS names"
        return None, f"weights missing: put {_BACKBONE} ({_ADDRESS}) into {searched}{hint}"
    facts = found.stat()
    return _load(found, facts.st_size, facts.st_mtime_ns)


@torch.no_grad()
def lpips(network: nn.Module, reconstruction: Tensor, truth: Tensor) -> Tensor | None:
    """Return the perceptual distance of each example (Zhang et al., 2018, arXiv:1801.03924, eq. 1; AlexNet, v0.1).

    Both sides are clamped to [0, 1] and scaled to [-1, 1] for the network; a grey image is repeated over the three
    channels. A pixel of the reconstruction that is NaN or infinite is read as mid grey.

    Args:
        network: From `perceptual_network`.
        reconstruction: `[B, C, H, W]` floats, pixels, already aligned with `truth`.
        truth: `[B, C, H, W]` floats, pixels.

    Returns:
        `[B]` float64, 0 for equal images and larger for less similar ones; `None` if the images are smaller than 31
        pixels or C is neither 1 nor 3 (`LPIPS_NEEDS`).

    Raises:
        AuditError: The shapes differ or are not four-dimensional, a tensor is not floating point, or the ground truth
            is not finite.
    """
    guess, true = clean_pair(reconstruction, truth)
    channels, *sides = guess.shape[1:]
    if channels not in (1, 3) or min(sides) < _SMALLEST_SIDE:
        return None
    like = next(network.parameters())
    left, right = (side.nan_to_num(nan=0.5).to(like).expand(-1, 3, -1, -1) * 2 - 1 for side in (guess, true))
    return network(left, right).flatten().cpu().to(torch.float64)


def _folders() -> list[Path]:
    named = os.environ.get("GRADAUDIT_ASSETS")
    return [*([Path(named).expanduser()] if named else []), Path(torch.hub.get_dir()) / "checkpoints"]


def _shown(path: Path) -> str:
    """Return a path without the user's name, because the reason appears on pages that are shared."""
    home = Path.home()
    return f"~/{path.relative_to(home).as_posix()}" if path.is_relative_to(home) else str(path)


@functools.cache
def _load(path: Path, size: int, modified: int) -> tuple[nn.Module | None, str]:
    """Return the network on the weights in `path`; a new `size` or `modified` makes the cache read it again."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest.startswith(_DIGEST):
        return _build(torch.load(path, map_location="cpu", weights_only=True)), ""
    fix = f"put the file of {_ADDRESS} there"
    if path.name == _BACKBONE:
        damage = f"its SHA-256 starts with {digest[: len(_DIGEST)]}, not {_DIGEST}"
        return None, f"weights damaged: {_shown(path)} ({damage}); {fix}"
    try:
        tensors = read_tensor_file(path, "weights").tensors
    except AuditError as error:
        return None, f"weights unreadable: {error}"
    if set(tensors) != set(_CONVOLUTIONS) or not _digest(tensors).startswith(_TRUNK_DIGEST):
        return None, f"{_shown(path)} does not hold the convolutions of torchvision's AlexNet; {fix}"
    return _build(tensors), ""


def _digest(tensors: Mapping[str, Tensor | None]) -> str:
    """Return the SHA-256 of the values of the convolutions in single precision, in the order of their names."""
    found = hashlib.sha256()
    for name in _CONVOLUTIONS:
        value = tensors[name]
        assert value is not None
        found.update(value.float().contiguous().numpy().tobytes())
    return found.hexdigest()


def _build(alexnet: Mapping[str, Tensor | None]) -> nn.Module:
    """Return LPIPS with its published heads on the convolutions of an AlexNet (`features.0.weight`, ...)."""
    import lpips as package

    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        # lpips builds torchvision's AlexNet through a deprecated argument, with random weights that are overwritten.
        warnings.simplefilter("ignore", UserWarning)
        network = package.LPIPS(net="alex", version="0.1", pretrained=True, pnet_rand=True, verbose=False)
    # The slices of lpips keep AlexNet's numbers: `slice2.3.weight` is `features.3.weight`.
    names = network.net.state_dict().keys()
    network.net.load_state_dict({name: alexnet[f"features.{name.partition('.')[2]}"] for name in names})
    return network.eval().requires_grad_(False)


def _of(compared: Compared) -> Computed:
    network, reason = perceptual_network()
    found = lpips(network, compared.guess, compared.truth) if network else None
    return (reason or LPIPS_NEEDS) if found is None else found


METRIC = Metric(
    key="lpips",
    name="LPIPS",
    unit="",
    higher_is_better=False,
    meaning="Distance of the images in a network trained on human judgements; 0 for equal images.",
    paper="arXiv:1801.03924",
    modality=Modality.PICTURES,
    compute=_of,
    place=2,
)
