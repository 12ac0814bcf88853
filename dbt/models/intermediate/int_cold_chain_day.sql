{%- set touched = [
    {'by': 'int_touched_case', 'key': ['asset_id'], 'at': 'business_date', 'from': 'from_date', 'to': 'to_date'}
] -%}
{{ config(materialized='incremental', incremental_strategy='touched', meta={'touched': touched}) }}
{%- set measures = ['received', 'monitored_s', 'above_s', 'above_defrost_s', 'above_k_s', 'above_defrost_k_s'] %}
-- A table of its own, so that the report need not sum up all hours there are each time.
with pieces as (

    select
        store_id,
        asset_id,
        asset_class,
        device_id,
        business_date,
        hour_utc,
        {%- for measure in measures %}
        {{ measure }},
        {%- endfor %}
        0 as bad_readings,
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
        {%- for measure in measures %}
        0 as {{ measure }},
        {%- endfor %}
        bad_readings,
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
    {%- for measure in measures %}
    {{ 'cast(sum(received) as bigint)' if measure == 'received' else 'sum(' ~ measure ~ ')' }} as {{ measure }},
    {%- endfor %}
    cast(sum(bad_readings) as bigint) as bad_readings,
    max(worst_c) as worst_c
from pieces
group by asset_id, device_id, business_date
