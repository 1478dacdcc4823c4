"""Where on an image a network looks when it decides: Grad-CAM."""

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate


def grad_cam(network: nn.Module, image: Tensor) -> tuple[Tensor, Tensor]:
    """The saliency of a network's own decision on each image.

    Selvaraju et al., ICCV 2017, arXiv 1610.02391, as in Appendix A of Wang et al. 2022 (arXiv
    2210.10272): the last convolution's map, its
    channels weighted by the mean gradient of the predicted class' logit, summed, and what is positive of the sum.

    Departures:
        - the map is taken after the normalization and the activation that follow the last convolution, if any, so that
          a residual block counts with its shortcut.

    Args:
        network: images to logits (B, classes), with a convolution in it; in eval mode.
        image: (B, C, H, W) float, as the network wants it.

    Returns:
        (B, H, W) saliency, 1 at its strongest (all 0 where nothing speaks for the class), and (B,) int64, the class.

    Raises:
        ValueError: no convolution with more than one pixel in it.

    >>> net = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2))
    >>> _ = [nn.init.ones_(p) for p in net[0].parameters()], net[3].weight.data.copy_(torch.tensor([[0.0], [1.0]]))
    >>> _ = net[3].bias.data.zero_()
    >>> saliency, predicted = grad_cam(net, torch.tensor([[[[0.0, 4.0], [2.0, 0.0]]]]))
    >>> saliency.tolist(), predicted.tolist()
    ([[[0.0, 1.0], [0.5, 0.0]]], [1])
    """
    seen: list[tuple[bool, Tensor]] = []

    def look(module: nn.Module, _: object, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] * output.shape[3] > 1:
            seen.append((isinstance(module, nn.Conv2d), output))

    hooks = [module.register_forward_hook(look) for module in network.modules()]
    try:
        with torch.enable_grad():
            logits = network(image.detach().clone().requires_grad_())
    finally:
        for hook in hooks:
            hook.remove()
    size = next((x.shape[2] * x.shape[3] for is_convolution, x in reversed(seen) if is_convolution), None)
    if size is None:
        raise ValueError(f"{type(network).__name__} has no convolution whose output could be shown on the image")
    layer = next(x for _, x in reversed(seen) if x.shape[2] * x.shape[3] >= size)
    predicted = logits.argmax(1)
    (slope,) = torch.autograd.grad(logits.gather(1, predicted[:, None]).sum(), layer)
    with torch.no_grad():
        saliency = (slope.mean((2, 3), keepdim=True) * layer).sum(1, keepdim=True).relu().float()
        saliency = interpolate(saliency, image.shape[2:], mode="bilinear", align_corners=False)[:, 0]
        return saliency / saliency.amax((1, 2), keepdim=True).clamp_min(1e-12), predicted
