"""The judge of model endpoints: do the calls of a trace obey what its header says of a server?

A header that claims ``endpoints`` says of each all that decides when it takes a call in, how fast
it serves it, and when it refuses it. This package works the rest out again from the ``request``
events: who is in line, who is served, what each call has received of the shared speed, the level of
each bucket. It shares nothing with the simulator, and trusts no sum that the trace states: clauses
ENDP-05 and ENDP-15 hold such sums to what the events say.

It goes event by event, and keeps what it knows of the calls that are under way. Moments that are
less than `INSTANT_S` apart are one, for sums of times are rounded; what must hold is asked for when
time moves on, for what leaves at an instant may be reported after what took its place.
"""

from cellspec.check.endpoints.judge import Breach, EndpointJudge, judge_of

__all__ = ["Breach", "EndpointJudge", "judge_of"]
