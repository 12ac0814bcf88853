-- Which stores use the most energy per square metre, and how much of it while they are closed?
select
    store_id,
    count(*) as days,
    round(sum(energy_kwh), 1) as energy_kwh,
    round(sum(energy_kwh) / sum(area_m2), 3) as kwh_per_m2_and_day,
    round(100 * sum(energy_out_of_hours_kwh) / sum(energy_kwh), 1) as percent_while_closed,
    round(100 * sum(hours_closed) / nullif(sum(hours_covered), 0), 1) as percent_of_time_closed,
    sum(meter_resets) as meter_resets
from {{ ref('rpt_energy') }}
where energy_kwh > 0
group by store_id
order by kwh_per_m2_and_day desc, store_id
