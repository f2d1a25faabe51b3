"""`python -m i2i`, which torchrun needs."""

from i2i.cli import main

if __name__ == "__main__":  # loader processes import this file too
    main()
