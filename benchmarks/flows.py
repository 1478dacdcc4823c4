"""All classes' flows trained at once, against plain nflows flows trained one after the other, in the same run.

Both standardize the same features, draw batches of 16 rows of a class without the last smaller one, and take Adam's
steps as the paper has them: `cleanse.modules.flow_density.FlowDensity` under a Lightning Trainer, and a bare loop over
``nflows.flows.Flow`` with ``torch.optim.Adam`` as it comes. Densities differ, since shuffles and starts do; the mean
log-density of the training rows under their own class is printed as a check that both have learned the same.

    python benchmarks/flows.py [EPOCHS] [IMAGES] [FEATURES] [CLASSES]        # 50 50000 512 10
"""

import logging
import sys
import time
import warnings

import torch
from lightning.pytorch import Trainer, seed_everything
from nflows.distributions import StandardNormal
from nflows.flows import Flow
from nflows.transforms import ActNorm, CompositeTransform
from nflows.transforms.coupling import AffineCouplingTransform
from torch import Tensor, nn

from cleanse.modules.flow_density import FlowDensity
from cleanse.views import TableView

BATCH = 16


class Net(nn.Sequential):
    """The same transform net, for one class."""

    def __init__(self, inputs: int, outputs: int) -> None:
        last = nn.Linear(inputs, outputs)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        super().__init__(nn.Linear(inputs, inputs), nn.ReLU(), last)

    def forward(self, x: Tensor, context: None = None) -> Tensor:
        return super().forward(x)


class Coupling(AffineCouplingTransform):
    def _scale_and_shift(self, transform_params: Tensor) -> tuple[Tensor, Tensor]:
        shift, raw = transform_params.split(self.num_transform_features, dim=1)
        return raw.tanh().exp(), shift


def plain_flow(features: int) -> Flow:
    second = torch.arange(features) >= (features + 1) // 2
    steps = [ActNorm(features), Coupling(second, Net), ActNorm(features), Coupling(~second, Net)]
    return Flow(CompositeTransform(steps), StandardNormal([features]))


def one_after_the_other(table: TableView, epochs: int, device: str = "cpu") -> list[Flow]:
    x, flows = ((table.features - table.mean) / (table.std + 1e-6)).to(device), []
    for c in range(table.num_classes):
        flow, rows = plain_flow(x.shape[1]).to(device), x[(table.label == c).to(device)]
        optimizer = torch.optim.Adam(flow.parameters(), lr=1e-3, betas=(0.9, 0.99))
        for _ in range(epochs):
            order = torch.randperm(len(rows))
            for i in range(len(rows) // BATCH):
                optimizer.zero_grad()
                loss = -flow.log_prob(rows[order[i * BATCH : (i + 1) * BATCH]]).mean() / x.shape[1]
                loss.backward()
                optimizer.step()
        flows.append(flow.eval())
    return flows


def at_once(table: TableView, epochs: int, device: str = "cpu") -> FlowDensity:
    trainer = Trainer(
        accelerator=device, devices=1, max_epochs=epochs, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    module = FlowDensity()
    trainer.fit(module, datamodule=table)
    return module.eval()


@torch.no_grad()
def own_density(flows: list[Flow] | FlowDensity, table: TableView) -> float:
    """Mean log-density per dimension of every row under its own class."""
    if isinstance(flows, FlowDensity):
        return float(
            torch.cat([flows(rows) for rows in table.features.split(512)]).gather(1, table.label[:, None]).mean()
        )
    x = (table.features - table.mean) / (table.std + 1e-6)
    rows = ((flow, rows) for c, flow in enumerate(flows) for rows in x[table.label == c].split(512))
    return sum(float(flow.log_prob(part).sum()) for flow, part in rows) / x.numel()


def blobs(images: int, features: int, classes: int) -> TableView:
    generator = torch.Generator().manual_seed(0)
    label = torch.arange(images) % classes
    center = torch.randn(classes, features, generator=generator)
    return TableView(center[label] + torch.randn(images, features, generator=generator), label, batch_size=BATCH)


def main(epochs: int = 50, images: int = 50_000, features: int = 512, classes: int = 10) -> None:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    print(f"{torch.get_num_threads()} threads (OMP_NUM_THREADS sets them)")
    table, seconds = blobs(images, features, classes), []
    for train in (one_after_the_other, at_once):
        seed_everything(0, verbose=False)
        train(blobs(8 * BATCH, 8, 4), 1)  # libraries load
        begun = time.perf_counter()
        flows = train(table, epochs)
        seconds.append(time.perf_counter() - begun)
        name = train.__name__.replace("_", " ")
        print(f"{name:20} {seconds[-1]:8.2f} s   {own_density(flows, table):.3f} nats per dimension", flush=True)
    print(f"ratio                {seconds[0] / seconds[1]:8.2f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
