"""`python -m trainwright`, which is how torchrun starts it."""

from trainwright.cli import main

if __name__ == "__main__":
    main()
