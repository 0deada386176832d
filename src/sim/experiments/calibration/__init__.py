"""A scenario from a recorded run: fitted, simulated, and compared with the record.

=================  =================================================================================
module             contents
=================  =================================================================================
`record`           what a recorded run shows, whichever file it comes from
`from_trace`       the record of a run from its trace
`requests`         requests as logs hold them, and how they failed
`from_log`         the record of a run from a log of requests
`litellm`          requests of LiteLLM's logs
`spans`            requests of OpenTelemetry's spans
`csv_log`          requests of a CSV file
`dispatch`         the order in which ready calls start
`fits`             the latency model that fits best, and how well it does
`failing`          how often calls fail, and the backoff
`warmth`           whether first calls were slower
`overhead`         the engine's own time
`calibration`      all of that, and the scenario that it makes
`prediction`       the scenario's runs beside the record
=================  =================================================================================
"""
