"""The local transport: commands on the machine of Luigi itself, without SSH."""
