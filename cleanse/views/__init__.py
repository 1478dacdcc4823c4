"""What a trainer and a defender see of a data set."""

from cleanse.utils.batch import Batch
from cleanse.views.epoch_batches import EpochBatches, GivenBatches
from cleanse.views.image_source import ImageSource
from cleanse.views.image_view import ChoosesBatches, ChoosesRows, ImageView
from cleanse.views.table_view import ClassBatches, TableView
from cleanse.views.training_view import TrainingView

__all__ = [
    "Batch",
    "ChoosesBatches",
    "ChoosesRows",
    "ClassBatches",
    "EpochBatches",
    "GivenBatches",
    "ImageSource",
    "ImageView",
    "TableView",
    "TrainingView",
]
