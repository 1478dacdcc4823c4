"""The steganographic pair: its shapes at any size, and that the residual depends on the image and on every bit."""

import pytest
import torch

from cleanse.networks import SecretDecoder, SecretEncoder

SHAPES = [(1, 8, 8), (3, 32, 32), (1, 28, 28), (3, 5, 9), (2, 33, 47), (3, 1, 1)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bits", [1, 20])
def test_shapes(shape: tuple[int, int, int], bits: int) -> None:
    image, secret = torch.rand(3, *shape), torch.randint(2, (3, bits))
    residual = SecretEncoder(bits, *shape)(image, secret)
    assert residual.shape == image.shape
    assert residual.isfinite().all()
    assert SecretDecoder(bits, *shape)(image + residual).shape == (3, bits)


def test_imagenet_s_size_has_the_published_plane() -> None:
    with torch.device("meta"):
        encoder, decoder = SecretEncoder(20, 3, 224, 224), SecretDecoder(20, 3, 224, 224)
        assert encoder(torch.rand(1, 3, 224, 224), torch.ones(1, 20)).shape == (1, 3, 224, 224)
        assert decoder(torch.rand(1, 3, 224, 224)).shape == (1, 20)
    assert encoder.plane == (3, 28, 28)


def test_the_residual_depends_on_the_image_and_on_every_bit() -> None:
    torch.manual_seed(0)
    encoder, image = SecretEncoder(6, 1, 8, 8).double(), torch.rand(2, 1, 8, 8, dtype=torch.float64)
    secret = torch.zeros(1, 6)
    one, other = encoder(image, secret.expand(2, -1))
    assert not torch.allclose(one, other, atol=1e-3)  # sample-specific
    for bit in range(6):
        flipped = secret.clone()
        flipped[0, bit] = 1
        assert not torch.allclose(encoder(image[:1], flipped)[0], one, atol=1e-3), bit


def test_every_layer_learns() -> None:
    torch.manual_seed(0)
    encoder, decoder = SecretEncoder(4, 3, 12, 10), SecretDecoder(4, 3, 12, 10)
    image = torch.rand(8, 3, 12, 10)
    decoder(image + encoder(image, torch.randint(2, (8, 4)))).square().sum().backward()
    for network in (encoder, decoder):
        for name, weight in network.named_parameters():
            assert weight.grad is not None, name
            assert weight.grad.abs().sum() > 0, name
