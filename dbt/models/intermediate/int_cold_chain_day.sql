{%- set touched = [
    {'by': 'int_touched_case', 'key': ['asset_id'], 'at': 'business_date', 'from': 'from_date', 'to': 'to_date'}
] -%}
{{ config(materialized='incremental', incremental_strategy='touched', meta={'touched': touched}) }}
-- A table of its own, so that the report need not sum up all hours there are each time.
with pieces as (

    select
        store_id,
        asset_id,
        asset_class,
        device_id,
        business_date,
        hour_utc,
        received,
        0 as bad_readings,
        monitored_s,
        above_s,
        above_defrost_s,
        above_k_s,
        above_defrost_k_s,
        worst_c
    from {{ ref('int_cold_chain_hour') }} as hour
    where {{ is_touched(touched, 'hour') }}

    union all

    select
        store_id,
        asset_id,
        asset_class,
        device_id,
        business_date,
        null as hour_utc,
        0 as received,
        bad_readings,
        0 as monitored_s,
        0 as above_s,
        0 as above_defrost_s,
        0 as above_k_s,
        0 as above_defrost_k_s,
        null as worst_c
    from {{ ref('fct_sensor_hour') }} as hour
    where
        metric = 'temperature'
        and bad_readings > 0
        and {{ is_touched(touched, 'hour') }}

)

select
    asset_id,
    device_id,
    business_date,
    max(store_id) as store_id,
    max(asset_class) as asset_class,
    max(hour_utc) as last_hour_utc,
    cast(sum(received) as bigint) as received,
    cast(sum(bad_readings) as bigint) as bad_readings,
    sum(monitored_s) as monitored_s,
    sum(above_s) as above_s,
    sum(above_defrost_s) as above_defrost_s,
    sum(above_k_s) as above_k_s,
    sum(above_defrost_k_s) as above_defrost_k_s,
    max(worst_c) as worst_c
from pieces
group by asset_id, device_id, business_date
