"""The models that SampleScope builds by name, described. Loads without torch, so that help and forms can list them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Architecture:
    """Description of a model before it is built.

    Attributes:
        description: What it is, in one line.
        min_side: Smallest image side it takes, in pixels; 0 where it takes any input.
        classifies: Whether it takes images and has one output for each class, so that a run can train it.
    """

    description: str
    min_side: int = 0
    classifies: bool = True


ARCHITECTURES = {
    "linear": Architecture("one linear layer: multinomial logistic or linear regression"),
    "mlp": Architecture("fully connected ReLU network; hidden sizes to choose, 1024 by default"),
    "two_layer": Architecture(
        "wide two-layer ReLU network whose first layer alone is trained; 10,000 units by default"
    ),
    "lenet5": Architecture("LeNet-5 with ReLU and max pooling, 28 pixels and up", min_side=12),
    "cnn4": Architecture("four convolutions and two linear layers, 28 pixels and up", min_side=20),
    "alexnet": Architecture(
        "AlexNet for small images, 28 pixels and up; wide at the end, so 20 million parameters and more", min_side=15
    ),
    "vgg13": Architecture("VGG-13 for small images, 28 pixels and up", min_side=17),
    "resnet18": Architecture("ResNet-18 for small images, 32 pixels and up", min_side=8),
    "resnet20": Architecture("ResNet-20, the narrow one for small images, 28 pixels and up", min_side=4),
    "autoencoder": Architecture(
        "deep sigmoid autoencoder; the encoder's sizes to choose, 1000 to a code of 30", classifies=False
    ),
    "transformer_lm": Architecture(
        "two-layer Transformer that predicts the next token; 256 wide by default", classifies=False
    ),
}
CLASSIFIERS = tuple(name for name, each in ARCHITECTURES.items() if each.classifies)
