"""Stage: images, volumes and DICOM series of a user's own -> masks in their own size and geometry."""
