"""Downloads a network's published weights into its library's own cache, for those who ask for it with ``--download``.

Nothing else in SampleScope reads from the network.
"""

from pathlib import Path

import torch

from attribution_core.errors import InputError, first_sentence
from attribution_core.models.pretrained import (
    CACHED_FILES,
    hub_repository,
    torchvision_file,
    weights_at_hand,
)
from attribution_core.progress import announce


def fetch_weights(name: str) -> Path:
    """Return the file of a network's published weights, downloading it unless it is on this machine.

    The libraries download, check and keep the file, and show its size and their progress on the standard error.

    Args:
        name: ``torchvision/NAME`` or ``timm/NAME``.

    Raises:
        InputError: There is no such network, or the download fails.
    """
    found = weights_at_hand(name)
    if found is not None:
        return found
    library, _, architecture = name.partition("/")
    announce(f"Downloading the weights of {name} into the cache of {library}. This happens once.")
    try:
        return _from_torchvision(architecture) if library == "torchvision" else _from_hub(architecture)
    except (OSError, RuntimeError) as error:  # no network; or the file is not the published one
        raise InputError(
            f"The weights of {name} cannot be downloaded ({first_sentence(error)}): try again with a "
            "connection to the internet, or leave out --download and use a network whose weights are on this machine."
        ) from error


def _from_torchvision(architecture: str) -> Path:
    url, file = torchvision_file(architecture)
    file.parent.mkdir(parents=True, exist_ok=True)
    # The name ends in the first digits of the content's SHA-256, as in "resnet50-11ad3fa6.pth".
    torch.hub.download_url_to_file(url, str(file), hash_prefix=file.stem.rpartition("-")[2])
    return file


def _from_hub(architecture: str) -> Path:
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(hub_repository(architecture), CACHED_FILES[0]))
