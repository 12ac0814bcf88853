{{ config(materialized='incremental', incremental_strategy='append', meta={'kept': {'all': true}}) }}
{%- set before = before_refresh() -%}
{%- set stores = [
    'stg_alert_commands', 'stg_alert_events', 'stg_cv_detections', 'stg_geofence_events', 'stg_lane_status', 'stg_orders',
    'stg_pos_transactions', 'stg_scan_events', 'stg_sensor_readings',
] -%}
with seen as (

    {%- for source in stores %}
    select 'store' as dimension, store_id, store_id as seen_id
    from {{ ref(source) }} as event
    {%- if goes_on() %}
    where {{ is_new(source, 'event') }}
    {%- endif %}

    union
    {% endfor %}
    select 'asset', store_id, asset_id
    from {{ ref('stg_sensor_readings') }} as reading
    where
        asset_id is not null
        {%- if goes_on() %}
        and {{ is_new('stg_sensor_readings', 'reading') }}
        {%- endif %}

    union

    select 'asset', store_id, asset_id
    from {{ ref('stg_cv_detections') }} as seen
    where
        asset_id is not null
        {%- if goes_on() %}
        and {{ is_new('stg_cv_detections', 'seen') }}
        {%- endif %}

    union

    select
        'product',
        receipt.store_id,
        {{ product_code('coalesce(' ~ struct_field('line', 'gtin', 'varchar') ~ ', ' ~ struct_field('line', 'plu', 'varchar') ~ ')') }}
    from {{ ref('stg_pos_transactions') }} as receipt
    {{ each_element('receipt.lines', 'line') }}
    {%- if goes_on() %}
    where {{ is_new('stg_pos_transactions', 'receipt') }}
    {%- endif %}
    {%- if before %}

    union

    select dimension, store_id, seen_id
    from {{ before }}
    {%- endif %}

)

select seen.dimension, seen.store_id, seen.seen_id
from seen
where
    seen.seen_id is not null
    {%- if goes_on() %}
    and not exists (
        select 1
        from {{ this }} as known
        where
            known.dimension = seen.dimension
            and known.store_id = seen.store_id
            and known.seen_id = seen.seen_id
    )
    {%- endif %}
