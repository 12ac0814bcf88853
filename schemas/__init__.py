"""What an event looks like: one JSON Schema per event type, everything else derived from it.

`schemas/<contract>/v<N>.json` is the contract, the `pass-*.json` and `fail-*.json` beside it are its tests.
"""

from schemas.contract import BadContract, Contract, UnknownContract, all_contracts, contract

__all__ = ["BadContract", "Contract", "UnknownContract", "all_contracts", "contract"]
