"""Adoption: users whom LiteLLM has under other ids become the users of their Backstage refs. Read, plan, adopt."""
