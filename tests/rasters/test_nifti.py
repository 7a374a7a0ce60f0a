from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform

from delineate.errors import UnreadableFileError
from delineate.rasters import Raster, read_header, read_image, read_raster, read_stack, write_raster

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(0)
SPACING = np.diag([0.5, 0.75, 4.0, 1.0])


def save(path: Path, values: Array, affine: Any = SPACING) -> Path:
    nibabel.Nifti1Image(values, affine).to_filename(path)
    return path


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAS", "ASR", "PIL", "SRA"])
@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_pictures_do_not_depend_on_how_voxels_were_stored(
    tmp_path: Path, codes: str, plane: str
) -> None:
    values = RNG.integers(-99, 99, (5, 6, 7)).astype(np.int16)
    plain = read_stack(save(tmp_path / "plain.nii", values), plane=plane)
    turn = ornt_transform(axcodes2ornt(tuple("RAS")), axcodes2ornt(tuple(codes)))
    stored = nibabel.orientations.apply_orientation(values, turn)
    affine = SPACING @ inv_ornt_aff(turn, values.shape)
    assert "".join(nibabel.aff2axcodes(affine)) == codes
    turned = read_stack(save(tmp_path / "turned.nii.gz", stored, affine), plane=plane)
    np.testing.assert_array_equal(turned.pixels, plain.pixels)
    assert turned.spacing == pytest.approx(plain.spacing)
    assert turned.grid == pytest.approx(plain.grid)


def test_pictures_are_shown_as_radiologists_do(tmp_path: Path) -> None:
    values = np.zeros((5, 6, 7), np.uint8)
    values[4, 5, 6] = 1  # right, front, top
    path = save(tmp_path / "v.nii", values)
    axial, coronal = read_stack(path), read_stack(path, plane="coronal")
    assert axial.pixels.shape == (7, 6, 5, 1)
    assert axial.spacing == (4.0, 0.75, 0.5)
    assert axial.pixels[6, 0, 0] == 1  # the front is up, the right side at the left
    assert coronal.pixels[5, 0, 0] == 1
    assert read_stack(path, plane="sagittal").pixels[4, 0, 0] == 1
    assert read_header(path).num_pages == 7
    assert read_header(path).size == (6, 5)


def test_slices_lie_across_the_widest_spacing(tmp_path: Path) -> None:
    path = save(tmp_path / "v.nii", np.zeros((4, 5, 6), np.uint8), np.diag([3.0, 1, 1, 1]))
    assert read_stack(path).pixels.shape == (4, 6, 5, 1)
    assert read_header(path).num_pages == 4
    assert read_stack(save(path, np.zeros((4, 5, 6), np.uint8), np.eye(4))).spacing == (1, 1, 1)
    assert len(read_stack(path)) == 6


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 1), (6, 5, 1, 2), (1, 6, 5)])
def test_a_single_slice_is_an_image(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = save(tmp_path / "x.nii.gz", RNG.integers(0, 9, shape).astype(np.uint8))
    channels = 2 if len(shape) == 4 else 1
    assert read_image(path).shape == (5, 6, channels)
    assert read_header(path).size == (5, 6)
    assert read_header(path).num_pages == 1


def test_volumes_are_no_images(tmp_path: Path) -> None:
    path = save(tmp_path / "v.nii.gz", np.zeros((4, 5, 6), np.uint8))
    with pytest.raises(UnreadableFileError, match=r"volume of 6 slices .*delineate import"):
        read_image(path)


def test_values_are_scaled_where_the_header_says_so(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.arange(12, dtype=np.int16).reshape(4, 3, 1), np.eye(4))
    image.header.set_slope_inter(0.5, -7)
    image.to_filename(tmp_path / "s.nii")
    found = read_image(tmp_path / "s.nii")
    expected = nibabel.load(tmp_path / "s.nii").get_fdata()[::-1, ::-1, 0].T
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[..., 0], expected)


def test_colours_and_the_second_version(tmp_path: Path) -> None:
    rgb = np.zeros((4, 3, 2), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    rgb["G"] = 7
    assert read_stack(save(tmp_path / "rgb.nii", rgb)).pixels[..., 1].min() == 7
    nibabel.Nifti2Image(np.ones((4, 3, 2), ">f4"), np.eye(4)).to_filename(tmp_path / "two.nii")
    pixels = read_stack(tmp_path / "two.nii").pixels
    assert pixels.shape == (2, 3, 4, 1)
    assert pixels.dtype.isnative


def forge(path: Path, dims: tuple[int, ...], *, packed: bool = False) -> Path:
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.float64)
    header["dim"] = [len(dims), *dims, *[1] * (7 - len(dims))]
    header["magic"] = b"n+1"
    header["vox_offset"] = 352
    content = header.binaryblock + bytes(4)
    path.write_bytes(gzip.compress(content) if packed else content)
    return path


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("dims", "says"),
    [
        ((30000, 30000, 3000), "GiB for the whole"),
        ((100, 100, 100), "damaged"),
        ((-4, 10, 10), "holds nothing|damaged"),
        ((0, 10, 10), "holds nothing|damaged"),
    ],
)
def test_forged_headers_are_refused(
    tmp_path: Path, dims: tuple[int, ...], says: str, packed: bool
) -> None:
    with pytest.raises(UnreadableFileError, match=says):
        read_stack(forge(tmp_path / "x.nii", dims, packed=packed))


def test_axes_that_lead_nowhere_are_refused(tmp_path: Path) -> None:
    affine = np.diag([1.0, 0, 1, 1])
    path = save(tmp_path / "x.nii", np.zeros((3, 4, 5), np.uint8))
    image = nibabel.load(path)
    image.header.set_sform(affine, code=1)
    nibabel.Nifti1Image(np.zeros((3, 4, 5), np.uint8), None, image.header).to_filename(path)
    with pytest.raises(UnreadableFileError, match=r"which way its axes run|damaged"):
        read_stack(path)


def test_spacing_is_kept_in_tiff(tmp_path: Path) -> None:
    pixels = RNG.normal(size=(6, 5, 2)).astype(np.float32)
    write_raster(tmp_path / "s.tif", Raster(pixels, spacing=(0.75, 0.4)))
    found = read_raster(tmp_path / "s.tif")
    assert found.spacing == pytest.approx((0.75, 0.4), rel=1e-6)
    np.testing.assert_array_equal(found.pixels, pixels)
    write_raster(tmp_path / "n.tif", Raster(pixels))
    assert read_raster(tmp_path / "n.tif").spacing is None
