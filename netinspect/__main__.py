"""``python -m netinspect``."""

from netinspect.cli import main

if __name__ == "__main__":
    main()
