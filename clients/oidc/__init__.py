"""Foreign OpenID tokens: the keys of their issuers, and what a token has to be like before a rule is asked."""
