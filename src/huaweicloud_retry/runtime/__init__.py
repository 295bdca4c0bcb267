"""What the generated client stands on; imports attrs, httpx, httptools and the standard library only.

errors <- response <- resend <- client: what calls raise and return, what is resent, the exchange itself
redaction: keeps secrets out of all of them
http1 <- sync_transport, async_transport <- transport -> proxies: how the bytes get there
"""
