"""Where prices come from: the sources, the market clock, and the driver that moves them."""
