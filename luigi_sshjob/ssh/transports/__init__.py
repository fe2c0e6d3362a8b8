"""How a host is reached: one package per transport."""
