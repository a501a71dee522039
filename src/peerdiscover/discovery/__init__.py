"""What waits: `Discovery` for threads, `AsyncDiscovery` for asyncio and trio, `resolve` for once."""
