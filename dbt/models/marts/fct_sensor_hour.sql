{%- set touched = [{'by': 'int_touched_reading', 'key': ['device_id', 'metric'], 'at': 'hour_start_utc'}] -%}
{%- set kept = {'at': 'hour_start_utc', 'from': ['stg_sensor_readings']} -%}
{{ config(materialized='incremental', incremental_strategy='touched', meta={'touched': touched, 'kept': kept}) }}
with placed as (

    select
        reading.*,
        {{ local_time('reading.event_time_utc', 'store.time_zone') }} as local_time
    from {{ ref('stg_sensor_readings') }} as reading
    left join {{ ref('dim_store') }} as store
        on reading.store_id = store.store_id
        and {{ valid_at('store', 'reading.event_time_utc') }}
    where
        reading.kind in ('reading', 'bad-reading')
        {%- if goes_on() %}
        and reading.event_date in (
            {{ touched_days('int_touched_reading', hours=1) }}
        )
        and exists (
            select 1
            from {{ ref('int_touched_reading') }} as touched
            where
                touched.device_id = reading.device_id
                and touched.metric = reading.metric
                and reading.event_time_utc >= touched.from_utc
                and reading.event_time_utc < {{ dbt.dateadd('hour', 1, 'touched.to_utc') }}
        )
        {%- endif %}

),

hours as (

    select
        *,
        {{ hour_start_by('event_time_utc', 'local_time') }} as hour_start_utc
    from placed

),

summed as (

    select
        store_id,
        asset_id,
        max(asset_class) as asset_class,
        device_id,
        metric,
        hour_start_utc,
        cast(min(local_time) as date) as business_date,
        cast(extract(hour from min(local_time)) as integer) as local_hour,
        max(unit) as unit,
        count(value) as readings,
        sum(case when kind = 'bad-reading' then 1 else 0 end) as bad_readings,
        min(value) as value_min,
        {{ exact_avg('value') }} as value_avg,
        max(value) as value_max
    from hours
    group by store_id, asset_id, device_id, metric, hour_start_utc

)

select
    summed.store_id,
    summed.asset_id,
    summed.asset_class,
    summed.device_id,
    summed.metric,
    summed.hour_start_utc,
    summed.business_date,
    summed.local_hour,
    summed.unit,
    cast(summed.readings as bigint) as readings,
    cast(summed.bad_readings as bigint) as bad_readings,
    cast(floor(3600.0 / device.interval_s) as bigint) as readings_expected,
    summed.value_min,
    summed.value_avg,
    summed.value_max
from summed
left join {{ ref('int_device') }} as device
    on summed.asset_id = device.asset_id
    and summed.device_id = device.device_id
    and summed.metric = device.metric
    and {{ valid_at('device', 'summed.hour_start_utc') }}
where {{ is_touched(touched, 'summed') }}
