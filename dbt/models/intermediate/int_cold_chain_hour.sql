{%- set touched = [{'by': 'int_touched_case', 'key': ['asset_id'], 'at': 'hour_utc'}] -%}
{%- set kept = {'at': 'hour_utc', 'from': ['stg_sensor_readings']} -%}
{{ config(materialized='incremental', incremental_strategy='touched', meta={'touched': touched, 'kept': kept}) }}
{%- set in_time = [{'by': 'int_touched_case', 'key': ['asset_id'], 'at': 'event_time_utc'}] %}
-- The time that each reading stands for, cut at local midnight.
with pieces as (

    select
        store_id,
        asset_id,
        asset_class,
        device_id,
        business_date,
        date_trunc('hour', event_time_utc) as hour_utc,
        temperature_c,
        limit_c,
        is_above_limit,
        is_defrost,
        1 as received,
        {{ seconds_between('event_time_utc', 'least(stands_until_utc, day_end_utc)') }} as seconds
    from {{ ref('int_cold_chain_reading') }} as reading
    where {{ is_touched(in_time, 'reading') }}

    union all

    select
        store_id,
        asset_id,
        asset_class,
        device_id,
        {{ next_date('business_date') }} as business_date,
        date_trunc('hour', event_time_utc) as hour_utc,
        temperature_c,
        limit_c,
        is_above_limit,
        is_defrost,
        0 as received,
        {{ seconds_between('day_end_utc', 'stands_until_utc') }} as seconds
    from {{ ref('int_cold_chain_reading') }} as reading
    where stands_until_utc > day_end_utc and {{ is_touched(in_time, 'reading') }}

)

select
    store_id,
    asset_id,
    asset_class,
    device_id,
    business_date,
    hour_utc,
    cast(sum(received) as bigint) as received,
    sum(seconds) as monitored_s,
    sum(case when is_above_limit then seconds else 0 end) as above_s,
    sum(case when is_above_limit and is_defrost then seconds else 0 end) as above_defrost_s,
    sum(case when is_above_limit then (temperature_c - limit_c) * seconds else 0 end) as above_k_s,
    sum(case when is_above_limit and is_defrost then (temperature_c - limit_c) * seconds else 0 end)
        as above_defrost_k_s,
    max(temperature_c) as worst_c
from pieces
group by store_id, asset_id, asset_class, device_id, business_date, hour_utc
