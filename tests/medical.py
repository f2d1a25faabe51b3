"""Drawn volumes, written by nibabel and pydicom as scanners and their converters do."""

import numpy as np

UID = "1.2.826.0.1.3680043.8.498."  # of pydicom, for examples
SPACING = (0.8, 0.9, 2.5)  # mm along x, y, z


def body(seed=0, shape=(32, 36, 8)):
    """[X, Y, Z] of HU: an ellipsoid of tissue with a bone that moves slowly through the slices, in air."""
    rng = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, side) for side in shape), indexing="ij")
    tissue = x**2 / 0.6 + y**2 / 0.7 + (z / 2) ** 2 < 0.8
    center = 0.3 * np.sin(2 * z + rng.uniform(0, 6))
    bone = (x - center) ** 2 + y**2 < 0.06
    values = np.where(bone, 700, np.where(tissue, 40, -1000)) + rng.integers(-20, 20, shape)
    return values.astype(np.int16)


def affine(tilt=0.0):
    """RAS of a volume whose first axis runs to the left, its second to the back."""
    matrix = np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1.0])
    matrix[:3, 3] = 10.5, 20.25, -30.125
    matrix[1, 2] = tilt
    return matrix


def write_nifti(path, array, matrix=None, kind="Nifti1Image", slope=None, intercept=None):
    import nibabel

    image = getattr(nibabel, kind)(array, affine() if matrix is None else matrix)
    image.header.set_qform(image.affine, code=1)
    image.header.set_sform(image.affine, code=2)
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = b"a scan"
    if slope is not None:
        image.header.set_slope_inter(slope, intercept)
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)
    return path


def write_series(folder, array, slope=1, intercept=-1024, signed=False, **changes):
    """Write [X, Y, Z] of values; `changes` are set on each file, or called with it and its number."""
    import pydicom
    from pydicom.dataset import FileDataset, FileMetaDataset

    folder.mkdir(parents=True, exist_ok=True)
    for number in range(array.shape[2]):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        meta.MediaStorageSOPInstanceUID = f"{UID}1.{number + 1}"
        meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
        item = FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
        item.SOPClassUID, item.SOPInstanceUID = meta.MediaStorageSOPClassUID, f"{UID}1.{number + 1}"
        item.PatientName, item.PatientID, item.Modality = "Doe^Jane", "17", "CT"
        item.StudyInstanceUID, item.SeriesInstanceUID = f"{UID}2", f"{UID}3"
        item.FrameOfReferenceUID = f"{UID}4"
        item.StudyDate, item.SeriesDescription = "20261126", "thorax"
        item.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        item.InstanceNumber = number + 1
        item.ImagePositionPatient = [-10.5, -20.25, -30.125 + SPACING[2] * number]
        item.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        item.PixelSpacing, item.SliceThickness = [SPACING[1], SPACING[0]], SPACING[2]
        item.SamplesPerPixel, item.PhotometricInterpretation = 1, "MONOCHROME2"
        item.Rows, item.Columns = array.shape[1], array.shape[0]
        item.BitsAllocated, item.BitsStored, item.HighBit = (
            16,
            16 if signed else 12,
            15 if signed else 11,
        )
        item.PixelRepresentation = int(signed)
        item.RescaleSlope, item.RescaleIntercept = slope, intercept
        item.WindowCenter, item.WindowWidth = 40, 400
        stored = np.round((array[:, :, number].T.astype(float) - intercept) / slope)
        item.PixelData = stored.astype("<i2" if signed else "<u2").tobytes()
        for key, value in changes.items():
            if callable(value):
                value(item, number)
            else:
                setattr(item, key, value)
        item.private_block(0x0011, "maker", create=True).add_new(1, "LO", "secret")
        pydicom.dcmwrite(
            folder / f"IM{array.shape[2] - number:04d}.dcm", item
        )  # in no useful order
    return folder


def write_enhanced(folder, array, order=None, slopes=None, change=None):
    """Write [X, Y, Z] of HU as one Enhanced CT whose frames lie in any order; `change` gets the dataset."""
    import pydicom
    from pydicom.dataset import Dataset, FileDataset, FileMetaDataset

    def group(**elements):
        item = Dataset()
        item.update(elements)
        return [item]

    folder.mkdir(parents=True, exist_ok=True)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID = f"{UID}9.1", "1.2.840.10008.1.2.1"
    item = FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
    item.SOPClassUID, item.SOPInstanceUID = meta.MediaStorageSOPClassUID, f"{UID}9.1"
    item.PatientName, item.PatientID, item.Modality = "Doe^Jane", "17", "CT"
    item.StudyInstanceUID, item.SeriesInstanceUID = f"{UID}2", f"{UID}9"
    item.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    item.SamplesPerPixel, item.PhotometricInterpretation = 1, "MONOCHROME2"
    item.Rows, item.Columns, item.NumberOfFrames = array.shape[1], array.shape[0], array.shape[2]
    item.BitsAllocated, item.BitsStored, item.HighBit, item.PixelRepresentation = 16, 12, 11, 0
    measures = group(PixelSpacing=[SPACING[1], SPACING[0]], SliceThickness=SPACING[2])
    orientation = group(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    item.SharedFunctionalGroupsSequence = group(
        PixelMeasuresSequence=measures,
        PlaneOrientationSequence=orientation,
        CTImageFrameTypeSequence=group(FrameType=list(item.ImageType)),
        FrameVOILUTSequence=group(WindowCenter=40, WindowWidth=400),
    )
    item.DimensionIndexSequence = group(
        DimensionIndexPointer=pydicom.tag.Tag("InStackPositionNumber"),
        FunctionalGroupPointer=pydicom.tag.Tag("FrameContentSequence"),
    )
    groups, frames = [], []
    for z in range(array.shape[2]) if order is None else order:
        slope = slopes[z] if slopes else 1
        content = group(StackID="1", InStackPositionNumber=z + 1, DimensionIndexValues=[z + 1])
        place = [-10.5, -20.25, -30.125 + SPACING[2] * z]
        values = group(RescaleIntercept=-1024, RescaleSlope=slope, RescaleType="HU")
        groups += group(
            FrameContentSequence=content,
            PlanePositionSequence=group(ImagePositionPatient=place),
            PixelValueTransformationSequence=values,
        )
        frames.append(np.round((array[:, :, z].T.astype(float) + 1024) / slope).astype("<u2"))
    item.PerFrameFunctionalGroupsSequence = groups
    item.PixelData = np.stack(frames).tobytes()
    if change:
        change(item)
    pydicom.dcmwrite(folder / "IM0001.dcm", item)
    return folder


def pairs(root, count=4, suffix=".nii.gz", shape=(32, 36, 8), splits=("train", "test")):
    """Pairs of volumes: b is a, brighter by 100 where there is tissue."""
    for split in splits:
        for number in range(count):
            a = body(number + 100 * (split == "test"), shape)
            b = np.where(a > -500, a + 100, a).astype(np.int16)
            for name, values in (("a", a), ("b", b)):
                folder = root / split / name
                if suffix:
                    write_nifti(folder / f"p{number}{suffix}", values)
                else:
                    write_series(folder / f"p{number}", values)
    return root
