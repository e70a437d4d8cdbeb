"""What passing a request through costs: Darkroom beside nginx, the barest aiohttp proxy, and the upstream reached directly."""
