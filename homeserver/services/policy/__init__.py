"""Content policy: the admin's rules, asked for every event, local or from another instance.

A rule names what it matches and what becomes of it; the first rule that matches decides.
``docs/policy.md`` is the language; here:

==============  ==================================================================
``subject``     what a rule looks at: one event, and where it comes from
``matchers``    one test each: globs, keywords, sizes
``rules``       rules as the configuration has them, checked and compiled
``rates``       how often somebody does something
``engine``      judges events by the rules; the audit trail
==============  ==================================================================
"""

from homeserver.services.policy.engine import Policy
from homeserver.services.policy.rules import Rule
from homeserver.services.policy.subject import Subject

__all__ = ["Policy", "Rule", "Subject"]
