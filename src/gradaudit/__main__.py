"""`python -m gradaudit`."""

from .commands.cli import main

if __name__ == "__main__":
    main()
