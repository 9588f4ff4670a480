#!/usr/bin/env python3
"""Django's own command line; `./boathouse manage …` ends here."""

from portal.manage import main

if __name__ == "__main__":
    main()
