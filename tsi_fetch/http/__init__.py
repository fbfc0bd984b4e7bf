"""One chain of transports, each wrapping the next.

    retry → measure → record | replay → limit → authenticate → keep to the origin → read whole → wire

Recording sits outside authentication, so that it never sees a credential, and inside retrying, so that a replay meets
the same failures and retries in the same way.  `chain.build_client` puts the chain together.
"""
