from __future__ import annotations

from astronomer_remote.cli.main import main

main()
