"""What each family of field devices costs a gateway: `python -m bench.devices.NAME`."""
