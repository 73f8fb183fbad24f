"""The exchange half of the simulator: accounts, orders, fills, private addresses, ledger, control, faults."""
