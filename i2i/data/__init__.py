"""Images from disk to batches: folders, datasets, augmentation, a resumable loader, and the check of a folder."""
