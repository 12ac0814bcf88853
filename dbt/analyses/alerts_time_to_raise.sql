-- How long after the first breach was each kind of alert raised, how long did it last, and how many are still open?
select
    rule,
    worst_severity,
    count(*) as alerts,
    round(avg(minutes_to_raise), 1) as minutes_to_raise,
    round(avg(minutes_open), 1) as minutes_open,
    max(minutes_open) as longest_open,
    sum(case when ended_at_utc is null then 1 else 0 end) as still_open
from {{ ref('fct_alert') }}
group by rule, worst_severity
order by alerts desc, rule, worst_severity
