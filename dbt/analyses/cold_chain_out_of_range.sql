-- Which freezers and coolers spent the most minutes above their limit, apart from defrosts, and what was done?
select
    store_id,
    asset_name,
    business_date,
    minutes_above_limit - minutes_above_limit_in_defrost as minutes_above,
    worst_temperature_c as worst_c,
    limit_c,
    alerts,
    what_was_done
from {{ ref('rpt_cold_chain_compliance') }}
where minutes_above_limit > minutes_above_limit_in_defrost
order by minutes_above desc, store_id, asset_name, business_date
limit 10
