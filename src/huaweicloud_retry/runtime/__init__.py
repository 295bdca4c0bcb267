"""The runtime of the generated client; imports attrs, httpx, httptools and the standard library only.

errors <- response <- resend <- client: exceptions, return values, the resend policy, the exchange
redaction: keeps secrets out of all of them
http1 <- sync_transport, async_transport <- transport -> proxies: connections
"""
