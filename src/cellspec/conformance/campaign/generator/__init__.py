"""The generator of workloads: one for campaigns, for the fuzzer and for the tests.

`cellspec.conformance.campaign.generator.workload` puts a workload together; the other modules draw
one kind of thing each.
"""
