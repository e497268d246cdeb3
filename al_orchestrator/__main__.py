"""`python -m al_orchestrator` is `alo`."""

from al_orchestrator.cli import main

main()
