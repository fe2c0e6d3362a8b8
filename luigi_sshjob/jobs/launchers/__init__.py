"""How a job is started on its host: one module per launcher."""
