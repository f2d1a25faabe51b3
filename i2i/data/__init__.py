"""Images from disk to batches: folders, data sets, augmentation, a resumable loader, checks."""
