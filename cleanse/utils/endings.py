"""What the ending of a file's name says of it, lower-case and with its dot."""

IMAGES = frozenset(
    (
        *(".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"),
        *(".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
    )
)
ARCHIVES = frozenset((".zip", ".tar", ".tgz", ".tbz2", ".txz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar"))
ARRAYS = frozenset((".npy", ".npz", ".h5", ".hdf5", ".mat"))
TABLES = frozenset((".csv", ".tsv", ".jsonl", ".parquet"))
"""With labels beside the images."""
