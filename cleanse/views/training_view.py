"""A training set as the defender gets it."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from cleanse.verdict import Verdict
from cleanse.views.image_view import ImageView


class TrainingView(ImageView):
    """A training set as the defender gets it.

    The poisoned rows, the true labels, the target class, the poison rate, the trigger and the test set cannot be
    reached from here.
    """

    @property
    def labeled(self) -> Tensor:
        """(n,) bool: where a label is given."""
        return self.label >= 0

    def unlabeled(self) -> Self:
        """The same images without any label."""
        return self._like(self.rows, torch.full_like(self.label, -1))

    def subset(self, mask: Tensor) -> Self:
        """The rows where ``mask`` (n,) bool is true."""
        return self._like(self.rows[mask], self.label[mask])

    def with_labels(self, label: Tensor) -> Self:
        """The same images with other labels (n,) int64."""
        return self._like(self.rows, label)

    def with_verdict(self, verdict: Verdict) -> Self:
        """What a verdict leaves: kept and relabeled images that have a label, with their new one.

        Raises:
            ValueError: the verdict is about another number of images.
        """
        if len(verdict) != len(self):
            raise ValueError(f"the verdict has {len(verdict)} rows, the training set {len(self)}")
        use = ~verdict.dropped & (verdict.new_label >= 0)
        return self._like(self.rows[use], verdict.new_label[use])

    def joined(self, other: "TrainingView") -> Self:
        """These images, then those of ``other`` that are not among them, such as clean ones that were set aside.

        Raises:
            ValueError: the other images are of another source.
        """
        if other.source is not self.source:
            raise ValueError("two views can be joined where both are of one data set: these are of two")
        new = ~torch.isin(other.rows, self.rows)
        return self._like(torch.cat([self.rows, other.rows[new]]), torch.cat([self.label, other.label[new]]))

    def with_batch_size(self, batch_size: int) -> Self:
        """The same with another (global) batch size."""
        return self._like(self.rows, self.label, batch_size)

    def plain(self) -> Self:
        """The same without augmentation, for modules that make their own views."""
        return self.augmented_by(())

    def augmented_by(self, augment: Sequence[nn.Module]) -> Self:
        """The same with another augmentation for training."""
        return type(self)(self.source, self.rows, self.label, augment, self.batch_size, self.seed)
