"""The discrete cosine transform against SciPy's."""

import pytest
import torch
from scipy.fft import dct

from cleanse.functional import cosine_basis


@pytest.mark.parametrize("size", [1, 2, 7, 32])
def test_it_is_scipys_orthonormal_transform(size: int) -> None:
    row = torch.rand(size, dtype=torch.float64)
    expected = torch.from_numpy(dct(row.numpy(), norm="ortho"))
    torch.testing.assert_close(cosine_basis(size) @ row, expected)


def test_it_is_orthonormal() -> None:
    basis = cosine_basis(9)
    torch.testing.assert_close(basis @ basis.T, torch.eye(9, dtype=torch.float64))
