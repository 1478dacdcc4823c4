"""What every network shares: features and a linear head."""

from abc import abstractmethod

from torch import Tensor, nn

from cleanse.utils.checked import Checked


class Network(Checked, nn.Module):
    """A classifier in two parts: ``forward(x)`` is ``head(features(x))``.

    A subclass builds its layers and implements `features`. The head can be taken off or replaced
    (``network.head = nn.Identity()`` leaves an encoder).

    Args:
        num_features: size D of a feature vector.
        num_classes: size of the head's output.

    Raises:
        ValueError: if ``num_classes`` is not positive.
    """

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes is the number of classes, at least 1, not {num_classes}")
        self.num_features = num_features
        self.head: nn.Module = nn.Linear(num_features, num_classes)

    @property
    def map_layers(self) -> tuple[nn.Module, ...]:
        """Three layers, each the last one at its resolution, whose outputs are (B, K, H, W) maps; () for none."""
        return ()

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """Pooled penultimate activations (B, D) of normalized images ``x`` (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, num_classes) of normalized images ``x`` (B, C, H, W)."""
        logits: Tensor = self.head(self.features(x))
        return logits
