-- Which rules tell what is false or comes again, and whose alerts wait longest for somebody?
select
    rule,
    sum(alerts) as alerts,
    round(100.0 * sum(false_alerts) / sum(alerts), 1) as false_percent,
    round(100.0 * sum(repeats) / sum(alerts), 1) as repeat_percent,
    round(100.0 * sum(acknowledged) / sum(alerts), 1) as acknowledged_percent,
    max(minutes_to_acknowledge_max) as slowest_acknowledgement_min
from {{ ref('rpt_alert_quality') }}
group by rule
order by false_percent desc, repeat_percent desc, rule
