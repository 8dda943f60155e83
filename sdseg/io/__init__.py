"""File formats: images, NIfTI, MetaImage, NRRD and DICOM to arrays with their geometry, and back."""
