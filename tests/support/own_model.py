"""A network, a training script and data of a user, as files outside the package."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

NAMES = [f"digit {digit}" for digit in range(5)]
MEAN, STD = 0.3, 0.38

MODEL = '''
"""A small residual network."""

import torch
from torch import nn

PREPROCESSING = {"mean": [0.3], "std": [0.38], "size": 8}
CLASS_NAMES = ["digit 0", "digit 1", "digit 2", "digit 3", "digit 4"]


class Block(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.GroupNorm(2, channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return torch.relu(x + self.second(torch.relu(self.norm(self.first(x)))))


class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.blocks = nn.Sequential(Block(8), Block(8))
        self.head = nn.Linear(8, classes)

    def forward(self, x):
        return self.head(self.blocks(torch.relu(self.stem(x))).mean(dim=(2, 3)))


def network(num_classes=5):
    return Net(num_classes)
'''

SCRIPT = '''
"""Trains the network with a plain PyTorch loop."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch.nn import functional as F

from net import network

torch.manual_seed(0)
folders = sorted(Path("data/train").iterdir())
files = [(file, label) for label, folder in enumerate(folders) for file in sorted(folder.iterdir())]
pixels = np.stack([np.asarray(Image.open(file), dtype=np.float32) for file, _ in files])
x = (torch.from_numpy(pixels)[:, None] / 255 - 0.3) / 0.38
y = torch.tensor([label for _, label in files])
model = network()
optimiser = torch.optim.AdamW(model.parameters(), lr=0.01)
for _ in range(60):
    for batch in torch.randperm(len(y)).split(32):
        optimiser.zero_grad()
        F.cross_entropy(model(x[batch]), y[batch]).backward()
        optimiser.step()
save_file(model.state_dict(), "net.safetensors")
torch.save(model.state_dict(), "net.pt")
'''


def write_digits(root: Path, counts: dict[str, int]) -> Path:
    """Write ``counts[split]`` images of each class into each split, a folder of class folders."""
    digits = load_digits()
    for label, name in enumerate(NAMES):
        images = iter(np.flatnonzero(digits.target == label))
        for split, count in counts.items():
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = np.rint(digits.images[next(images)] * (255 / 16)).astype(np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{i:02d}.png")
    return root


def write_project(root: Path) -> Path:
    """Write data/, net.py and train.py, and run train.py, which writes net.safetensors and net.pt."""
    write_digits(root / "data", {"train": 24, "validation": 8, "test": 8})
    (root / "net.py").write_text(MODEL)
    (root / "train.py").write_text(SCRIPT)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.syspath_prepend(str(root))
        runpy.run_path("train.py")
    del sys.modules["net"]  # which another test may have under the same name
    return root
