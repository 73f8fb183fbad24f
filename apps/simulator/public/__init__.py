"""The public half of the protocol: market data by REST (`market/*`) and by socket (`/v5/public/*`)."""
